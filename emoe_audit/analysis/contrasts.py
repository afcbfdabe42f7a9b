"""How a score relates to quality and to coverage: quartiles, rank correlations, rank correlations given a third."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from emoe_audit.analysis.bootstrap import MIN_SOURCES, bootstrap_means, percentile_interval

QUARTILE_COLUMNS = ["score", "measure", "quartile", "n_prompts", "score_mean", "mean", "low", "high"]
CORRELATION_COLUMNS = ["x", "y", "level", "given", "n", "rho", "low", "high"]
MIN_POINTS = 3
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
    values = rows[[x, y]].to_numpy(dtype=np.float64)
    clusters = list(rows.reset_index(drop=True).groupby("source_id").indices.values())
    rng = np.random.default_rng(seed)
    replicates = [np.nan]
    for _ in range(n_boot if len(rows) <= MANY_ROWS else min(n_boot, FEW_REPLICATES)):
        drawn = rng.integers(len(clusters), size=len(clusters)) if clusters else ()
        sample = np.concatenate([np.array([], dtype=np.int64), *(clusters[i] for i in drawn)])
        replicates.append(spearman(values[sample, 0], values[sample, 1]))
    rho = spearman(values[:, 0], values[:, 1])
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
    statistic: Callable[..., float] = spearman if given is None else partial_spearman
    rng = np.random.default_rng([seed, 1])
    drawn = [
        statistic(*[replicates[c][i, picked] for c in order])
        for i, picked in enumerate(rng.integers(len(names), size=(n_boot, len(names))))
    ]
    rho = statistic(*[observed[c] for c in order])
    return _row(x, y, by, given, len(names), rho, np.array(drawn), confidence)


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rho; NaN for fewer than three points or a constant."""
    keep = ~(np.isnan(x) | np.isnan(y))
    return _pearson(rankdata(x[keep]), rankdata(y[keep])) if keep.sum() >= MIN_POINTS else float("nan")


def partial_spearman(x: np.ndarray, y: np.ndarray, given: np.ndarray) -> float:
    """Spearman's rho of `x` and `y` with the ranks of `given` partialled out of both.

    rho_xy.z = (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2)(1 - r_yz^2)); Kendall and Stuart, vol. 2, chapter 27.
    """
    keep = ~(np.isnan(x) | np.isnan(y) | np.isnan(given))
    xy, xz, yz = spearman(x[keep], y[keep]), spearman(x[keep], given[keep]), spearman(y[keep], given[keep])
    rest = (1 - xz**2) * (1 - yz**2)
    return (xy - xz * yz) / float(np.sqrt(rest)) if rest > 0 else float("nan")


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale > 0 else float("nan")


def _row(
    x: str, y: str, level: str, given: str | None, n: int, rho: float, replicates: np.ndarray, confidence: float
) -> pd.DataFrame:
    low, high = percentile_interval(replicates, confidence)
    values = [x, y, level, given, n, rho, low[0], high[0]]
    return pd.DataFrame([values], columns=CORRELATION_COLUMNS).astype({"given": "object"})
