"""Least squares whose errors go by clusters, of rows that are made some at a time: as many as there may be.

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

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from emoe_audit.analysis.bootstrap import MIN_SOURCES
from emoe_audit.analysis.crossed import MIN_CLUSTERS
from emoe_audit.analysis.permutation import ROUNDING

BLOCK = 16_384
"""Rows that are held at once, and as many more as their last cluster has."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some rows: whole clusters of the first way, one behind the other."""

    x: np.ndarray
    """The columns, `[row, column]`."""
    y: np.ndarray
    ways: tuple[np.ndarray, ...]
    """The cluster of each row, in every way."""


@dataclass(frozen=True, kw_only=True)
class Normal:
    """What the normal equations are made of."""

    gram: np.ndarray
    """X'X, `[column, column]`."""
    moments: np.ndarray
    """X'y, `[column]`."""
    largest: float
    """The largest size of y."""


@dataclass(frozen=True, kw_only=True)
class ClusteredRows:
    """The rows of a regression."""

    made: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    """Of rows, by their places, the columns `[row, column]` and the outcome `[row]`."""
    ways: tuple[np.ndarray, ...]
    """The cluster of each row, numbered from 0, in one way or in two."""

    def blocks(self) -> Iterator[Block]:
        """All rows, a block at a time."""
        for start, stop in self._bounds:
            places = np.arange(start, stop) if self._order is None else self._order[start:stop]
            x, y = self.made(places)
            yield Block(x=x, y=y, ways=tuple(own[places] for own in self.ways))

    @cached_property
    def _order(self) -> np.ndarray | None:
        """The places of all rows, those of a cluster of the first way together; None where they are already."""
        first = self.ways[0]
        return None if (first[1:] >= first[:-1]).all() else np.argsort(first, kind="stable")

    @cached_property
    def _bounds(self) -> list[tuple[int, int]]:
        """From where to where each block goes."""
        ends, bounds = np.bincount(self.ways[0]).cumsum(), [0]
        while bounds[-1] < len(self.ways[0]):
            place = int(np.searchsorted(ends, bounds[-1] + BLOCK))
            bounds.append(int(ends[min(place, len(ends) - 1)]))
        return list(itertools.pairwise(bounds))

    @cached_property
    def normal(self) -> Normal:
        """The normal equations of all columns."""
        parts = [(own.x.T @ own.x, own.x.T @ own.y, np.abs(own.y).max()) for own in self.blocks()]
        grams, moments, largest = zip(*parts, strict=True)
        return Normal(gram=np.sum(grams, axis=0), moments=np.sum(moments, axis=0), largest=float(max(largest)))

    def coefficients(self, kept: np.ndarray) -> np.ndarray:
        """Those of least squares on the columns at some places, which are independent, `[k]`."""
        found: np.ndarray = np.linalg.inv(self.normal.gram[np.ix_(kept, kept)]) @ self.normal.moments[kept]
        return found

    def fit(self, kept: np.ndarray) -> ClusteredFit:
        """Least squares on the columns at some places, which are independent.

        With fewer than two clusters in a way the covariance is NaN.
        """
        inverse = np.linalg.inv(self.normal.gram[np.ix_(kept, kept)])
        coefficients = inverse @ self.normal.moments[kept]
        squares: list[float] = []
        sums = _sums_by_cluster(self._scores(kept, coefficients, squares), self.ways)
        meats = [_meat(own, len(self.ways[0])) for own in sums]
        meat = meats[0] if len(meats) == 1 else meats[0] + meats[1] - meats[2]
        return ClusteredFit(
            coefficients=coefficients,
            covariance=inverse @ meat @ inverse,
            inverse=inverse,
            residual_squares=sum(squares),
            rows=self,
            kept=kept,
        )

    def _scores(
        self, kept: np.ndarray, coefficients: np.ndarray, squares: list[float]
    ) -> Iterator[tuple[np.ndarray, tuple[np.ndarray, ...]]]:
        """X u of each row, with its clusters, a block at a time; the sums of u^2 are noted."""
        for block in self.blocks():
            x = block.x[:, kept]
            residuals = block.y - x @ coefficients
            residuals[np.abs(residuals) <= ROUNDING * self.normal.largest] = 0
            squares.append(float(residuals @ residuals))
            yield x * residuals[:, None], block.ways


