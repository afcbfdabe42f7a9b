"""What token count, length and script explain: least squares whose errors go by clusters, see `clustered`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse.csgraph import connected_components

from emoe_audit.analysis.between import clusters, written_for_images
from emoe_audit.analysis.clustered import ClusteredRows
from emoe_audit.analysis.covariates import NUMBERS, SCRIPT, complete, described, lacking, number
from emoe_audit.analysis.multiplicity import adjusted
from emoe_audit.analysis.permutation import ROUNDING
from emoe_audit.analysis.rows import as_labels, different, measured, n_captions, presence, small_places, where

COLLINEAR = 1e-10
"""Share of a column's squares that the columns before it leave, at which it says nothing of its own."""
CONFOUNDER_COLUMNS = [
    *("measure", "covariate", "level", "coefficient", "low", "high", "p", "partial_r2"),
    *("n_prompts", "n_sources", "n_languages", "reason"),
]
ADJUSTED_COLUMNS = [
    *("by", "group", "measure", "n_sources", "raw_difference", "difference"),
    *("low", "high", "p", "p_bh", "given"),
]
ABSENT, CONSTANT, ALIASED = "not in the table", "constant", "collinear with those above"
BASE = "the level that others are compared with"
FEW = "in too few languages or captions, so without interval"
NO_SPREAD = "the measure is constant, or there are too few prompts"


def confounders(results: pd.DataFrame, measure: str, *, confidence: float = 0.95) -> pd.DataFrame:
    """A row per covariate, and per script, of one regression of a measure on all of them, see `CONFOUNDER_COLUMNS`.

    `coefficient` is in standard deviations of the measure: for one standard deviation of a number, for being truncated,
    for being in that script instead of the most frequent one. Clusters are captions (or images, see
    `between.clusters`) and languages; captions alone where there is one language. `partial_r2` is that of the
    covariate as a whole, all scripts together. What was left out is NaN, and `reason` says why.

    Args:
        results: A row per prompt, with `source_id` and `language`; of the covariates, those it has.
        measure: A score, or a measure of quality.
        confidence: Of the intervals.
    """
    rows = complete(where(described(results), results[measure].notna()))
    codes = tuple(small_places(own)[0] for own in (clusters(rows), rows["language"]))
    y = rows[measure].to_numpy(dtype=np.float64)
    table, columns = _columns(rows)
    others = np.flatnonzero(table["reason"].isna())
    estimates = ["coefficient", "low", "high", "p", "partial_r2"]
    table["measure"], table["n_prompts"], table[estimates] = measure, len(rows), np.nan
    table["n_sources"], table["n_languages"] = (int(own.max(initial=-1)) + 1 for own in codes)
    if not len(others):
        return table[CONFOUNDER_COLUMNS]
    middle, spread = y.mean(), y.std(ddof=1)
    design = ClusteredRows(
        made=lambda own: (_with_ones(columns(own)[:, others]), (y[own] - middle) / (spread or 1)),
        ways=tuple(own for own in codes if own.max() > 0) or codes[:1],
    )
    apart = independent(_centred(design.normal.gram))
    table.loc[others[~apart], "reason"] = ALIASED
    used = others[apart]
    if not np.ptp(y) > 0 or len(y) <= len(used) + 1:
        table.loc[used, "reason"] = NO_SPREAD
        return table[CONFOUNDER_COLUMNS]
    fit = design.fit(np.concatenate([[0], 1 + np.flatnonzero(apart)]))
    table.loc[used, estimates[:4]] = fit.intervals(np.eye(len(used) + 1)[1:], confidence).to_numpy()
    names = table.loc[used, "covariate"].to_numpy()
    table.loc[used, "partial_r2"] = [fit.partial_r2(1 + np.flatnonzero(names == name)) for name in names]
    table.loc[used[table.loc[used, "p"].isna()], "reason"] = FEW
    return table[CONFOUNDER_COLUMNS]


