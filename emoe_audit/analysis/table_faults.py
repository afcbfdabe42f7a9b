"""A prompt that is read well, but as another caption: a fault of the table rather than a language that is not read.

A swapped or wrong translation has a high translation score like a prompt that cannot be read. What tells them apart is
that it agrees with the consensus of another caption, which text that cannot be read does not.
"""

from __future__ import annotations

import numpy as np

from emoe_audit.analysis.readings import unit

WELL_READ = 0.7
"""Loading of a language from which its prompts can be faults; in others a misread prompt is nothing unusual."""
OWN, OTHER = 0.3, 0.7
"""A fault is less alike to the consensus of its own caption, and more alike to that of another."""


def read_as(units: np.ndarray, weights: np.ndarray, languages: np.ndarray) -> np.ndarray:
    """The place of the caption that each prompt is read as, where that is another than its own, else -1.

    Args:
        units: What captions do at unit length, `[caption, language, bucket]`; 0 for none.
        weights: How far languages are believed, `[language]`.
        languages: Places of the languages that are looked at.

    Returns:
        `[caption, language]`.
    """
    found, voices = np.full(units.shape[:2], -1), consensus(units, weights)
    for language in languages:
        own, other, place = likeness(units, weights, voices, language, below=OWN)
        found[:, language] = np.where((own < OWN) & (other > OTHER), place, -1)
    return found


def consensus(units: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """What all languages make of each caption, as far as they are believed, `[caption, bucket]`."""
    voices: np.ndarray = np.einsum("cld,l->cd", units, weights)
    return voices


def likeness(
    units: np.ndarray, weights: np.ndarray, voices: np.ndarray, language: int, *, below: float = np.inf
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cosines of a language's prompts with the other languages' consensus of captions.

    Args:
        units: As in `read_as`.
        weights: As there.
        voices: The `consensus` of all languages.
        language: The place of the language.
        below: Where the own caption's is not less, no other is sought, and the second cosine is minus infinity.

    Returns:
        That with the consensus of the own caption, that with the most alike other caption, and the place of the latter;
        each `[caption]`.
    """
    others = unit(voices - units[:, language] * weights[language]).astype(units.dtype)
    own, other = (units[:, language] * others).sum(axis=1), np.full(len(units), -np.inf)
    place = np.zeros(len(units), dtype=np.int64)
    sought = np.flatnonzero(own < below)
    if len(sought):
        cosines = units[sought, language] @ others.T
        cosines[np.arange(len(sought)), sought] = -np.inf
        other[sought], place[sought] = cosines.max(axis=1), cosines.argmax(axis=1)
    return own, other, place
