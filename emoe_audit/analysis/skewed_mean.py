"""Bounds on a mean that keep their level far out in the tail, where a policy of many groups has to look.

The mean over its standard error, T, leans to one side where the measure is skewed: of 50 exponential values, Student's
t with a tail of 0.00125 misses on the long side eight times as often. So each end is moved by the skewness g, the
Cornish-Fisher expansion of T (Hall 1992, chapter 2.6) with the kurtosis of a gamma distribution, 1.5 g^2:

    c(g) = t + g (2 z^2 + 1) / (6 sqrt(n)) + g^2 z (11 z^2 + 22) / (72 n)
    low = mean - c(-g) * error, high = mean + c(g) * error

with t and z the quantiles of Student and Gauss. Few captions show less skewness than there is, the rarest values are
not among them, and that is when a bound is missed. So each end takes the most skewness to its own side that the
captions leave open, `DOUBT` standard errors more than is seen. With fewer captions than are needed an end is infinite.

Of two values, 0 and 1, the bounds are exact (Clopper and Pearson 1934). Bounds that hold for any measure between -1 and
1 (Waudby-Smith and Ramdas 2024) are seven times as wide for cosines that spread by 0.05, and decide nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, ndtri, stdtrit

DOUBT = 2.0
"""Standard errors of the skewness that an end allows for."""
DOUBT_OF_SKEWED = 0.25
"""What the square of the skewness adds to the variance of its estimate, 6 / n where there is none; by simulation."""
MOST_SKEW = 0.6
"""The part of an end that skewness may make up, in units of z, before the expansion says nothing; by simulation."""
SOURCES_PER_CUBED_Z = 1.8
"""An error of d in the skewness makes a miss exp(d z^3 / (3 sqrt(n))) times as likely. As d is of the size sqrt(6 / n),
that factor stays the same where n grows with z^3; by simulation it is small enough from 1.8 z^3 on."""
LEAST_Z = 3.0
"""Below it the price of doubt decides: it goes by z^2 / n and leaves three quarters of the power from 5.4 z^2 on."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Of means, each missed with probability `tail` at most; infinite where there are too few captions."""

    low: np.ndarray
    high: np.ndarray
    needed: np.ndarray
    """Captions from which on both are finite, as far as those at hand can say."""


def skewed_mean_bounds(means: np.ndarray, influence: np.ndarray, n_sources: np.ndarray, tail: float) -> Bounds:
    """The bounds of figures that are linear in their clusters, up to smaller terms.

    Args:
        means: `[...]`.
        influence: `[cluster, ...]`, what each cluster adds to the figure's distance from the truth; sums to 0.
        n_sources: `[...]`, the clusters that the figure rests on.
        tail: Below 0.5.
    """
    n = np.maximum(n_sources, 3).astype(np.float64)
    squares = influence * influence
    variance = squares.sum(axis=0)
    error = np.sqrt(variance * n / (n - 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        skewness = n * np.sqrt(n - 1) / (n - 2) * (squares * influence).sum(axis=0) / variance**1.5
    needed = [_needed(side * skewness, tail) for side in (-1, 1)]
    half = [
        np.where(n_sources >= least, _critical(side * skewness, n, tail) * error, np.inf)
        for side, least in zip((-1, 1), needed, strict=True)
    ]
    return Bounds(low=means - half[0], high=means + half[1], needed=np.maximum(*needed))


def share_bounds(shares: np.ndarray, n_sources: np.ndarray, tail: float) -> Bounds:
    """The exact bounds of shares of `n_sources` independent values of 0 or 1."""
    hits = np.rint(shares * n_sources)
    misses = n_sources - hits
    with np.errstate(invalid="ignore"):
        low = np.where(hits == 0, 0.0, betaincinv(hits, misses + 1, tail))
        high = np.where(misses == 0, 1.0, betaincinv(hits + 1, misses, 1 - tail))
    return Bounds(low=low, high=high, needed=np.ones_like(n_sources))


def sources_needed(tail: float) -> int:
    """Captions from which on the bounds of a mean hold where there is no skewness."""
    z = float(ndtri(1 - tail))
    return math.ceil(SOURCES_PER_CUBED_Z * z**2 * max(z, LEAST_Z))


def _doubtful(skewness: np.ndarray) -> np.ndarray:
    """`DOUBT` standard errors of the skewness, times sqrt(n); only to the long side does skewness add to them."""
    spread: np.ndarray = DOUBT * np.sqrt(6 * (1 + DOUBT_OF_SKEWED * np.maximum(skewness, 0) ** 2))
    return spread


def _critical(skewness: np.ndarray, n: np.ndarray, tail: float) -> np.ndarray:
    """Standard errors from the mean to its end on the side of a skewness, beyond which the parabola turns."""
    z = ndtri(1 - tail)
    first, second = (2 * z**2 + 1) / (6 * np.sqrt(n)), z * (11 * z**2 + 22) / (72 * n)
    most = np.maximum(skewness + _doubtful(skewness) / np.sqrt(n), -first / (2 * second))
    ends: np.ndarray = stdtrit(n - 1, 1 - tail) + first * most + second * most**2
    return ends


def _needed(skewness: np.ndarray, tail: float) -> np.ndarray:
    """The n at which the first term of skewness falls to `MOST_SKEW` z; infinite without spread.

    With x = 1 / sqrt(n) that term is (2 z^2 + 1) / 6 (g x + doubt x^2).
    """
    z = ndtri(1 - tail)
    doubt = _doubtful(skewness)
    allowed = 6 * MOST_SKEW * z / (2 * z**2 + 1)
    root = (np.sqrt(skewness**2 + 4 * doubt * allowed) - skewness) / (2 * doubt)
    needed: np.ndarray = np.where(np.isnan(root), np.inf, np.maximum(np.ceil(root**-2), sources_needed(tail)))
    return needed
