"""Captions of one template, found by themselves, and what is common to them.

`flag: Chad` and `flag: Chile` are read alike in every language that knows the word for a flag, whatever it knows of the
countries. What captions of a template have in common is taken out of them like the mean of a language, so that the
score sees what tells them apart. Other captions have no say in it: a caption's neighbours are those that all languages
together read more alike than nearly any two captions of the calibration.
"""

from __future__ import annotations

import numpy as np

OWN_MEAN = 5.0
"""For how many captions of the same template the mean of the language counts."""


def in_common(
    captions: np.ndarray, pool: np.ndarray, effects: np.ndarray, filled: np.ndarray, same: np.ndarray, alike: float
) -> np.ndarray:
    """What each caption has in common with those of its template, `[caption, language, bucket]`.

    Args:
        captions: What all languages read in each, at unit length, `[caption, bucket]`.
        pool: The same of the captions among which the template is found, `[other, bucket]`.
        effects: Readings of the pool, means of languages taken out, `[other, language, bucket]`; 0 for none.
        filled: Whether there is one, `[other, language]`.
        same: Place of each caption in the pool, or -1: no caption is its own neighbour, `[caption]`.
        alike: Cosine from which two captions count as of one template, growing to full weight at 1.
    """
    likeness = np.clip((captions @ pool.T - alike) / max(1 - alike, 1e-6), 0, None)
    held = np.flatnonzero(same >= 0)
    likeness[held, same[held]] = 0
    common = np.zeros((len(captions), *effects.shape[1:]), dtype=np.float32)
    rows, columns = np.flatnonzero(likeness.any(axis=1)), np.flatnonzero(likeness.any(axis=0))
    near = likeness[np.ix_(rows, columns)].astype(np.float32)
    total = np.tensordot(near, effects[columns], axes=1)
    common[rows] = total / (OWN_MEAN + near @ filled[columns].astype(np.float32))[:, :, None]
    return common