def adjusted_contrasts(results: pd.DataFrame, by: str, measure: str, *, confidence: float = 0.95) -> pd.DataFrame:
    """A row per group, see `ADJUSTED_COLUMNS`: its difference from the mean of the others within captions.

    From least squares with an effect of each caption, taken out as its mean, and of each group. `raw_difference` is
    without covariates; in a complete design it is the `difference` of `paired_contrasts`. `difference` is at equal
    `NUMBERS`, of which those are `given` that vary within captions beyond what the groups do; interval and p are its
    own, with captions as clusters. What lies between the two differences is what the covariates explain.

    Captions count that are in two groups or more and were not written for one image. Groups that are not connected
    by captions with most of the groups are NaN.

    Args:
        results: A row per prompt, with `source_id`; of the covariates, those it has.
        by: The group column.
        measure: The measure.
        confidence: Of the intervals.
    """
    named = measured(results, by, measure)
    named = named.assign(**{by: as_labels(named[by])})
    rows = connected(complete(where(named, ~written_for_images(named))), by)
    table = pd.DataFrame(
        index=pd.Index(different(named[by]), name="group"), columns=ADJUSTED_COLUMNS[4:10], dtype=float
    )
    table["n_sources"] = n_captions(rows, by).reindex(table.index, fill_value=0)
    codes, names = small_places(rows[by])
    given: list[str] = []
    if len(names) > 1:
        numbers = [name for name in NUMBERS if not lacking(rows, name).all()]
        design = _within_captions(rows, codes, len(names), numbers, measure)
        kept = independent(design.normal.gram)
        given = [name for name, used in zip(numbers, kept[len(names) - 1 :], strict=True) if used]
        groups = np.arange(len(names) - 1)
        table.loc[names, "raw_difference"] = _minus_others(len(names), len(groups)) @ design.coefficients(groups)
        minus_others = _minus_others(len(names), int(kept.sum()))
        found = design.fit(np.flatnonzero(kept)).intervals(minus_others, confidence)
        table.loc[names, ["difference", "low", "high", "p"]] = found.to_numpy()
    table["p_bh"] = adjusted(table["p"], "bh")
    table["by"], table["measure"], table["given"] = by, measure, ", ".join(given)
    return table.reset_index()[ADJUSTED_COLUMNS]


