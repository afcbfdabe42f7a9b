"""What a probe shows of a score, beyond what its placebo shows: shares of pairs, with languages resampled.

Of a score for prompts in one language, captions of that language are resampled.

A pair has a text that the ensemble may know, one that it cannot read, and a placebo in the place of the second: another
real caption of the same language and as many tokens. What rises on the placebo as well says nothing of reading, so a
sign rests on the difference of the two shares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm, t

from emoe_audit.analysis.bootstrap import bootstrap_means, percentile_interval
from emoe_audit.analysis.intervals import Interval, side
from emoe_audit.validity.probes import Pair
from emoe_audit.validity.signs import EVEN, SIGN, Sign

N_BOOT, CONFIDENCE = 1000, 0.95
MIN_LANGUAGES = 8
"""Languages without which a probe says nothing: with fewer, scores that know nothing get a sign too often."""
MIN_PAIRS = 20
"""Pairs of captions without which it says nothing in one language."""


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """How often the strange half of a pair scores above the known half, ties counting half."""

    probe: str
    n_pairs: int
    n_languages: int
    share: Interval
    placebo: float
    """The same share with the placebo in the place of the strange half."""
    beyond: Interval
    """`share` less `placebo`, pair by pair."""
    language: str | None = None
    """The only one that was asked; None where many were."""

    @property
    def sign(self) -> Sign:
        """On which side of an even share, and of the placebo, both whole intervals lie."""
        sides = {side(self.share.low, self.share.high, of=EVEN), side(self.beyond.low, self.beyond.high)}
        return SIGN[sides.pop()] if len(sides) == 1 else "unclear"


def higher(known: np.ndarray, other: np.ndarray) -> np.ndarray:
    """1 where the other half scores higher, 0.5 for ties, NaN where either has no score."""
    undefined = np.isnan(known) | np.isnan(other)
    return np.where(undefined, np.nan, (other > known) + 0.5 * (other == known))


def compare(
    pairs: Sequence[Pair], known: np.ndarray, strange: np.ndarray, placebo: np.ndarray
) -> tuple[ProbeResult, ...]:
    """One result a probe, from the scores of the three texts of every pair; languages are resampled."""
    return weigh(halves(pairs, known, strange, placebo))


def halves(pairs: Sequence[Pair], known: np.ndarray, strange: np.ndarray, placebo: np.ndarray) -> pd.DataFrame:
    """What `weigh` takes, a row per pair."""
    rows = [(pair.probe, pair.language, pair.known) for pair in pairs]
    named = pd.DataFrame(rows, columns=["probe", "language", "caption"])
    return named.assign(strange=higher(known, strange), placebo=higher(known, placebo))


def weigh(pairs: pd.DataFrame, *, resampled: str = "language", least: int = MIN_LANGUAGES) -> tuple[ProbeResult, ...]:
    """One result a probe, in the order of the pairs; pairs without a score are left out.

    Args:
        pairs: Columns `probe`, `language`, and how often the strange half (`strange`) and the placebo (`placebo`) score
            above the known half, each from 0 to 1; where captions are to be resampled, `caption` too.
        resampled: `language` or `caption`: what would be others if the check were made again.
        least: Of these, without which nothing is said.
    """
    defined = pairs.dropna(subset=["strange", "placebo"])
    return tuple(
        ProbeResult(
            probe=str(probe),
            n_pairs=len(rows),
            n_languages=rows["language"].nunique(),
            share=_mean(rows["strange"], rows[resampled], least),
            placebo=float(rows["placebo"].mean()),
            beyond=_mean(rows["strange"] - rows["placebo"], rows[resampled], least),
        )
        for probe, rows in defined.groupby("probe", sort=False)
    )


def _mean(values: pd.Series, clusters: pd.Series, least: int) -> Interval:
    """The mean with its expanded percentile interval (Hesterberg 2015, section 5.3), undefined for few clusters.

    A percentile interval of n clusters is as narrow as one of z and of a variance over n. So the percentiles are taken
    further out, by as much as t on n - 1 degrees of freedom and a variance over n - 1 are wider.
    """
    value, n = float(values.mean()), clusters.nunique()
    if n < least:
        return Interval(value=value, low=math.nan, high=math.nan)
    tail = norm.cdf(math.sqrt(n / (n - 1)) * t.ppf((1 - CONFIDENCE) / 2, n - 1))
    _, _, replicates = bootstrap_means(values, clusters, clusters, n_boot=N_BOOT, seed=0)
    low, high = percentile_interval(replicates, 1 - 2 * tail)
    return Interval(value=value, low=float(low[0]), high=float(high[0]))
