"""How a score relates to quality and to coverage: quartiles, rank correlations, rank correlations given a third."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from emoe_audit.analysis.bootstrap import MIN_SOURCES, bootstrap_means, cluster_counts, percentile_interval
from emoe_audit.analysis.rank_correlation import MIN_POINTS, correlate_rows, partial_spearman, spearman

QUARTILE_COLUMNS = ["score", "measure", "quartile", "n_prompts", "score_mean", "mean", "low", "high"]
CORRELATION_COLUMNS = ["x", "y", "level", "given", "n", "rho", "low", "high"]
MANY_ROWS, FEW_REPLICATES = 20_000, 200


def quartiles(
    results: pd.DataFrame, score: str, measure: str, *, n_boot: int = 1000, seed: int = 0, confidence: float = 0.95
) -> pd.DataFrame:
    """Mean of a measure over the quarters of the prompts by rising score, see `QUARTILE_COLUMNS`.

    Quarters are fixed by the observed scores; intervals resample captions within them.
    """
    rows = results[["source_id", score, measure]].dropna()
    if len(rows) < 4:
        return pd.DataFrame(columns=QUARTILE_COLUMNS)
    order = rows[score].rank(method="first")
    quarter = np.ceil(4 * order / len(rows)).astype(int).rename("quartile")
    names, means, _ = bootstrap_means(rows[measure], quarter, rows["source_id"], n_boot=n_boot, seed=seed)
    grouped = rows.groupby(quarter)
    table = pd.DataFrame({"score": score, "measure": measure, "quartile": names})
    table["n_prompts"] = grouped.size().to_numpy()
    table["score_mean"], table["mean"] = grouped[score].mean().to_numpy(), grouped[measure].mean().to_numpy()
    table["low"], table["high"] = percentile_interval(means, confidence)
    table.loc[grouped["source_id"].nunique().to_numpy() < MIN_SOURCES, ["low", "high"]] = np.nan
    return table[QUARTILE_COLUMNS]


def correlate_prompts(
    results: pd.DataFrame, x: str, y: str, *, n_boot: int = 1000, seed: int = 0, confidence: float = 0.95
) -> pd.DataFrame:
    """Spearman's rho over prompts, captions resampled; one row of `CORRELATION_COLUMNS`.

    Above 20,000 prompts 200 replicates are drawn, which is enough for intervals that narrow.
    """
    rows = results[["source_id", x, y]].dropna()
    codes, names = pd.factorize(rows["source_id"], sort=True)
    first, second = (_Sorted.of(rows[column].to_numpy(dtype=np.float64)) for column in (x, y))
    n_replicates = n_boot if len(rows) <= MANY_ROWS else min(n_boot, FEW_REPLICATES)
    replicates = [np.nan]
    for counts in cluster_counts(len(names), n_replicates, seed) if len(names) else ():
        replicates += [_weighted_spearman(first, second, drawn[codes]) for drawn in counts]
    rho = spearman(rows[x].to_numpy(dtype=np.float64), rows[y].to_numpy(dtype=np.float64))
    return _row(x, y, "prompt", None, len(rows), rho, np.array(replicates), confidence)


def correlate_groups(
    results: pd.DataFrame,
    x: str,
    y: str,
    *,
    by: str,
    given: str | None = None,
    known: pd.Series | None = None,
    n_boot: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Spearman's rho between the groups' means of `x` and `y`; both captions and groups are resampled.

    Args:
        results: A row per prompt.
        x: A measure.
        y: A measure, or the name of `known`.
        by: The group column.
        given: A measure whose group means are partialled out, on ranks.
        known: A value for each group that is not measured, such as its training coverage; takes the place of `y`.
        n_boot: Number of replicates.
        seed: Of the resampling.
        confidence: Of the interval.
    """
    columns = [c for c in (x, None if known is not None else y, given) if c is not None]
    rows = results[["source_id", by, *columns]].dropna()
    if known is not None:
        rows = rows[rows[by].isin(known.index)]
    names = pd.Index(sorted(rows[by].unique()))
    if len(names) < MIN_POINTS:
        return _row(x, y, by, given, len(names), np.nan, np.array([np.nan]), confidence)
    observed, replicates = {}, {}
    for column in columns:
        observed[column] = rows.groupby(by)[column].mean().reindex(names).to_numpy(dtype=np.float64)
        replicates[column] = bootstrap_means(rows[column], rows[by], rows["source_id"], n_boot=n_boot, seed=seed)[1]
    if known is not None:
        observed[y] = known.reindex(names).to_numpy(dtype=np.float64)
        replicates[y] = np.tile(observed[y], (n_boot, 1))
    order = [y, x] if given is None else [y, x, given]
    picked = np.random.default_rng([seed, 1]).integers(len(names), size=(n_boot, len(names)))
    drawn = correlate_rows(*[np.take_along_axis(replicates[c], picked, axis=1) for c in order])
    rho = (spearman if given is None else partial_spearman)(*[observed[c] for c in order])
    return _row(x, y, by, given, len(names), rho, drawn, confidence)


@dataclass(frozen=True, kw_only=True)
class _Sorted:
    """The order of a column, found once: a resample only counts its rows differently."""

    level: np.ndarray
    """The place of each row's value among the different ones, `[row]` in the order of the rows."""
    n_levels: int

    @classmethod
    def of(cls, values: np.ndarray) -> _Sorted:
        levels, place = np.unique(values, return_inverse=True)
        return cls(level=place, n_levels=len(levels))

    def ranks(self, weights: np.ndarray) -> np.ndarray:
        """The rank of each row where it counts `weights` times, ties sharing their mean."""
        totals = np.bincount(self.level, weights=weights, minlength=self.n_levels)
        middle: np.ndarray = (np.cumsum(totals) - (totals - 1) / 2)[self.level]
        return middle


def _weighted_spearman(x: _Sorted, y: _Sorted, weights: np.ndarray) -> float:
    """Spearman's rho where each row counts `weights` times; NaN as `spearman`."""
    n = weights.sum()
    if n < MIN_POINTS:
        return float("nan")
    first, second = x.ranks(weights), y.ranks(weights)
    first, second = first - first @ weights / n, second - second @ weights / n
    scale = float(np.sqrt(((first**2) @ weights) * ((second**2) @ weights)))
    return float((first * second) @ weights) / scale if scale > 0 else float("nan")


def _row(
    x: str, y: str, level: str, given: str | None, n: int, rho: float, replicates: np.ndarray, confidence: float
) -> pd.DataFrame:
    low, high = percentile_interval(replicates, confidence)
    values = [x, y, level, given, n, rho, low[0], high[0]]
    return pd.DataFrame([values], columns=CORRELATION_COLUMNS).astype({"given": "object"})
