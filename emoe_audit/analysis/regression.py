"""What token count, length and script explain: least squares whose errors go by clusters.

Variances are CR1 (Liang and Zeger 1986): with scores s_i = x_i u_i summed over each of G clusters,
V = (X'X)^-1 (sum_g s_g s_g') (X'X)^-1 times G / (G - 1) (n - 1) / (n - k). Where prompts depend on each other in two
ways, V = V_caption + V_language - V_both (Cameron, Gelbach and Miller 2011).

A script that two of 40 languages are written in rests on two clusters, not on 40: with CR1 and t of 39 degrees of
freedom it differed "clearly" from the others in 31% of simulations in which it did not, with five languages in 12%.
What counts is the effective number of clusters G* = (sum_g w_g)^2 / sum_g w_g^2, w_g the squares of what the rows of a
cluster weigh in the coefficient, (c (X'X)^-1 x_i)^2 (after Carter, Schnepel and Steigerwald 2017), at most G - 1. With
t of G* - 1 degrees of freedom, and G* in the place of G in CR1's factor, both of the way where G* is smaller, it was 0
to 6%; of a number that differs between 10 languages alone 4%, with CR1 13%.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from scipy.stats import t

from emoe_audit.analysis.between import clusters, written_for_images
from emoe_audit.analysis.bootstrap import MIN_SOURCES
from emoe_audit.analysis.crossed import MIN_CLUSTERS
from emoe_audit.analysis.multiplicity import adjusted
from emoe_audit.analysis.permutation import ROUNDING

NUMBERS = ("n_tokens", "tokens_per_word", "truncated", "log_length")
"""Covariates of a prompt; the last is the logarithm of its number of characters."""
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


@dataclass(frozen=True, kw_only=True)
class ClusteredFit:
    """Coefficients `[k]` of least squares with their clustered covariance `[k, k]`."""

    coefficients: np.ndarray
    covariance: np.ndarray
    inverse: np.ndarray
    """(X'X)^-1."""
    residual_squares: float
    x: np.ndarray
    """The columns, `[n, k]`."""
    ways: tuple[np.ndarray, ...]
    """The cluster of each row, in every way."""

    def intervals(self, combinations: np.ndarray, confidence: float) -> pd.DataFrame:
        """`estimate, low, high, p` of linear combinations `[m, k]`.

        All but the estimate is NaN where the variance is not above 0 or rests on less than `MIN_CLUSTERS` clusters.
        """
        estimate = combinations @ self.coefficients
        effective, n_clusters = self.effective_clusters(combinations)
        effective = np.where(effective >= MIN_CLUSTERS, effective, np.nan)
        variance = ((combinations @ self.covariance) * combinations).sum(axis=1)
        variance = variance * (effective / (effective - 1)) * ((n_clusters - 1) / n_clusters)
        error = np.sqrt(np.where(variance > 0, variance, np.nan))
        half = t.isf((1 - confidence) / 2, effective - 1) * error
        p = 2 * t.sf(np.abs(estimate) / error, effective - 1)
        return pd.DataFrame({"estimate": estimate, "low": estimate - half, "high": estimate + half, "p": p})

    def effective_clusters(self, combinations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """G* and G of linear combinations `[m, k]`, of the way where G* is smaller, see the module."""
        weights = (self.x @ self.inverse @ combinations.T) ** 2
        sums = [np.column_stack([np.bincount(codes, weights=own) for own in weights.T]) for codes in self.ways]
        effective = np.array([np.minimum(own.sum(axis=0) ** 2 / (own**2).sum(axis=0), len(own) - 1) for own in sums])
        fewest = effective.argmin(axis=0)
        return effective.min(axis=0), np.array([len(own) for own in sums])[fewest]

    def partial_r2(self, columns: np.ndarray) -> float:
        """Of the squares that the other columns leave, the share that these (by their places) explain."""
        own = self.coefficients[columns]
        explained = own @ np.linalg.solve(self.inverse[np.ix_(columns, columns)], own)
        return float(explained / (explained + self.residual_squares))


def clustered_ols(y: np.ndarray, x: np.ndarray, ways: Sequence[np.ndarray]) -> ClusteredFit:
    """Least squares of `y` `[n]` on independent columns `x` `[n, k]`.

    Args:
        y: The outcome.
        x: With a column of ones, where there is to be a constant.
        ways: The cluster of each row, numbered from 0, in one way or in two. Fewer than two clusters give NaN.
    """
    inverse = np.linalg.inv(x.T @ x)
    coefficients = inverse @ (x.T @ y)
    residuals = y - x @ coefficients
    residuals[np.abs(residuals) <= ROUNDING * np.abs(y).max()] = 0
    scores = x * residuals[:, None]
    meat = np.sum([_meat(scores, codes) for codes in ways], axis=0)
    if len(ways) == 2:
        both = ways[0].astype(np.int64) * (ways[1].max() + 1) + ways[1]
        meat = meat - _meat(scores, np.unique(both, return_inverse=True)[1])
    return ClusteredFit(
        coefficients=coefficients,
        covariance=inverse @ meat @ inverse,
        inverse=inverse,
        residual_squares=float(residuals @ residuals),
        x=x,
        ways=tuple(ways),
    )


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
    rows = complete(results.dropna(subset=[measure]))
    table, x = _columns(rows)
    ways = [pd.factorize(own)[0] for own in (clusters(rows), rows["language"])]
    y = rows[measure].to_numpy(dtype=np.float64)
    used = table["reason"].isna().to_numpy()
    estimates = ["coefficient", "low", "high", "p", "partial_r2"]
    table["measure"], table["n_prompts"], table[estimates] = measure, len(rows), np.nan
    table["n_sources"], table["n_languages"] = (int(codes.max(initial=-1)) + 1 for codes in ways)
    if len(np.unique(y)) < 2 or len(y) <= used.sum() + 1:
        table.loc[used, "reason"] = NO_SPREAD
        return table[CONFOUNDER_COLUMNS]
    if not used.any():
        return table[CONFOUNDER_COLUMNS]
    ways = [codes for codes in ways if codes.max() > 0] or ways[:1]
    fit = clustered_ols((y - y.mean()) / y.std(ddof=1), np.column_stack([np.ones(len(y)), x[:, used]]), ways)
    table.loc[used, estimates[:4]] = fit.intervals(np.eye(used.sum() + 1)[1:], confidence).to_numpy()
    names = table.loc[used, "covariate"].to_numpy()
    table.loc[used, "partial_r2"] = [fit.partial_r2(1 + np.flatnonzero(names == name)) for name in names]
    table.loc[used & table["p"].isna(), "reason"] = FEW
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
    named = results.dropna(subset=[by, measure])
    named = named.assign(**{by: named[by].astype(str)})
    rows = connected(complete(named[~written_for_images(named)]), by)
    table = pd.DataFrame(
        index=pd.Index(np.unique(named[by]), name="group"), columns=ADJUSTED_COLUMNS[4:10], dtype=float
    )
    table["n_sources"] = rows.groupby(by)["source_id"].nunique().reindex(table.index, fill_value=0)
    codes, names = pd.factorize(rows[by], sort=True)
    given: list[str] = []
    if len(names) > 1:
        numbers = covariates(rows).dropna(axis=1, how="all")
        captions = pd.factorize(rows["source_id"])[0]
        x = within(np.column_stack([codes[:, None] == np.arange(1, len(names)), numbers]), captions)
        kept = independent(x)
        given = [name for name, used in zip(numbers, kept[len(names) - 1 :], strict=True) if used]
        y = within(rows[[measure]].to_numpy(dtype=np.float64), captions)[:, 0]
        raw, found = (
            _group_effects(y, own, captions, len(names), confidence) for own in (x[:, : len(names) - 1], x[:, kept])
        )
        table.loc[names, "raw_difference"] = raw["estimate"].to_numpy()
        table.loc[names, ["difference", "low", "high", "p"]] = found.to_numpy()
    table["p_bh"] = adjusted(table["p"], "bh")
    table["by"], table["measure"], table["given"] = by, measure, ", ".join(given)
    return table.reset_index()[ADJUSTED_COLUMNS]


def covariates(rows: pd.DataFrame) -> pd.DataFrame:
    """`NUMBERS` of each prompt; NaN for those of which the rows have no column."""
    table = rows.reindex(columns=list(NUMBERS)).astype(np.float64)
    if "prompt" in rows:
        table["log_length"] = np.log(rows["prompt"].str.len().clip(lower=1).astype(np.float64))
    return table


def complete(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that lack none of the covariates that any row has."""
    numbers = covariates(rows).dropna(axis=1, how="all")
    return rows[numbers.notna().all(axis=1)]


def connected(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """The rows of captions in two groups or more, and of these the largest set of groups that captions connect."""
    rows = rows[rows.groupby("source_id")[by].transform("nunique") > 1]
    captions, groups = pd.factorize(rows["source_id"])[0], pd.factorize(rows[by])[0]
    if not len(rows):
        return rows
    cells = csr_matrix((np.ones(len(rows)), (captions, groups)))
    parts = connected_components(cells.T @ cells, directed=False)[1]
    return rows[parts[groups] == np.bincount(parts).argmax()]


def within(x: np.ndarray, captions: np.ndarray) -> np.ndarray:
    """Columns `[n, k]` minus their means in each caption; what is only rounding is 0."""
    x = x.astype(np.float64)
    sums = np.column_stack([np.bincount(captions, weights=column) for column in x.T])
    rest: np.ndarray = x - (sums / np.bincount(captions)[:, None])[captions]
    rest[np.abs(rest) <= ROUNDING * np.abs(x).max(axis=0)] = 0
    return rest


def independent(x: np.ndarray) -> np.ndarray:
    """Which columns of `[n, k]` are not combinations of those before them, `[k]`."""
    norms = np.linalg.norm(x, axis=0)
    scaled = x / np.where(norms > 0, norms, 1)
    gram = scaled.T @ scaled
    kept: list[int] = []
    for column in np.flatnonzero(norms):
        known = gram[kept, column]
        if 1 - known @ np.linalg.solve(gram[np.ix_(kept, kept)], known) > COLLINEAR:
            kept.append(int(column))
    return np.isin(np.arange(len(norms)), kept)


def dominant_script(text: str) -> str:
    """The script of most letters, by the first word of their Unicode names; `NONE` without letters."""
    counts = Counter(filter(None, map(_letter_script, text)))
    return counts.most_common(1)[0][0] if counts else "NONE"


@cache
def _letter_script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0] if letter.isalpha() else ""


def _columns(rows: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """`covariate, level, reason` of each column, and the columns `[prompt, column]`; numbers in standard deviations."""
    numbers = covariates(rows)
    scaled = [name for name in NUMBERS if name != "truncated" and numbers[name].nunique() > 1]
    numbers[scaled] = (numbers[scaled] - numbers[scaled].mean()) / numbers[scaled].std(ddof=1)
    scripts = rows["prompt"].map(dominant_script) if "prompt" in rows else pd.Series(np.nan, index=rows.index)
    levels = list(scripts.value_counts().sort_index().sort_values(ascending=False, kind="stable").index) or [None]
    x = np.column_stack([numbers, *((scripts == level).where(scripts.notna()).astype(np.float64) for level in levels)])
    table = pd.DataFrame({"covariate": [*NUMBERS, *["script"] * len(levels)], "level": [None] * len(NUMBERS) + levels})
    reason = np.full(len(table), None, dtype=object)
    usable = ~np.isnan(x).any(axis=0)
    reason[~usable] = ABSENT
    varies = usable & np.array([len(np.unique(column)) > 1 for column in x.T])
    reason[usable & ~varies] = CONSTANT
    others = varies & (table["level"] != levels[0]).to_numpy()
    reason[varies & ~others] = BASE
    places = np.flatnonzero(others)
    centred = x[:, places] - x[:, places].sum(axis=0) / max(len(x), 1)
    reason[places[~independent(centred)]] = ALIASED
    return table.assign(reason=reason), x


def _group_effects(
    y: np.ndarray, x: np.ndarray, captions: np.ndarray, n_groups: int, confidence: float
) -> pd.DataFrame:
    """Each group's effect minus the mean of the others', from columns of which the first are all groups but one."""
    minus_others = (np.eye(n_groups) - 1 / n_groups) * n_groups / (n_groups - 1)
    combinations = np.zeros((n_groups, x.shape[1]))
    combinations[:, : n_groups - 1] = minus_others[:, 1:]
    return clustered_ols(y, x, [captions]).intervals(combinations, confidence)


def _meat(scores: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Squares of the scores summed by cluster, with CR1's factor, `[k, k]`."""
    n, k = scores.shape
    n_clusters = int(codes.max()) + 1
    if n_clusters < MIN_SOURCES or n <= k:
        return np.full((k, k), np.nan)
    sums = np.column_stack([np.bincount(codes, weights=column) for column in scores.T])
    factor = n_clusters / (n_clusters - 1) * (n - 1) / (n - k)
    squares: np.ndarray = factor * (sums.T @ sums)
    return squares
