"""The mean of a measure in each group, or its gap to the overall mean, between bounds that hold far out in the tail."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from emoe_audit.analysis.permutation import ROUNDING
from emoe_audit.analysis.rows import measured_rows
from emoe_audit.analysis.skewed_mean import share_bounds, skewed_mean_bounds

Figure = Literal["mean", "gap"]
COLUMNS = ["group", "n_sources", "needed", "value", "low", "high"]


def group_bounds(results: pd.DataFrame, by: str, measure: str, figure: Figure, *, tail: float) -> pd.DataFrame:
    """One row per group, see `COLUMNS`; each bound is missed with probability `tail` at most, see `skewed_mean`.

    Captions are the independent units. The gap is the group's mean minus the mean over all prompts. A mean is bounded
    exactly where a caption gives each group one value of 0 or 1.
    """
    rows = measured_rows(results, by, measure)
    if rows.empty:
        return pd.DataFrame(columns=COLUMNS)
    groups = pd.Index(sorted(rows[by].unique()))
    sums, sizes = _totals(rows["source_id"], groups.get_indexer(rows[by]), rows[measure].to_numpy())
    n_sources = (sizes > 0).sum(axis=0)
    values, influence = _means(sums, sizes)
    if figure == "gap":
        overall, of_overall = _means(sums.sum(axis=1, keepdims=True), sizes.sum(axis=1, keepdims=True))
        values, influence = values - overall, influence - of_overall
    exact = figure == "mean" and sizes.max() == 1 and rows[measure].isin([0, 1]).all()
    bounds = share_bounds(values, n_sources, tail) if exact else skewed_mean_bounds(values, influence, n_sources, tail)
    columns = (groups, n_sources, bounds.needed, values, bounds.low, bounds.high)
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))


def _totals(sources: pd.Series, group: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sum and the number of values of each caption in each group, `[caption, group]`."""
    caption, captions = pd.factorize(sources)
    shape = (len(captions), int(group.max()) + 1)
    cells = caption * shape[1] + group
    sums, sizes = (np.bincount(cells, weights, minlength=shape[0] * shape[1]) for weights in (values, None))
    return sums.reshape(shape), sizes.reshape(shape)


def _means(sums: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means `[group]`, and what each caption adds to their distance from the truth, `[caption, group]`.

    What rounding alone could be is 0: captions that all say the same have no spread.
    """
    total = sizes.sum(axis=0)
    means = sums.sum(axis=0) / total
    apart = sums - means * sizes
    return means, np.where(np.abs(apart) > ROUNDING * np.abs(sums), apart, 0.0) / total
