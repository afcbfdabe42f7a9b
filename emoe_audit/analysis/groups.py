"""The mean of a measure in each group, its interval, and its gap to the overall mean."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emoe_audit.analysis.bootstrap import cluster_sums
from emoe_audit.analysis.permutation import ROUNDING
from emoe_audit.analysis.rows import as_labels, complete_rows
from emoe_audit.analysis.skewed import MIN_FOR_INTERVAL, skewed_interval, skewness_of_estimate

COLUMNS = ["by", "group", "measure", "n_prompts", "n_sources", "mean", "low", "high", "gap", "gap_low", "gap_high"]


def group_estimates(results: pd.DataFrame, by: str, measure: str, *, confidence: float = 0.95) -> pd.DataFrame:
    """One row per group, see `COLUMNS`; intervals of `skewed` over captions (`source_id`).

    A mean is a ratio, the values of all captions over their number. Its error is that of the jackknife, from the means
    without each caption, which holds where captions have unlike numbers of prompts (Cochran 1977, chapter 6). The gap
    is the group's mean minus the mean over all prompts. Without `MIN_FOR_INTERVAL` captions in a group, or where all
    of them are alike, which shows nothing of how unlike others may be, both intervals are NaN.
    """
    rows = complete_rows(results[["source_id", by, measure]])
    if rows.empty:
        return pd.DataFrame(columns=COLUMNS)
    names, sums, sizes = cluster_sums(rows[measure], as_labels(rows[by]), rows["source_id"])
    n_sources, mean = (sizes > 0).sum(axis=0), sums.sum(axis=0) / sizes.sum(axis=0)
    overall = sums.sum() / sizes.sum()
    counts = {"n_prompts": sizes.sum(axis=0), "n_sources": n_sources}
    table = pd.DataFrame({"by": by, "group": names, "measure": measure, **counts, "mean": mean, "gap": mean - overall})
    smallest = ROUNDING * rows[measure].abs().max()
    of_overall = _influences(sums.sum(axis=1), sizes.sum(axis=1), overall)
    spread = np.array(
        [_spread(own, size, each, of_overall) for own, size, each in zip(sums.T, sizes.T, mean, strict=True)]
    )
    freedom = np.where((np.sqrt(spread[:, 0]) > smallest) & (n_sources >= MIN_FOR_INTERVAL), n_sources - 1, np.nan)
    for prefix, estimates, own in (("", mean, spread[:, :2]), ("gap_", mean - overall, spread[:, 2:])):
        error = np.sqrt(own[:, 0] * (1 + 1 / freedom))
        error = np.where(error > smallest, error, np.nan)
        ends = skewed_interval(estimates, error, freedom, own[:, 1], confidence)
        table[f"{prefix}low"], table[f"{prefix}high"] = ends
    return table[COLUMNS]


def _spread(sums: np.ndarray, sizes: np.ndarray, mean: float, of_overall: np.ndarray) -> list[float]:
    """Variance and skewness of a group's mean, and of its gap, from its captions' sums and sizes `[caption]`."""
    of_mean = _influences(sums, sizes, mean)
    return [
        float(figure)
        for own in (of_mean, of_mean - of_overall)
        for figure in ((own**2).sum(), skewness_of_estimate(own))
    ]


def _influences(sums: np.ndarray, sizes: np.ndarray, mean: float) -> np.ndarray:
    """What each caption adds to a mean, `[caption]`: by how much it differs without it."""
    n_sources, rest = (sizes > 0).sum(), sizes.sum() - sizes
    moved = np.divide(sums - mean * sizes, rest, out=np.zeros_like(sums), where=rest > 0)
    influences: np.ndarray = moved * (n_sources - 1) / n_sources
    return influences
