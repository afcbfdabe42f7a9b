"""The mean of a measure in each group, its interval, and its gap to the overall mean."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emoe_audit.analysis.bootstrap import MIN_SOURCES, bootstrap_means, percentile_interval

COLUMNS = ["by", "group", "measure", "n_prompts", "n_sources", "mean", "low", "high", "gap", "gap_low", "gap_high"]


def group_estimates(
    results: pd.DataFrame, by: str, measure: str, *, n_boot: int = 1000, seed: int = 0, confidence: float = 0.95
) -> pd.DataFrame:
    """One row per group, see `COLUMNS`; intervals by cluster bootstrap over `source_id`.

    The gap is the group's mean minus the mean over all prompts, both from the same resample. With fewer than two
    captions in a group an interval is undefined and NaN.
    """
    rows = results[["source_id", by, measure]].dropna()
    if rows.empty:
        return pd.DataFrame(columns=COLUMNS)
    labels = rows[by].astype(str)
    names, means, overall = bootstrap_means(rows[measure], labels, rows["source_id"], n_boot=n_boot, seed=seed)
    grouped = rows.groupby(labels)
    table = pd.DataFrame({"by": by, "group": names, "measure": measure})
    table["n_prompts"] = grouped.size().reindex(names).to_numpy()
    table["n_sources"] = grouped["source_id"].nunique().reindex(names).to_numpy()
    table["mean"] = grouped[measure].mean().reindex(names).to_numpy(dtype=np.float64)
    table["low"], table["high"] = percentile_interval(means, confidence)
    table["gap"] = table["mean"] - rows[measure].mean()
    table["gap_low"], table["gap_high"] = percentile_interval(means - overall[:, None], confidence)
    table.loc[table["n_sources"] < MIN_SOURCES, ["low", "high", "gap_low", "gap_high"]] = np.nan
    return table[COLUMNS]