def connected(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """The rows of captions in two groups or more, and of these the largest set of groups that captions connect."""
    cells = presence(rows, by)
    several = cells.sum(axis=1) > 1
    if not several.all():
        rows = rows[several[small_places(rows["source_id"])[0]]]
        cells = presence(rows, by)
    if not len(rows):
        return rows
    shared = cells.astype(np.float32)
    parts = connected_components(shared.T @ shared, directed=False)[1]
    largest = parts == np.bincount(parts).argmax()
    return rows if largest.all() else rows[largest[small_places(rows[by])[0]]]


def _within_captions(
    rows: pd.DataFrame, codes: np.ndarray, n_groups: int, numbers: list[str], measure: str
) -> ClusteredRows:
    """Columns of all groups but the first, then of numbers, and the measure; all but for their means in a caption."""
    captions, _ = small_places(rows["source_id"])
    values = [*(_as_held(rows, name) for name in numbers), rows[measure].to_numpy(dtype=np.float64)]
    largest = np.concatenate([np.ones(n_groups - 1), [max(float(own.max()), -float(own.min())) for own in values]])

    def made(own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        groups = codes[own][:, None] == np.arange(1, n_groups)
        rest = within(np.column_stack([groups, *(each[own] for each in values)]), captions[own], largest)
        return np.ascontiguousarray(rest[:, :-1]), rest[:, -1].copy()

    return ClusteredRows(made=made, ways=(captions,))


def _as_held(rows: pd.DataFrame, name: str) -> np.ndarray:
    """One of `NUMBERS` that no row lacks, in the type in which it takes least."""
    is_plain = name in rows and isinstance(rows[name].dtype, np.dtype) and rows[name].dtype != object
    return rows[name].to_numpy() if is_plain else number(rows, name)


def within(x: np.ndarray, captions: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Columns `[n, k]` minus their means in each caption; what is only rounding of the `largest` values `[k]` is 0."""
    own = np.unique(captions, return_inverse=True)[1]
    sums = np.column_stack([np.bincount(own, weights=column) for column in x.T])
    rest: np.ndarray = x - (sums / np.bincount(own)[:, None])[own]
    rest[np.abs(rest) <= ROUNDING * largest] = 0
    return rest


def independent(gram: np.ndarray) -> np.ndarray:
    """Which columns are not combinations of those before them, `[k]`, by their products `[k, k]`."""
    norms = np.sqrt(gram.diagonal())
    scaled = gram / np.outer(*2 * [np.where(norms > 0, norms, 1)])
    kept: list[int] = []
    for column in np.flatnonzero(norms):
        known = scaled[kept, column]
        if 1 - known @ np.linalg.solve(scaled[np.ix_(kept, kept)], known) > COLLINEAR:
            kept.append(int(column))
    return np.isin(np.arange(len(norms)), kept)


def _centred(gram: np.ndarray) -> np.ndarray:
    """The products of columns minus their means, from those of the columns behind a column of ones."""
    centred: np.ndarray = gram[1:, 1:] - np.outer(gram[0, 1:], gram[0, 1:]) / gram[0, 0]
    return centred


def _with_ones(x: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(x)), x])


def _columns(rows: pd.DataFrame) -> tuple[pd.DataFrame, Callable[[np.ndarray], np.ndarray]]:
    """`covariate, level, reason` of each column, and what makes the columns `[row, column]` of some rows, by place.

    Numbers are in standard deviations; of scripts there is a column each, the most frequent first.
    """
    scripts = rows[SCRIPT] if SCRIPT in rows else pd.Series(np.nan, index=rows.index)
    counts = as_labels(scripts.dropna()).value_counts().sort_index().sort_values(ascending=False, kind="stable")
    levels = list(counts.index[counts > 0]) or [None]
    scales = [_scale(_as_held(rows, name), is_scaled=name != "truncated") for name in NUMBERS]
    table = pd.DataFrame({"covariate": [*NUMBERS, *["script"] * len(levels)], "level": [None] * len(NUMBERS) + levels})
    usable = np.array([own is not None for own in scales] + [SCRIPT in rows or not len(rows)] * len(levels))
    varies = np.array([own is not None and own.varies for own in scales] + [len(levels) > 1] * len(levels))
    reason = np.full(len(table), None, dtype=object)
    reason[(table["level"] == levels[0]).to_numpy()] = BASE
    reason[~varies] = CONSTANT
    reason[~usable] = ABSENT

    def made(own: np.ndarray) -> np.ndarray:
        part = rows.iloc[own]
        numbers = [
            (number(part, name) - scale.middle) / scale.spread if scale else np.full(len(part), np.nan)
            for name, scale in zip(NUMBERS, scales, strict=True)
        ]
        return np.column_stack([*numbers, *((part[SCRIPT] == level) for level in levels if level is not None)])

    return table.assign(reason=reason), made


@dataclass(frozen=True, kw_only=True)
class _Scale:
    varies: bool
    middle: float = 0.0
    spread: float = 1.0


def _scale(values: np.ndarray, *, is_scaled: bool) -> _Scale | None:
    """How a number becomes a column; None where it is not there."""
    if np.isnan(values).any():
        return None
    if not len(values) or not values.max() > values.min():
        return _Scale(varies=False)
    if not is_scaled:
        return _Scale(varies=True)
    return _Scale(varies=True, middle=float(values.mean()), spread=float(values.std(ddof=1)))


def _minus_others(n_groups: int, n_columns: int) -> np.ndarray:
    """Each group's effect minus the mean of the others', `[group, column]`, of columns that begin with all but one."""
    weights = (np.eye(n_groups) - 1 / n_groups) * n_groups / (n_groups - 1)
    combinations = np.zeros((n_groups, n_columns))
    combinations[:, : n_groups - 1] = weights[:, 1:]
    return combinations
