"""How unequal groups are: one row for each figure of the spread of their means, with cluster bootstrap intervals.

Means of samples are further apart than the truth: noise alone gives every group of equals its place, and one of them
comes out worst. So max - min, the worst group's mean, and the standard deviation of the means are biased, away from
equality. `bias_corrected` takes away what the bootstrap shows of that: 2 estimate - mean of the replicates (Efron and
Tibshirani 1993, chapter 10). Where groups are almost equal some bias stays: of max - min of equal groups still 60%.

The replicates are biased once more, so a percentile interval is wrong at its end towards equality: with 40 equal or
almost equal groups it never held the true max - min. That end comes from noise alone instead, by the inequality of
the triangle: range(truth) >= range(means) - range(noise), noise being replicates minus means. It is simultaneous over
groups: equal groups come out with a max - min clear of 0 in about 2.5% of runs. The end away from equality is that of
the percentiles, which bias makes cautious.

The standard deviation of the true means is corrected on the scale of variances. What is subtracted is the mean over
replicates of the variance of noise between groups, which is the mean of the groups' bootstrap variances without the
part that all groups share, because they share captions: that part moves no group away from another.

In simulations of 2 to 40 groups, equal to far apart, intervals of 95% held the truth in 93 to 100% of 400 runs with
20 captions and in 94 to 100% with 100; those of the standard deviation in 89 to 100% and 92 to 100%.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from emoe_audit.analysis.bootstrap import bootstrap_means
from emoe_audit.analysis.rows import group_means, measured_rows, n_captions, where

MIN_SOURCES = 20
"""Captions without which a group is left out: its noise would be taken for inequality."""
FIGURES = [
    "max_minus_min",
    "worst_to_best_ratio",
    "worst_group_mean",
    "between_group_sd",
    "between_group_sd_uncorrected",
]
COLUMNS = ["by", "measure", "figure", "group", "estimate", "bias_corrected", "low", "high", "n_groups", "n_suppressed"]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure with its interval; all NaN where it is undefined."""

    value: float = float("nan")
    bias_corrected: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")

    def through(self, function: Callable[[float], float]) -> Estimate:
        """The estimate of a monotone function of the figure."""
        low, high = sorted((function(self.low), function(self.high)))
        return Estimate(value=function(self.value), bias_corrected=function(self.bias_corrected), low=low, high=high)


def disparity(
    results: pd.DataFrame,
    by: str,
    measure: str,
    *,
    higher_is_better: bool,
    min_sources: int = MIN_SOURCES,
    n_boot: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """One row for each of `FIGURES`, see `COLUMNS`.

    - `max_minus_min`: the largest mean of a group minus the smallest.
    - `worst_to_best_ratio`: the worst mean over the best, above 1 where low is better; undefined unless all means are
      above 0, in the replicates too.
    - `worst_group_mean`: with the name of that group. The interval is for the truly worst mean, and holds the true
      mean of the named group, which noise may have made the worst, as well.
    - `between_group_sd`: of the true means, 0 where the means differ no more than noise does; its `bias_corrected` is
      the same.
    - `between_group_sd_uncorrected`: of the means as they are; `bias_corrected` and interval are for the true means.

    With fewer than two groups all is NaN; so are intervals where a replicate holds nothing of a group.

    Args:
        results: A row per prompt, with `source_id`.
        by: The group column.
        measure: The measure.
        higher_is_better: Whether the worst group has the smallest mean, or the largest.
        min_sources: Groups with values of fewer captions are left out, and counted in `n_suppressed`.
        n_boot: Number of replicates.
        seed: Of the resampling.
        confidence: Of the intervals.
    """
    rows = measured_rows(results, by, measure)
    sources = n_captions(rows, by)
    rows = where(rows, rows[by].isin(sources.index[sources >= min_sources]))
    observed = group_means(rows, by, measure)
    estimates, worst = [Estimate()] * len(FIGURES), None
    if len(observed) > 1:
        names, replicates, _ = bootstrap_means(rows[measure], rows[by], rows["source_id"], n_boot=n_boot, seed=seed)
        means = observed.reindex(names).to_numpy()
        estimates = _figures(means, replicates, 1 if higher_is_better else -1, confidence)
        worst = names[means.argmin() if higher_is_better else means.argmax()]
    table = _table(estimates, worst).assign(by=by, measure=measure)
    return table.assign(n_groups=len(observed), n_suppressed=len(sources) - len(observed))[COLUMNS]


def _table(estimates: Sequence[Estimate], worst: str | None) -> pd.DataFrame:
    """A row for each of `FIGURES`; `worst` names the group of the worst mean."""
    table = pd.DataFrame({"figure": FIGURES})
    table["group"] = pd.Series([worst if figure == "worst_group_mean" else None for figure in FIGURES], dtype="object")
    table["estimate"] = [estimate.value for estimate in estimates]
    for column in ("bias_corrected", "low", "high"):
        table[column] = [getattr(estimate, column) for estimate in estimates]
    return table


def _figures(means: np.ndarray, replicates: np.ndarray, sign: int, confidence: float) -> list[Estimate]:
    """The estimates of `FIGURES` from means `[group]` and `[replicate, group]`; `sign` is 1 where high is better."""
    tails = np.array([1 - confidence, 1 + confidence]) / 2
    logs, log_replicates = (np.log(np.where(part > 0, part, np.nan)) for part in (means, replicates))
    return [
        _range(means, replicates, tails),
        _range(logs, log_replicates, tails).through(lambda spread: float(np.exp(-sign * spread))),
        _minimum(sign * means, sign * replicates, tails).through(lambda mean: sign * mean),
        *_spread(means, replicates, tails),
    ]


def _range(means: np.ndarray, replicates: np.ndarray, tails: np.ndarray) -> Estimate:
    """Largest minus smallest: low from the range of noise, high from the replicates."""
    value, drawn = float(np.ptp(means)), np.ptp(replicates, axis=1)
    noise = np.ptp(replicates - means, axis=1)
    return Estimate(
        value=value,
        bias_corrected=float(np.maximum(0, 2 * value - drawn.mean())),
        low=float(np.maximum(0, value - np.quantile(noise, tails[1]))),
        high=float(np.quantile(drawn, tails[1])),
    )


def _minimum(means: np.ndarray, replicates: np.ndarray, tails: np.ndarray) -> Estimate:
    """The smallest: low from the replicates, high from the lowest noise of any group."""
    value, drawn = float(means.min()), replicates.min(axis=1)
    noise = (replicates - means).min(axis=1)
    return Estimate(
        value=value,
        bias_corrected=float(2 * value - drawn.mean()),
        low=float(np.quantile(drawn, tails[0])),
        high=float(value - np.quantile(noise, tails[0])),
    )


def _spread(means: np.ndarray, replicates: np.ndarray, tails: np.ndarray) -> tuple[Estimate, Estimate]:
    """Standard deviation of the true means, and of the means; both with the interval of the true one.

    The variance of replicates holds noise twice, that of the means and that of the resample.
    """
    variance, drawn = means.var(ddof=1), replicates.var(axis=1, ddof=1)
    noise = (replicates - means).var(axis=1, ddof=1).mean()
    corrected = float(np.sqrt(np.maximum(0, variance - noise)))
    low, high = np.sqrt(np.maximum(0, np.quantile(drawn, tails) - 2 * noise))
    true = Estimate(value=corrected, bias_corrected=corrected, low=float(low), high=float(high))
    return true, replace(true, value=float(np.sqrt(variance)))
