"""The mean of a measure in each group, its interval, and its gap to the overall mean."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emoe_audit.analysis.bca import bca_interval, jackknife_means
from emoe_audit.analysis.bootstrap import MIN_SOURCES, bootstrap_means, percentile_interval
from emoe_audit.types import Interval

COLUMNS = ["by", "group", "measure", "n_prompts", "n_sources", "mean", "low", "high", "gap", "gap_low", "gap_high"]


def group_estimates(
    results: pd.DataFrame,
    by: str,
    measure: str,
    *,
    n_boot: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    interval: Interval = "percentile",
) -> pd.DataFrame:
    """One row per group, see `COLUMNS`; intervals by cluster bootstrap over `source_id`, of percentiles or BCa.

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
    table["gap"] = table["mean"] - rows[measure].mean()
    sides = {"": (means, table["mean"].to_numpy()), "gap_": (means - overall[:, None], table["gap"].to_numpy())}
    without = _without_each(rows[measure], labels, rows["source_id"]) if interval == "bca" else {}
    for name, (replicates, estimates) in sides.items():
        table[f"{name}low"], table[f"{name}high"] = (
            bca_interval(replicates, estimates, without[name], confidence)
            if interval == "bca"
            else percentile_interval(replicates, confidence)
        )
    table.loc[table["n_sources"] < MIN_SOURCES, ["low", "high", "gap_low", "gap_high"]] = np.nan
    return table[COLUMNS]


def _without_each(values: pd.Series, labels: pd.Series, clusters: pd.Series) -> dict[str, np.ndarray]:
    """The means of groups and their gaps without each cluster, `[cluster, group]`."""
    means = jackknife_means(values, labels, clusters)
    overall = jackknife_means(values, pd.Series("all", index=values.index), clusters)
    return {"": means, "gap_": means - overall}