@dataclass(frozen=True, kw_only=True)
class ClusteredFit:
    """Coefficients `[k]` of least squares with their clustered covariance `[k, k]`."""

    coefficients: np.ndarray
    covariance: np.ndarray
    inverse: np.ndarray
    """(X'X)^-1."""
    residual_squares: float
    rows: ClusteredRows
    kept: np.ndarray
    """Which of their columns were taken, by place, `[k]`."""

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
        weighed = self.inverse @ combinations.T
        parts = (((own.x[:, self.kept] @ weighed) ** 2, own.ways) for own in self.rows.blocks())
        sums = _sums_by_cluster(parts, self.rows.ways)[: len(self.rows.ways)]
        n_clusters = np.array([own.n_clusters for own in sums])
        effective = np.array([own.total**2 / own.products.diagonal() for own in sums])
        effective = np.minimum(effective, n_clusters[:, None] - 1)
        fewest = effective.argmin(axis=0)
        return effective.min(axis=0), n_clusters[fewest]

    def partial_r2(self, columns: np.ndarray) -> float:
        """Of the squares that the other columns leave, the share that these (by their places) explain."""
        own = self.coefficients[columns]
        explained = own @ np.linalg.solve(self.inverse[np.ix_(columns, columns)], own)
        return float(explained / (explained + self.residual_squares))


@dataclass(frozen=True, kw_only=True)
class _Sums:
    """The sums of some values by cluster, S `[cluster, k]`."""

    n_clusters: int
    products: np.ndarray
    """S'S, `[k, k]`."""
    total: np.ndarray
    """`[k]`."""


def _sums_by_cluster(
    parts: Iterable[tuple[np.ndarray, tuple[np.ndarray, ...]]], ways: Sequence[np.ndarray]
) -> list[_Sums]:
    """Of values that come in blocks, `[row, k]` with their clusters: by each way, and, of two, by both together."""
    whole: list[tuple[int, np.ndarray, np.ndarray]] = []
    both: list[tuple[int, np.ndarray, np.ndarray]] = []
    n_second = int(ways[-1].max()) + 1
    second: Any = 0
    for values, codes in parts:
        whole.append(_products(_summed(values, codes[0])))
        if len(ways) == 2:
            both.append(_products(_summed(values, codes[0].astype(np.int64) * n_second + codes[1])))
            second = second + _binned(values, codes[1], n_second)
    return [_together(own) for own in ((whole, [_products(second)], both) if len(ways) == 2 else (whole,))]


def _products(sums: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    return len(sums), sums.T @ sums, sums.sum(axis=0)


def _together(parts: Sequence[tuple[int, np.ndarray, np.ndarray]]) -> _Sums:
    counts, products, totals = zip(*parts, strict=True)
    return _Sums(n_clusters=sum(counts), products=np.sum(products, axis=0), total=np.sum(totals, axis=0))


def _summed(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    _, own = np.unique(codes, return_inverse=True)
    return _binned(values, own, int(own.max()) + 1)


def _binned(values: np.ndarray, codes: np.ndarray, n: int) -> np.ndarray:
    return np.column_stack([np.bincount(codes, weights=column, minlength=n) for column in values.T])


def _meat(sums: _Sums, n: int) -> np.ndarray:
    """Squares of the scores of n rows summed by cluster, with CR1's factor, `[k, k]`."""
    n_clusters, k = sums.n_clusters, len(sums.total)
    if n_clusters < MIN_SOURCES or n <= k:
        return np.full((k, k), np.nan)
    factor = n_clusters / (n_clusters - 1) * (n - 1) / (n - k)
    squares: np.ndarray = factor * sums.products
    return squares
