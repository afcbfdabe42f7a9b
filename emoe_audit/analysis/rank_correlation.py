"""Spearman's rank correlation, plain and partial, and what each point adds to it.

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
    return _pearson(rankdata(x[keep]), rankdata(y[keep])) if keep.sum() >= MIN_POINTS else float("nan")


def partial_spearman(x: np.ndarray, y: np.ndarray, given: np.ndarray) -> float:
    """Spearman's rho of `x` and `y` with the ranks of `given` partialled out of both.

    rho_xy.z = (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2)(1 - r_yz^2)); Kendall and Stuart, vol. 2, chapter 27.
    """
    keep = ~(np.isnan(x) | np.isnan(y) | np.isnan(given))
    xy, xz, yz = spearman(x[keep], y[keep]), spearman(x[keep], given[keep]), spearman(y[keep], given[keep])
    rest = (1 - xz**2) * (1 - yz**2)
    return (xy - xz * yz) / float(np.sqrt(rest)) if rest > 0 else float("nan")


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


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale > 0 else float("nan")
