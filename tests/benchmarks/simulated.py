"""Simulated audits whose truth is known: captions in several languages, each caption in one region.

A score is the sum of what a caption does in all its languages, what it does in one, and the planted gaps. Shares and
spreads are like those of a run of 120 captions in 40 languages on the ensemble emoji-b, where captions made up 14 to
75% of the variance of three measures and languages' own standard deviations lay between 0.6 and 1.75 times their
median. Tails are those of Student's t with 5 degrees of freedom, heavier than in that run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

MEASURE = "score"
N_LANGUAGES, N_REGIONS = 12, 5
INTRACLASS = 0.5
"""The caption's share of the variance."""
LANGUAGE_SPREADS, REGION_SPREADS = (0.6, 1.75), (0.6, 1.4)
"""From the least to the largest standard deviation, of what a caption does in one language and of what it does in all;
between them in even steps."""
TAIL = 5


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is planted, in standard deviations of the score."""

    languages: np.ndarray = field(default_factory=lambda: np.zeros(N_LANGUAGES))
    regions: np.ndarray = field(default_factory=lambda: np.zeros(N_REGIONS))


def names(by: str) -> list[str]:
    """The groups of `language` or `region`, in the order of `Truth`, which is that of the tables."""
    return [f"{by[0]}{place:02}" for place in range(N_LANGUAGES if by == "language" else N_REGIONS)]


def audits(
    n_captions: int, n_audits: int, *, seed: Sequence[int], truth: Truth | None = None
) -> Iterator[pd.DataFrame]:
    """One after the other: `source_id, language, region, score`, the same captions in all languages."""
    truth = truth or Truth()
    rng = np.random.default_rng([*seed, n_captions])
    caption, language = (axis.ravel() for axis in np.indices((n_captions, N_LANGUAGES)))
    region = np.arange(n_captions) % N_REGIONS
    frame = pd.DataFrame({"source_id": caption, "language": np.array(names("language"))[language]})
    frame["region"] = np.array(names("region"))[region[caption]]
    of_caption = np.sqrt(INTRACLASS) * _spreads(REGION_SPREADS, N_REGIONS)[region, None]
    of_language = np.sqrt(1 - INTRACLASS) * _spreads(LANGUAGE_SPREADS, N_LANGUAGES)
    gaps = truth.regions[region, None] + truth.languages
    for _ in range(n_audits):
        shared, own = _draw(rng, (n_captions, 1)), _draw(rng, (n_captions, N_LANGUAGES))
        yield frame.assign(**{MEASURE: (gaps + of_caption * shared + of_language * own).ravel()})


def crossed(
    n_captions: int,
    n_languages: int,
    effect: float,
    seed: int | Sequence[int],
    *,
    caption: float = 0.0,
    rho: float = 0.0,
) -> pd.DataFrame:
    """Every caption in every language: `source_id, language, score, quality`, of noise and effects of normal values.

    Noise has a standard deviation of 1, languages one of `effect`, captions one of `caption`; each of the three goes
    together by `rho` in score and quality, and so do these.
    """
    rng = np.random.default_rng(seed)
    values = np.zeros((2, n_captions, n_languages))
    for size, shape in ((1.0, values.shape[1:]), (effect, (1, n_languages)), (caption, (n_captions, 1))):
        drawn, other = rng.normal(size=(2, *shape))
        values = values + size * np.stack([drawn, rho * drawn + np.sqrt(1 - rho**2) * other])
    source, language = np.indices(values.shape[1:]).reshape(2, -1)
    score, quality = values.reshape(2, -1)
    return pd.DataFrame({"source_id": source, "language": language, "score": score, "quality": quality})


def _spreads(ends: tuple[float, float], n: int) -> np.ndarray:
    """Standard deviations whose mean square is 1."""
    even = np.linspace(*ends, n)
    spreads: np.ndarray = even / np.sqrt((even**2).mean())
    return spreads


def _draw(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Of variance 1."""
    values: np.ndarray = rng.standard_t(TAIL, shape) * np.sqrt((TAIL - 2) / TAIL)
    return values
