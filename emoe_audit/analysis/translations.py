"""`translation_disagreement`: how far a prompt is read from its translations.

The published score asks whether experts agree on a prompt. They cannot tell a prompt that all of them misread
alike, and experts of one family do: they share a text encoder. Translations of one caption can, because they ought
to be read alike whatever the language. This needs no knowledge of the training set, only captions in several
languages.

1. A reading has two parts, text state and mid-block (`emoe_audit.scoring.sketch`). From each the mean over the
   prompts of its language is taken: what is left, at unit length, is what this caption does.
2. A language counts for as much as it agrees with the others: its weight is the square of the mean cosine between
   its captions and the weighted consensus of the other languages, a negative mean counting as 0, iterated from
   equal weights. Languages that the model cannot read agree with nobody, so they lose their voice.
3. The score is 1 minus the cosine between a prompt and the consensus of its caption in the other languages,
   averaged over the two parts: 0 for a prompt that is read as its translations are, 1 for one that has nothing to
   do with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

TRANSLATION_SCORE = "translation_disagreement"
PARTS = ("translation_text", "translation_mid_block")
"""The score by each part of a reading alone, in the order of the parts."""
MIN_LANGUAGES, MIN_CAPTIONS = 3, 5
"""Languages that a caption must have, and captions that a language must have, for a score to be defined."""
ITERATIONS = 10


@dataclass(frozen=True, kw_only=True)
class Readings:
    """Readings of prompts, `[prompt, part, bucket]`, with the language and the caption of each."""

    vectors: np.ndarray
    languages: Sequence[str]
    sources: Sequence[str]

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Readings:
        """From columns `reading` (both parts in a row), `language` and `source_id`."""
        rows = [np.asarray(row, dtype=np.float32).reshape(len(PARTS), -1) for row in frame["reading"]]
        return cls(
            vectors=np.stack(rows) if rows else np.empty((0, len(PARTS), 0), dtype=np.float32),
            languages=frame["language"].to_list(),
            sources=frame["source_id"].to_list(),
        )


@dataclass(frozen=True, kw_only=True)
class Readers:
    """What is known of the languages of a model: the mean reading of each, and how far it is to be believed."""

    means: pd.Series
    """`[part, bucket]` by language."""
    weights: np.ndarray
    """`[part, language]`, in the order of `means`."""

    @classmethod
    def fit(cls, readings: Readings) -> Readers:
        """From captions in several languages; languages of fewer than `MIN_CAPTIONS` captions are left out."""
        languages = pd.Series(list(readings.languages))
        known = [name for name, n in languages.value_counts(sort=False).items() if n >= MIN_CAPTIONS]
        rows = {name: np.flatnonzero(languages == name) for name in sorted(known)}
        means = pd.Series({name: readings.vectors[own].mean(axis=0) for name, own in rows.items()}, dtype=object)
        even = cls(means=means, weights=np.ones((len(PARTS), len(means))))
        cells = _Cells.of(even, readings)
        return cls(means=means, weights=np.stack([_believe(cells, part) for part in range(len(PARTS))]))

    def distances(self, readings: Readings, reference: Readings | None = None) -> np.ndarray:
        """1 minus the cosine to the consensus of the caption's other languages, `[prompt, part]`; their mean is it.

        NaN where the caption has fewer than `MIN_LANGUAGES` languages in `reference` (by default the readings
        themselves), where the language was not fitted, and where no other language is to be believed.
        """
        cells = _Cells.of(self, reference or readings)
        units, languages = self.units(readings)
        places = pd.Index(cells.sources).get_indexer(pd.Index(readings.sources))
        found = np.full((len(units), len(PARTS)), np.nan)
        usable = (places >= 0) & (languages >= 0)
        usable[usable] &= cells.filled[places[usable]].sum(axis=1) >= MIN_LANGUAGES
        for part in range(len(PARTS)):
            own, at, language = units[usable, part], places[usable], languages[usable]
            voice = cells.units[at, language, part] * self.weights[part, language, None]
            others = cells.consensus(part, self.weights[part])[at] - voice
            length = np.linalg.norm(others, axis=1) * np.linalg.norm(own, axis=1)
            found[usable, part] = 1 - np.divide(
                (own * others).sum(axis=1), length, out=np.full(len(own), np.nan), where=length > 1e-6
            )
        return found

    def units(self, readings: Readings) -> tuple[np.ndarray, np.ndarray]:
        """What each caption does, at unit length, `[prompt, part, bucket]`, and the places of the languages, or -1."""
        languages = self.means.index.get_indexer(pd.Index(readings.languages))
        if not len(self.means):
            return np.zeros_like(readings.vectors), languages
        effects = readings.vectors - np.stack(self.means.to_list())[languages]
        lengths = np.linalg.norm(effects, axis=2, keepdims=True)
        return np.divide(effects, lengths, out=np.zeros_like(effects), where=lengths > 0), languages


@dataclass(frozen=True, kw_only=True)
class _Cells:
    """The mean unit reading of every caption in every language, `[caption, language, part, bucket]`, 0 for none."""

    sources: np.ndarray
    units: np.ndarray
    filled: np.ndarray
    """Whether there is one, `[caption, language]`."""

    @classmethod
    def of(cls, readers: Readers, readings: Readings) -> _Cells:
        units, languages = readers.units(readings)
        codes, sources = pd.factorize(pd.Series(list(readings.sources), dtype=object), sort=True)
        shape = (len(sources), len(readers.means))
        total, counts = np.zeros((*shape, *units.shape[1:]), dtype=np.float32), np.zeros(shape)
        kept = languages >= 0
        np.add.at(total, (codes[kept], languages[kept]), units[kept])
        np.add.at(counts, (codes[kept], languages[kept]), 1)
        means = total / np.maximum(counts, 1)[:, :, None, None]
        return cls(sources=np.asarray(sources), units=means, filled=counts > 0)

    def consensus(self, part: int, weights: np.ndarray) -> np.ndarray:
        """The weighted sum over languages, `[caption, bucket]`."""
        total: np.ndarray = np.einsum("cld,l->cd", self.units[:, :, part], weights)
        return total


def _believe(cells: _Cells, part: int) -> np.ndarray:
    """The weight of each language, `[language]`, summing to 1; all 0 where no two languages agree."""
    units = cells.units[:, :, part]
    weights = np.full(units.shape[1], 1 / max(1, units.shape[1]))
    for _ in range(ITERATIONS):
        others = cells.consensus(part, weights)[:, None] - units * weights[:, None]
        length = np.linalg.norm(others, axis=2)
        cosines = np.divide((units * others).sum(axis=2), length, out=np.zeros_like(length), where=length > 1e-6)
        agreement = cosines.sum(axis=0) / np.maximum(cells.filled.sum(axis=0), 1)
        weights = np.clip(agreement, 0, None) ** 2
        weights = weights / max(weights.sum(), 1e-12)
    return weights
