"""`image_agreement`: do the images of one caption's translations show the same thing? No text is read for it.

A judge's cosine of an image with its prompt says little in a language that the judge does not read. Images need no
language: where a model understands all translations of a caption, it draws the same of them. What a judge sees in a
prompt's images is held against the consensus of the caption's other languages as readings of prompts are
(`translations`), with the same care for which languages are there: 1 where the images show what those of the
translations do, 0 where they have nothing to do with them.

Images from the same noise resemble each other whatever they show, and translations are drawn from the same noise. So
images are only compared with those of another number: the first image of each prompt is held against the second ones of
its translations and the second against the first ones, and what languages are worth is learned from such pairs too.
Further images are left out, so that it says nothing of a language how many of its images there are. Where fewer than
three languages have a second image of a caption, its first ones are compared.

- The *ceiling* is what a model that draws all languages alike would reach: the two images of one prompt say how much of
  an image is the prompt's, and the square root of their cosine is the cosine of one with what both mean (classical test
  theory; Lord and Novick 1968).
- The *floor* is the same measure against other captions.

A wrong image that all languages share, and the same noise in all, are not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from emoe_audit.analysis.calibration import CAPTIONS, Calibration, mean_units
from emoe_audit.analysis.readings import Readings, unit
from emoe_audit.analysis.translations import MIN_LANGUAGES, RELIABILITY, TRANSLATION_SCORE, Readers

IMAGE_AGREEMENT = "image_agreement"
IMAGE_RELIABILITY = "image_reliability"
"""Correlation with the agreement that all languages would give; below `translations.MIN_RELIABILITY` there is none."""
SHIFTS = 5
"""Other captions that each is held against for the floor, at most."""
BOUNDS_COLUMNS = ["language", "n_prompts", "agreement", "ceiling", "floor"]


@dataclass(frozen=True, kw_only=True)
class Sights:
    """What a judge sees in the images of some prompts."""

    first: Readings
    """The first image of each prompt."""
    second: Readings
    """The second one, of the prompts that have several."""
    rows: np.ndarray
    """The places of these among all, `[prompt]`."""

    @classmethod
    def of(cls, seen: Sequence[np.ndarray], languages: list[str], sources: list[str]) -> Sights:
        """From the features of the images of each prompt, `[image, feature]`; every prompt has one."""
        first = Readings(vectors=_nth(seen, 0), languages=languages, sources=sources)
        rows = np.array([row for row, own in enumerate(seen) if len(own) > 1], dtype=np.int64)
        second = _nth([seen[row] for row in rows], 1).reshape(len(rows), first.vectors.shape[1])
        own = first.take(rows)
        return cls(
            first=first, second=Readings(vectors=second, languages=own.languages, sources=own.sources), rows=rows
        )

    @property
    def is_paired(self) -> np.ndarray:
        """Whether the caption of each prompt has a second image in enough languages, `[prompt]`."""
        pairs = pd.DataFrame({"source": list(self.second.sources), "language": list(self.second.languages)})
        counts = pairs.groupby("source")["language"].nunique()
        enough = set(counts.index[counts >= MIN_LANGUAGES])
        return np.array([source in enough for source in self.first.sources], dtype=bool)


def _nth(seen: Sequence[np.ndarray], number: int) -> np.ndarray:
    return np.stack([own[number].astype(np.float32) for own in seen]) if seen else np.empty((0, 0), dtype=np.float32)


def fit_images(sights: Sights) -> Readers:
    """The languages of a run as its images show them."""
    known = Calibration.fit(sights.first)
    if not sights.is_paired.any() or not known.languages:
        return Readers.fit(sights.first, known)
    languages = pd.Index(known.languages, dtype=object)
    first, second = (mean_units(own, languages, known.means) for own in (sights.first, sights.second))
    both = second.sources.intersection(first.sources)
    held = [own.sources.get_indexer(both) for own in (first, second)]
    filled = first.filled[held[0]] & second.filled[held[1]]
    most = np.argsort(-filled.sum(axis=1), kind="stable")[:CAPTIONS]
    ours, theirs = (own.units[at][most].astype(np.float64) for own, at in zip((first, second), held, strict=True))
    crossed = np.einsum("cld,cmd->clm", ours, theirs) * (filled[most][:, :, None] & filled[most][:, None, :])
    cosines = (crossed + crossed.transpose(0, 2, 1)) / 2
    np.einsum("cll->cl", cosines)[...] = filled[most]
    return Readers.fit(sights.first, replace(known, cosines=cosines.astype(np.float32)))


def image_agreement(readers: Readers, sights: Sights) -> pd.DataFrame:
    """A row per prompt: `IMAGE_AGREEMENT` and `IMAGE_RELIABILITY`, NaN where the company cannot say enough.

    Args:
        readers: From `fit_images`.
        sights: The images of whole captions, in all of their languages.
    """
    judged = _judged(readers, sights, sights.first.sources)
    return pd.DataFrame({IMAGE_AGREEMENT: 1 - judged[TRANSLATION_SCORE], IMAGE_RELIABILITY: judged[RELIABILITY]})


def agreement_bounds(readers: Readers, sights: Sights) -> pd.DataFrame:
    """A row per language, see `BOUNDS_COLUMNS`: means over its prompts, sorted; NaN where nothing is known."""
    own = image_agreement(readers, sights)[IMAGE_AGREEMENT]
    languages = pd.Series(list(sights.first.languages), dtype=object)
    table = pd.DataFrame({"n_prompts": languages.value_counts(), "agreement": own.groupby(languages).mean()})
    table["ceiling"] = np.sqrt(_alike(readers, sights).clip(lower=0))
    table["floor"] = _against_others(readers, sights).groupby(languages).mean()
    return table.rename_axis("language").reset_index().sort_values("language", ignore_index=True)[BOUNDS_COLUMNS]


def _judged(readers: Readers, sights: Sights, captions: Sequence[str]) -> pd.DataFrame:
    """As `Readers.judge`, of images held against those of another number, and of the captions that are given."""
    first, second = replace(sights.first, sources=captions), sights.second
    found = readers.judge(first, sights.first)
    paired = sights.is_paired
    if paired.any():
        ahead = readers.judge(first, second)
        back = readers.judge(replace(second, sources=[captions[row] for row in sights.rows]), sights.first)
        both = (ahead.loc[sights.rows] + back.set_axis(sights.rows)) / 2
        ahead.loc[sights.rows] = both.fillna(ahead.loc[sights.rows])
        found[paired] = ahead[paired]
    return found


def _alike(readers: Readers, sights: Sights) -> pd.Series:
    """Mean cosine of the two images of a prompt by language, without what is common to all images of that."""
    first, second = sights.first.take(sights.rows), sights.second
    place = readers.languages.get_indexer(pd.Index(first.languages, dtype=object))
    view = readers.view(sights.first)
    caption = view.cells.sources.get_indexer(pd.Index(first.sources))
    known = np.flatnonzero((place >= 0) & (caption >= 0))
    common = readers.means[place[known]] + view.common[caption[known], place[known]]
    centred = [unit(own.vectors[known] - common) for own in (first, second)]
    cosines = pd.Series((centred[0] * centred[1]).sum(axis=1), dtype=float)
    return cosines.groupby(np.asarray(first.languages, dtype=object)[known]).mean()


def _against_others(readers: Readers, sights: Sights) -> pd.Series:
    """The agreement of each prompt with other captions, `[prompt]`."""
    names = sorted(set(sights.first.sources))
    found = []
    for shift in range(1, min(SHIFTS, len(names) - 1) + 1):
        other = dict(zip(names, names[shift:] + names[:shift], strict=True))
        moved = [other[own] for own in sights.first.sources]
        found.append(1 - _judged(readers, sights, moved)[TRANSLATION_SCORE])
    return pd.concat(found, axis=1).mean(axis=1) if found else pd.Series(np.nan, index=range(len(sights.first.sources)))
