"""The mean of a measure in each group, its interval, and its gap to the overall mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from emoe_audit.analysis.bootstrap import cluster_sums
from emoe_audit.analysis.permutation import ROUNDING
from emoe_audit.analysis.skewed import MIN_FOR_INTERVAL, skewed_interval, skewness_of_estimate

COLUMNS = ["by", "group", "measure", "n_prompts", "n_sources", "mean", "low", "high", "gap", "gap_low", "gap_high"]


def group_estimates(results: pd.DataFrame, by: str, measure: str, *, confidence: float = 0.95) -> pd.DataFrame:
    """One row per group, see `COLUMNS`; intervals of `skewed` over captions (`source_id`).

    A mean is a ratio, the values of all captions over their number. Its error is that of the jackknife, from the means
    without each caption, which holds where captions have unlike numbers of prompts (Cochran 1977, chapter 6). The gap
    is the group's mean minus the mean over all prompts. Without `MIN_FOR_INTERVAL` captions in a group, or where all
    of them are alike, which shows nothing of how unlike others may be, both intervals are NaN.
    """
    rows = results[["source_id", by, measure]].dropna()
    if rows.empty:
        return pd.DataFrame(columns=COLUMNS)
    names, sums, sizes = cluster_sums(rows[measure], rows[by].astype(str), rows["source_id"])
    n_sources, mean = (sizes > 0).sum(axis=0), sums.sum(axis=0) / sizes.sum(axis=0)
    overall = sums.sum() / sizes.sum()
    of_mean = _influences(sums, sizes, mean)
    of_overall = _influences(sums.sum(axis=1, keepdims=True), sizes.sum(axis=1, keepdims=True), overall)
    counts = {"n_prompts": sizes.sum(axis=0).astype(np.int64), "n_sources": n_sources}
    table = pd.DataFrame({"by": by, "group": names, "measure": measure, **counts, "mean": mean, "gap": mean - overall})
    smallest = ROUNDING * rows[measure].abs().max()
    varies = np.sqrt((of_mean**2).sum(axis=0)) > smallest
    freedom = np.where(varies & (n_sources >= MIN_FOR_INTERVAL), n_sources - 1, np.nan)
    for prefix, estimates, influences in (("", mean, of_mean), ("gap_", mean - overall, of_mean - of_overall)):
        error = np.sqrt((influences**2).sum(axis=0) * (1 + 1 / freedom))
        error = np.where(error > smallest, error, np.nan)
        ends = skewed_interval(estimates, error, freedom, skewness_of_estimate(influences), confidence)
        table[f"{prefix}low"], table[f"{prefix}high"] = ends
    return table[COLUMNS]


def _influences(sums: np.ndarray, sizes: np.ndarray, mean: Any) -> np.ndarray:
    """What each caption adds to the means, `[caption, group]`: by how much they differ without it."""
    n_sources, rest = (sizes > 0).sum(axis=0), sizes.sum(axis=0) - sizes
    moved = np.divide(sums - mean * sizes, rest, out=np.zeros_like(sums), where=rest > 0)
    influences: np.ndarray = moved * (n_sources - 1) / n_sources
    return influences
