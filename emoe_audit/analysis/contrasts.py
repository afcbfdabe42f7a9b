"""How a score relates to quality and to coverage: quartiles, rank correlations, rank correlations given a third."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from emoe_audit.analysis.bootstrap import bootstrap_means
from emoe_audit.analysis.crossed import crossed_error, half_width, on_fisher_scale, ways
from emoe_audit.analysis.permutation import ROUNDING
from emoe_audit.analysis.rank_correlation import (
    MIN_POINTS,
    correlate_rows,
    partial_spearman,
    partial_spearman_influences,
    spearman,
    spearman_influences,
)
from emoe_audit.analysis.rows import complete_rows, different, group_means

QUARTILE_COLUMNS = ["score", "measure", "quartile", "n_prompts", "score_mean", "mean", "low", "high"]
CORRELATION_COLUMNS = ["x", "y", "level", "given", "n", "rho", "low", "high"]
MIN_GROUPS = 5
"""Groups without which a correlation of their means has no interval: any three are in order in 1 of 3 cases."""


def quartiles(results: pd.DataFrame, score: str, measure: str, *, confidence: float = 0.95) -> pd.DataFrame:
    """Mean of a measure over the quarters of the prompts by rising score, see `QUARTILE_COLUMNS`.

    Quarters are fixed by the observed scores; intervals are for other captions and languages, see `crossed`.
    """
    rows = results.dropna(subset=["source_id", score, measure])
    if len(rows) < 4:
        return pd.DataFrame(columns=QUARTILE_COLUMNS)
    order = rows[score].rank(method="first")
    quarter = np.ceil(4 * order / len(rows)).astype(int).rename("quartile")
    table = [
        {
            "quartile": number,
            "n_prompts": len(own),
            "score_mean": own[score].mean(),
            **_mean(own, measure, confidence),
        }
        for number, own in rows.groupby(quarter)
    ]
    return pd.DataFrame(table).assign(score=score, measure=measure)[QUARTILE_COLUMNS]


def _mean(rows: pd.DataFrame, measure: str, confidence: float) -> dict[str, float]:
    values = rows[measure].to_numpy(dtype=np.float64)
    mean = float(values.mean())
    half = half_width(*crossed_error((values - mean) / len(values), ways(rows)), confidence)
    return {"mean": mean, "low": mean - half, "high": mean + half}


def correlate_prompts(results: pd.DataFrame, x: str, y: str, *, confidence: float = 0.95) -> pd.DataFrame:
    """Spearman's rho over prompts, for other captions and languages (`crossed`); one row of `CORRELATION_COLUMNS`."""
    rows = results.dropna(subset=["source_id", x, y])
    values = [rows[column].to_numpy(dtype=np.float64) for column in (x, y)]
    rho, influences = spearman(*values), spearman_influences(*values) / max(len(rows), 1)
    ends = on_fisher_scale(rho, *crossed_error(influences, ways(rows)), confidence)
    return _row(x, y, "prompt", None, len(rows), rho, ends)


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
    """Spearman's rho between the groups' means of `x` and `y`, for other groups and captions.

    The variance is that of independent groups, from their influences, plus that of resampled captions; intervals are
    those of t with a degree of freedom for each group but one, and one less where a measure is given. With fewer than
    `MIN_GROUPS` groups, one more where a measure is given, there is none.

    Args:
        results: A row per prompt.
        x: A measure.
        y: A measure, or the name of `known`.
        by: The group column.
        given: A measure whose group means are partialled out, on ranks.
        known: A value for each group that is not measured, such as its training coverage; takes the place of `y`.
        n_boot: Number of replicates of captions.
        seed: Of the resampling.
        confidence: Of the interval.
    """
    columns = [c for c in (x, None if known is not None else y, given) if c is not None]
    rows = complete_rows(results[["source_id", by, *columns]])
    if known is not None:
        rows = rows[rows[by].isin(known.index)]
    names = pd.Index(different(rows[by]))
    if len(names) < MIN_POINTS:
        return _row(x, y, by, given, len(names), np.nan, (np.nan, np.nan))
    means, replicates = {}, {}
    for column in columns:
        means[column] = group_means(rows, by, column).to_numpy()
        replicates[column] = bootstrap_means(rows[column], rows[by], rows["source_id"], n_boot=n_boot, seed=seed)[1]
    if known is not None:
        means[y] = known.reindex(names).to_numpy(dtype=np.float64)
        replicates[y] = np.tile(means[y], (n_boot, 1))
    order = [y, x] if given is None else [y, x, given]
    rho = _correlation(*[means[c] for c in order])
    ends = float("nan"), float("nan")
    if len(names) >= MIN_GROUPS + len(order) - 2:
        drawn = correlate_rows(*[replicates[c] for c in order])
        of_captions = float(drawn[~np.isnan(drawn)].var()) if np.isfinite(drawn).any() else float("nan")
        ends = _interval_of_groups(rho, [means[c] for c in order], of_captions, confidence)
    return _row(x, y, by, given, len(names), rho, ends)


def _interval_of_groups(
    rho: float, means: Sequence[np.ndarray], of_captions: float, confidence: float
) -> tuple[float, float]:
    """From the groups' means, `[group]` each, and the variance that captions make.

    Groups in perfect order show no spread: they count as half way to the next best order, with the variance of
    Bonett and Wright 2000.
    """
    n, freedom = len(means[0]), len(means[0]) - len(means) + 1
    if not abs(rho) > 1 - ROUNDING:
        influences = spearman_influences(*means) if len(means) == 2 else partial_spearman_influences(*means)
        error = np.sqrt(influences @ influences / (n * (n - 1)) + of_captions)
        return on_fisher_scale(rho, error, freedom, confidence)
    nearly = float(np.copysign(1 - 6 / (n * (n**2 - 1)), rho))
    error = np.sqrt(1.5 / (freedom - 2) * (1 - nearly**2) ** 2 + of_captions)
    low, high = on_fisher_scale(nearly, error, freedom, confidence)
    return (low, rho) if rho > 0 else (rho, high)


def _correlation(*values: np.ndarray) -> float:
    return spearman(*values) if len(values) == 2 else partial_spearman(*values)


def _row(x: str, y: str, level: str, given: str | None, n: int, rho: float, ends: tuple[float, float]) -> pd.DataFrame:
    return pd.DataFrame([[x, y, level, given, n, rho, *ends]], columns=CORRELATION_COLUMNS).astype({"given": "object"})
