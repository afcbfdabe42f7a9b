"""`image_agreement`: do the images of one caption's translations show the same thing? No text is read for it.

A judge's cosine of an image with its prompt says little in a language that the judge does not read. Images need no
language: where a model understands all translations of a caption, it draws the same of them. What a judge sees in a
prompt's images is held against the consensus of the caption's other languages as readings of prompts are
(`translations`), with the same care for which languages are there: 1 where the images show what those of the
translations do, 0 where they have nothing to do with them.

Images from the same noise resemble each other whatever they show, and translations are drawn from the same noise. So
images are only compared with those of another number: of prompts with several images every other one is a first half,
and a half is held against the other half of the translations.

- The *ceiling* is what a model that draws all languages alike would reach: two halves of one prompt say of how much of
  an image is the prompt's, and the square root of their cosine is the cosine of one with what both mean (classical test
  theory; Lord and Novick 1968). It takes two images of a prompt.
- The *floor* is the same measure against other captions.

A wrong image that all languages share, and the same noise in all, are not seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from emoe_audit.analysis.readings import Readings, unit
from emoe_audit.analysis.translations import RELIABILITY, TRANSLATION_SCORE, Readers

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
    """The mean over every other image of each prompt, from the first on."""
    second: Readings
    """That over the others, of the prompts that have several images."""
    rows: np.ndarray
    """The places of these among all, `[prompt]`."""

    @classmethod
    def of(cls, seen: list[np.ndarray], languages: list[str], sources: list[str]) -> Sights:
        """From the features of the images of each prompt, `[image, feature]`; every prompt has one."""
        everything = Readings(vectors=_means(seen, 0), languages=languages, sources=sources)
        rows = np.array([row for row, own in enumerate(seen) if len(own) > 1], dtype=np.int64)
        others = _means([seen[row] for row in rows], 1).reshape(len(rows), everything.vectors.shape[1])
        own = everything.take(rows)
        return cls(
            first=everything,
            second=Readings(vectors=others, languages=own.languages, sources=own.sources),
            rows=rows,
        )


def _means(seen: list[np.ndarray], start: int) -> np.ndarray:
    means = [own[start::2].astype(np.float32).mean(axis=0) for own in seen]
    return np.stack(means) if means else np.empty((0, 0), dtype=np.float32)


def image_agreement(readers: Readers, sights: Sights) -> pd.DataFrame:
    """A row per prompt: `IMAGE_AGREEMENT` and `IMAGE_RELIABILITY`, NaN where the company cannot say enough.

    Args:
        readers: From `Readers.fit` of first halves.
        sights: The images of whole captions, in all of their languages.
    """
    if not len(sights.rows):
        judged = readers.judge(sights.first)
    else:
        judged = readers.judge(sights.first, sights.second)
        back = readers.judge(sights.second, sights.first).set_axis(sights.rows)
        both = (judged.loc[sights.rows] + back) / 2
        judged.loc[sights.rows] = both.fillna(judged.loc[sights.rows])
    return pd.DataFrame({IMAGE_AGREEMENT: 1 - judged[TRANSLATION_SCORE], IMAGE_RELIABILITY: judged[RELIABILITY]})


def agreement_bounds(readers: Readers, sights: Sights) -> pd.DataFrame:
    """A row per language, see `BOUNDS_COLUMNS`: means over its prompts, sorted; NaN where nothing is known."""
    own = image_agreement(readers, sights)[IMAGE_AGREEMENT]
    languages = pd.Series(list(sights.first.languages), dtype=object)
    table = pd.DataFrame({"n_prompts": languages.value_counts(), "agreement": own.groupby(languages).mean()})
    table["ceiling"] = np.sqrt(_alike(readers, sights).clip(lower=0))
    table["floor"] = _against_others(readers, sights).groupby(languages).mean()
    return table.rename_axis("language").reset_index().sort_values("language", ignore_index=True)[BOUNDS_COLUMNS]


def _alike(readers: Readers, sights: Sights) -> pd.Series:
    """Mean cosine of the two halves of a prompt by language, without what is common to all images of that."""
    first, second = sights.first.take(sights.rows), sights.second
    place = readers.languages.get_indexer(pd.Index(first.languages, dtype=object))
    known = np.flatnonzero(place >= 0)
    centred = [unit(own.vectors[known] - readers.means[place[known]]) for own in (first, second)]
    cosines = pd.Series((centred[0] * centred[1]).sum(axis=1), dtype=float)
    return cosines.groupby(np.asarray(first.languages, dtype=object)[known]).mean()


def _against_others(readers: Readers, sights: Sights) -> pd.Series:
    """The agreement of each prompt with other captions, `[prompt]`."""
    reference = sights.second if len(sights.rows) else sights.first
    names = sorted(set(sights.first.sources))
    found = []
    for shift in range(1, min(SHIFTS, len(names) - 1) + 1):
        other = dict(zip(names, names[shift:] + names[:shift], strict=True))
        moved = Readings(
            vectors=sights.first.vectors,
            languages=sights.first.languages,
            sources=[other[own] for own in sights.first.sources],
        )
        found.append(1 - readers.judge(moved, reference)[TRANSLATION_SCORE])
    return pd.concat(found, axis=1).mean(axis=1) if found else pd.Series(np.nan, index=range(len(sights.first.sources)))
