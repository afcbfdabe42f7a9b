"""What is learned of a text encoder's languages once, from captions that all of them have, and kept.

A score that holds a prompt against its translations depends on which translations a table happens to have. Captions
that are known in many languages tell what a company of a few is worth: there each company's scores can be held against
those of all languages. The scores of a company are moved onto the scale of all (equating on common items; Kolen and
Brennan, Test Equating, 2004), and their correlation with them says how much the company could say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from emoe_audit.analysis.consensus import (
    believe,
    cosines_with_others,
    loadings,
    mean_cosines,
    reliability_of_others,
)
from emoe_audit.analysis.readings import Readings, unit

MIN_CAPTIONS = 5
"""Captions that a language must have to be known."""
CAPTIONS = 200
"""Captions whose cosines are kept at most: those in most languages first."""
READ = 0.2
"""Product of the two largest loadings, the cosine of two languages, from which any is read.

Below, shared words and script explain what agreement there is: with random weights it is 0.12 on `emoji-a`.
"""
SAME = 1e-6
"""Variance of cosines, which go from -1 to 1, below which they all count as the same."""
ALIKE = 0.997
"""Pairs of captions of the calibration, as a share, that are less alike than captions of one template."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """What the scores of one company of languages are worth: a row per language of the calibration."""

    offset: np.ndarray
    """To be added to a cosine with the consensus of the company's other languages, `[language]`."""
    reliability: np.ndarray
    """Correlation over captions with the cosines of the whole, `[language]`; 0 where nothing can be said."""
    attenuation: float
    """Mean cosine of the company's consensus with that of all languages, for a language that is not known."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How an encoder reads its languages, from captions that all have."""

    languages: tuple[str, ...]
    means: np.ndarray
    """The mean reading of each language, `[language, bucket]`."""
    cosines: np.ndarray
    """Between the languages' readings of each caption, means taken out, `[caption, language, language]`; 0 for none."""
    alike: float
    """Cosine between captions, as all languages read them, from which they count as of one template."""

    @classmethod
    def fit(cls, readings: Readings) -> Calibration:
        """From captions in several languages; languages of fewer than `MIN_CAPTIONS` captions are left out."""
        of_languages = rows_of_languages(readings.languages)
        languages, rows = tuple(of_languages), of_languages.values()
        width = readings.vectors.shape[1]
        means = np.stack([readings.vectors[own].mean(axis=0) for own in rows]) if rows else np.empty((0, width))
        cells = mean_units(readings, pd.Index(languages, dtype=object), means)
        most = np.argsort(-cells.filled.sum(axis=1), kind="stable")[:CAPTIONS]
        units = cells.units[most].astype(np.float64)
        cosines = np.einsum("cld,cmd->clm", units, units)
        np.einsum("cll->cl", cosines)[...] = cells.filled[most]
        whole = unit(np.einsum("cld,l->cd", units, believe(cosines)))
        pairs = (whole @ whole.T)[np.triu_indices(len(whole), 1)]
        return cls(
            languages=languages,
            means=means.astype(np.float32),
            cosines=cosines.astype(np.float32),
            alike=float(np.quantile(pairs, ALIKE)) if len(pairs) else 1.0,
        )

    @cached_property
    def loadings(self) -> np.ndarray:
        """How far each language reads what all mean, 0 to 1, `[language]`."""
        return loadings(mean_cosines(self.cosines))

    @cached_property
    def weights(self) -> np.ndarray:
        """How far each language is to be believed, `[language]`, summing to 1; all 0 where none is read."""
        best = np.sort(self.loadings)[-2:]
        is_read = len(best) == 2 and np.prod(best) >= READ
        return believe(self.cosines) if is_read else np.zeros(len(self.languages))

    @cached_property
    def whole(self) -> np.ndarray:
        """Cosine of the consensus of all other languages with what all mean, by the one factor, `[language]`."""
        return reliability_of_others(mean_cosines(self.cosines), self.weights, self.loadings)

    def form(self, company: np.ndarray) -> Form:
        """What a company is worth, given which languages are in it, `[language]` of bool."""
        everyone = cosines_with_others(self.cosines, self.weights)
        voices = np.where(company, self.weights, 0)
        found = cosines_with_others(self.cosines, voices)
        return Form(
            offset=_mean(everyone - found),
            reliability=_correlation(found, everyone) * self.whole,
            attenuation=_attenuation(self.cosines, voices, self.weights)
            * float(self.whole.sum() / max(1, len(voices))),
        )

    def missing(self, company: Sequence[str], n: int = 5) -> list[str]:
        """The languages that would help a company most, most believed first."""
        order = np.argsort(-self.weights, kind="stable")
        helpful = [self.languages[place] for place in order if self.weights[place] > 0]
        return [name for name in helpful if name not in set(company)][:n]

    def to_frame(self) -> pd.DataFrame:
        """A row per language: `language`, `mean` and `cosines` as bytes of float32, and `alike`."""
        by_language = np.moveaxis(self.cosines, 1, 0).astype(np.float32)
        return pd.DataFrame(
            {
                "language": list(self.languages),
                "mean": [row.astype(np.float32).tobytes() for row in self.means],
                "cosines": [np.ascontiguousarray(row).tobytes() for row in by_language],
                "alike": self.alike,
            }
        )

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Calibration:
        """From `to_frame`. Raises `ValueError` where the rows do not fit together."""
        n = len(frame)
        means = np.stack([np.frombuffer(row, dtype=np.float32) for row in frame["mean"]])
        rows = [np.frombuffer(row, dtype=np.float32).reshape(-1, n) for row in frame["cosines"]]
        return cls(
            languages=tuple(frame["language"]),
            means=means,
            cosines=np.stack(rows, axis=1),
            alike=float(frame["alike"].iloc[0]),
        )


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The mean reading of every caption in every language, `[caption, language, bucket]`, 0 for none."""

    sources: pd.Index
    effects: np.ndarray
    """Means of the language taken out."""
    filled: np.ndarray
    """Whether there is one, `[caption, language]`."""

    @property
    def units(self) -> np.ndarray:
        """The effects at length 1."""
        return unit(self.effects)


def mean_units(readings: Readings, languages: pd.Index, means: np.ndarray) -> Cells:
    """What each caption does in each language; prompts of other languages are left out."""
    places = languages.get_indexer(pd.Index(readings.languages))
    codes, sources = pd.factorize(pd.Series(list(readings.sources), dtype=object), sort=True)
    shape = (len(sources), len(languages))
    total, counts = np.zeros((*shape, readings.vectors.shape[1]), dtype=np.float32), np.zeros(shape)
    kept = places >= 0
    cells, (captions, spoken) = codes[kept] * shape[1] + places[kept], (codes[kept], places[kept])
    effects_of_prompts = (readings.vectors[kept] - means[spoken]).astype(np.float32)
    if len(np.unique(cells)) == len(cells):
        total[captions, spoken], counts[captions, spoken] = effects_of_prompts, 1
    else:
        np.add.at(total, (captions, spoken), effects_of_prompts)
        np.add.at(counts, (captions, spoken), 1)
    effects = total / np.maximum(counts, 1).astype(np.float32)[:, :, None]
    return Cells(sources=pd.Index(sources), effects=effects, filled=counts > 0)


def rows_of_languages(languages: Sequence[str]) -> dict[str, np.ndarray]:
    """The places of each language that has `MIN_CAPTIONS` or more, by its name, in order."""
    named = pd.Series(list(languages), dtype=object)
    counts = named.value_counts(sort=False)
    known = sorted(str(name) for name, n in counts.items() if n >= MIN_CAPTIONS)
    return {name: np.flatnonzero(named == name) for name in known}


def _mean(values: np.ndarray) -> np.ndarray:
    """Over captions, 0 where there is none."""
    counts = np.maximum((~np.isnan(values)).sum(axis=0), 1)
    means: np.ndarray = np.nansum(values, axis=0) / counts
    return means


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's over captions, language by language; 1 where neither varies, 0 where it is negative or undefined."""
    both = ~np.isnan(a) & ~np.isnan(b)
    a, b = (np.where(both, own, np.nan) for own in (a, b))
    a, b = (np.where(both, own - _mean(own), 0) for own in (a, b))
    n = np.maximum(both.sum(axis=0), 1)
    scale = np.sqrt(((a**2).sum(axis=0) / n + SAME) * ((b**2).sum(axis=0) / n + SAME))
    found: np.ndarray = ((a * b).sum(axis=0) / n + SAME) / scale
    return np.where(both.any(axis=0), np.clip(found, 0, 1), 0)


def _attenuation(cosines: np.ndarray, voices: np.ndarray, weights: np.ndarray) -> float:
    """Mean cosine between the consensus by `voices` and that by `weights`; 0 where there is none."""
    heard = cosines @ voices
    lengths = np.sqrt(np.clip((heard @ voices) * (cosines @ weights @ weights), 0, None))
    found = np.divide(heard @ weights, lengths, out=np.zeros(len(heard)), where=lengths > 1e-9)
    return float(found.mean()) if len(found) else 0.0
