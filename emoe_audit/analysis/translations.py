"""`translation_disagreement`: how far a prompt is read from its translations.

The published score asks whether experts agree on a prompt. They cannot tell a prompt that all of them misread
alike, and experts of one family do: they share a text encoder. Translations of one caption can, because they ought
to be read alike whatever the language. This needs no knowledge of the training set, only captions in several
languages.

1. A reading is the state of the text encoder at the end of the prompt (`emoe_audit.scoring.sketch`). The mean of its
   language is taken out, and what the captions of its template have in common (`templates`): what is left, at unit
   length, is what this caption does.
2. It is held against the consensus of the caption's other languages, each counting for as much as it is believed
   (`consensus`). Means, weights and what a company of languages is worth are known from the calibration: captions that
   all languages have, read once an ensemble. Without one they are learned from the table itself.
3. The cosine is moved onto the scale of all languages of the calibration, and divided by the cosine of their consensus
   with what all mean (correction for attenuation; Spearman 1904). The score is 1 minus that: near 0 for a prompt that
   is read as its translations are, near 1 for one that has nothing to do with them. It is not held to these bounds.
4. There is a score only where the company can say enough: where on the calibration its scores correlate with those of
   all languages by at least `MIN_RELIABILITY`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from emoe_audit.analysis.calibration import MIN_CAPTIONS, Calibration, Cells, Form, mean_units
from emoe_audit.analysis.readings import Readings, unit
from emoe_audit.analysis.table_faults import WELL_READ, read_as
from emoe_audit.analysis.templates import in_common

TRANSLATION_SCORE = "translation_disagreement"
RELIABILITY = "translation_reliability"
READ_AS = "read_as"
"""The caption that a prompt is read as, where that is another than its own."""
JUDGED = 2048
"""Prompts that are judged at once."""
MIN_LANGUAGES = 3
"""Languages that a caption must have for a score to be defined."""
MIN_RELIABILITY = 0.6
"""Correlation with the scores that all languages would give, from which there is a score."""


@dataclass(frozen=True, kw_only=True)
class Readers:
    """What is known of the languages of a table and of the templates in it."""

    calibration: Calibration
    languages: pd.Index
    """Those of the calibration, then those of the table that it does not know; these are scored, but have no voice."""
    means: np.ndarray
    """`[language, bucket]`."""
    pool: Cells
    """Captions of the table, among which those of a template are found."""

    @classmethod
    def fit(cls, readings: Readings, calibration: Calibration | None = None) -> Readers:
        """From the captions of a table; without a calibration, that is learned from them too.

        Raises:
            ValueError: the calibration is of readings of another length.
        """
        known = Calibration.fit(readings) if calibration is None else calibration
        counts = pd.Series(list(readings.languages), dtype=object).value_counts(sort=False)
        new = sorted(name for name, n in counts.items() if n >= MIN_CAPTIONS and name not in set(known.languages))
        own = np.asarray(readings.languages, dtype=object)
        means = [readings.vectors[own == name].mean(axis=0) for name in new]
        languages = pd.Index([*known.languages, *new], dtype=object)
        width = known.means.shape[1] if known.languages else readings.vectors.shape[1]
        if len(readings.languages) and width != readings.vectors.shape[1]:
            raise ValueError(f"the calibration is of {width} numbers a reading, these have {readings.vectors.shape[1]}")
        all_means = (
            np.concatenate([known.means, np.reshape(means, (len(new), width))]) if known.languages else known.means
        )
        return cls(
            calibration=known, languages=languages, means=all_means, pool=mean_units(readings, languages, all_means)
        )

    @property
    def weights(self) -> np.ndarray:
        """`[language]`, 0 for those that the calibration does not know."""
        return np.pad(self.calibration.weights, (0, len(self.languages) - len(self.calibration.languages)))

    def judge(self, readings: Readings, reference: Readings | None = None) -> pd.DataFrame:
        """A row per prompt: the score, and how reliable it is, as its correlation with that among all languages.

        The score is NaN where the reliability is below `MIN_RELIABILITY`. Both are NaN where the caption has fewer
        than `MIN_LANGUAGES` languages in `reference` (by default the readings themselves), where nothing is known of
        the language, and where the prompt is read as nothing at all.
        """
        return self._judged(readings, self.view(reference or readings))

    def _judged(self, readings: Readings, view: View) -> pd.DataFrame:
        score, reliability = np.full((2, len(readings.languages)), np.nan)
        at, language = view.cells.sources.get_indexer(pd.Index(readings.sources)), self._places(readings)
        usable = (at >= 0) & (language >= 0)
        usable[usable] &= view.cells.filled[at[usable]].sum(axis=1) >= MIN_LANGUAGES
        voices = np.array([(own * self.weights[:, None]).sum(axis=0) for own in view.units])
        worths = self._worth(view.cells.filled)
        places = np.flatnonzero(usable)
        for part in (places[start : start + JUDGED] for start in range(0, len(places), JUDGED)):
            captions, spoken = at[part], language[part]
            own = unit(readings.vectors[part] - self.means[spoken] - view.common[captions, spoken])
            others = unit(voices[captions] - view.units[captions, spoken] * self.weights[spoken, None])
            is_read = own.any(axis=1) & others.any(axis=1)
            offset, worth, scale = worths[captions, :, spoken].T
            scaled = ((own * others).sum(axis=1) + offset) / np.where(scale > 0, scale, np.nan)
            reliability[part] = np.where(own.any(axis=1), worth, np.nan)
            score[part] = np.where(is_read & (worth >= MIN_RELIABILITY), 1 - scaled, np.nan)
        return pd.DataFrame({TRANSLATION_SCORE: score, RELIABILITY: reliability})

    def compared(self, readings: Readings) -> pd.DataFrame:
        """The rows of `judge`, and as `READ_AS` what `faults` says of each."""
        view = self.view(readings)
        return self._judged(readings, view).assign(**{READ_AS: self._faults(readings, view)})

    def faults(self, readings: Readings) -> np.ndarray:
        """The caption that each prompt is read as, where that is another than its own, else None, `[prompt]`."""
        return self._faults(readings, self.view(readings))

    def _faults(self, readings: Readings, view: View) -> np.ndarray:
        known = self.calibration.loadings
        well_read = np.flatnonzero((known >= WELL_READ) & (self.calibration.weights > 0))
        places = read_as(view.units, self.weights, well_read)
        at, language = view.cells.sources.get_indexer(pd.Index(readings.sources)), self._places(readings)
        found, known_one = np.full(len(at), -1), language >= 0
        found[known_one] = places[at[known_one], language[known_one]]
        return np.array([view.cells.sources[place] if place >= 0 else None for place in found], dtype=object)

    def _places(self, readings: Readings) -> np.ndarray:
        found: np.ndarray = self.languages.get_indexer(pd.Index(readings.languages))
        return found

    def view(self, readings: Readings) -> View:
        """The captions of some readings, as they are compared."""
        cells, pool = mean_units(readings, self.languages, self.means), self.pool
        same = pool.sources.get_indexer(cells.sources)
        alike = self.calibration.alike
        common = in_common(self._whole(cells), self._whole_pool, pool.effects, pool.filled, same, alike)
        return View(cells=cells, common=common, units=unit((cells.effects - common) * cells.filled[:, :, None]))

    @cached_property
    def _whole_pool(self) -> np.ndarray:
        return self._whole(self.pool)

    def _whole(self, cells: Cells) -> np.ndarray:
        """What all languages together read in each caption, at unit length, `[caption, bucket]`."""
        return unit(np.einsum("cld,l->cd", cells.units, self.weights))

    def _worth(self, filled: np.ndarray) -> np.ndarray:
        """Offset, reliability and scale of the score of each language in the company of each caption.

        `[caption, figure, language]`.
        """
        known = len(self.calibration.languages)
        companies, which = np.unique(filled[:, :known], axis=0, return_inverse=True)
        forms = [self._figures(self.calibration.form(company)) for company in companies]
        stacked = np.stack(forms) if forms else np.zeros((0, 3, len(self.languages)))
        found: np.ndarray = stacked[which.reshape(-1)]
        return found

    def _figures(self, form: Form) -> np.ndarray:
        unknown = np.full(len(self.languages) - len(self.calibration.languages), form.attenuation)
        offset = np.concatenate([form.offset, np.zeros(len(unknown))])
        reliability = np.concatenate([form.reliability, unknown])
        return np.stack([offset, reliability, np.concatenate([self.calibration.whole, unknown])])


@dataclass(frozen=True, kw_only=True)
class View:
    """The captions of some readings, as they are compared."""

    cells: Cells
    common: np.ndarray
    """What each caption has in common with its template, `[caption, language, bucket]`."""
    units: np.ndarray
    """What is left of each, at unit length, `[caption, language, bucket]`."""
