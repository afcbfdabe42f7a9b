"""Spearman's rank correlation, plain and partial, of one sample or of many at once, and what each point adds to it.

The influence of a point is the derivative of the correlation by its weight (Hampel 1974): ranks too are means over the
points, so a point counts by its own product of ranks and by moving the ranks of the others. With F and G the ranks as
shares from 0 to 1 and K(a, b) = 1 for a < b, 1/2 for a = b, else 0,

    I_C = (F - 1/2)(G - 1/2) + E[K(x, X) (G(Y) - 1/2)] + E[K(y, Y) (F(X) - 1/2)] - 3 C,  C = E[(F - 1/2)(G - 1/2)],

and rho = C / sqrt(V_x V_y) with V_x the C of x and x. The mean of influences is 0, and the variance of rho that of
their mean.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

MIN_POINTS = 3


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rho; NaN for fewer than three points or a constant."""
    keep = ~(np.isnan(x) | np.isnan(y))
    return float(_pearson(rankdata(x[keep]), rankdata(y[keep]))) if keep.sum() >= MIN_POINTS else float("nan")


def partial_spearman(x: np.ndarray, y: np.ndarray, given: np.ndarray) -> float:
    """Spearman's rho of `x` and `y` with the ranks of `given` partialled out of both.

    rho_xy.z = (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2)(1 - r_yz^2)); Kendall and Stuart, vol. 2, chapter 27.
    """
    keep = ~(np.isnan(x) | np.isnan(y) | np.isnan(given))
    x, y, given = x[keep], y[keep], given[keep]
    return float(_partial(np.array(spearman(x, y)), np.array(spearman(x, given)), np.array(spearman(y, given))))


def correlate_rows(x: np.ndarray, y: np.ndarray, given: np.ndarray | None = None) -> np.ndarray:
    """`spearman`, or `partial_spearman` where a third is given, of each row of matrices `[sample, point]`; `[sample]`.

    Samples that lack a point are few, and are looked at one by one.
    """
    columns = [x, y] if given is None else [x, y, given]
    is_whole = ~np.any([np.isnan(own).any(axis=1) for own in columns], axis=0) & (x.shape[1] >= MIN_POINTS)
    found = np.full(len(x), np.nan)
    alone = spearman if given is None else partial_spearman
    found[~is_whole] = [alone(*own) for own in zip(*(own[~is_whole] for own in columns), strict=True)]
    ranks = [rankdata(own[is_whole], axis=1) for own in columns]
    if given is None:
        found[is_whole] = _pearson(*ranks)
    else:
        first, second, third = ranks
        found[is_whole] = _partial(_pearson(first, second), _pearson(first, third), _pearson(second, third))
    return found


def spearman_influences(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What each point adds to `spearman`, `[point]`, of points without NaN; NaN where that is."""
    if len(x) < MIN_POINTS or not (np.ptp(x) > 0 and np.ptp(y) > 0):
        return np.full(len(x), np.nan)
    (xy, of_xy), (xx, of_xx), (yy, of_yy) = _covariance(x, y), _covariance(x, x), _covariance(y, y)
    scale = np.sqrt(xx * yy)
    influences: np.ndarray = of_xy / scale - xy / scale / 2 * (of_xx / xx + of_yy / yy)
    return influences


def partial_spearman_influences(x: np.ndarray, y: np.ndarray, given: np.ndarray) -> np.ndarray:
    """What each point adds to `partial_spearman`, `[point]`, of points without NaN; by its derivatives."""
    xz, yz, partial = spearman(x, given), spearman(y, given), partial_spearman(x, y, given)
    rest_x, rest_y = 1 - xz**2, 1 - yz**2
    if not rest_x * rest_y > 0:
        return np.full(len(x), np.nan)
    scale = np.sqrt(rest_x * rest_y)
    influences: np.ndarray = (
        spearman_influences(x, y) / scale
        + (partial * xz / rest_x - yz / scale) * spearman_influences(x, given)
        + (partial * yz / rest_y - xz / scale) * spearman_influences(y, given)
    )
    return influences


def _covariance(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """C and its influences, see the module."""
    u, v = ((rankdata(values) - 0.5) / len(values) - 0.5 for values in (x, y))
    covariance = float((u * v).mean())
    return covariance, u * v + _of_those_above(x, v) + _of_those_above(y, u) - 3 * covariance


def _of_those_above(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weights of the points that lie above each, of its equals half, over the number of all points."""
    _, level = np.unique(values, return_inverse=True)
    sums = np.bincount(level, weights=weights)
    above: np.ndarray = (sums[::-1].cumsum()[::-1] - sums / 2)[level] / len(values)
    return above


def _partial(xy: np.ndarray, xz: np.ndarray, yz: np.ndarray) -> np.ndarray:
    rest = (1 - xz**2) * (1 - yz**2)
    scale = np.sqrt(np.where(rest > 0, rest, np.nan))
    partial: np.ndarray = (xy - xz * yz) / scale
    return partial


def _pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Over the last axis; NaN for a constant."""
    x, y = (own - own.mean(axis=-1, keepdims=True) for own in (x, y))
    scale = np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    correlation: np.ndarray = (x * y).sum(axis=-1) / np.where(scale > 0, scale, np.nan)
    return correlation
