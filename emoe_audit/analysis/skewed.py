"""Student's t for skewed values: the interval and the p-value of a mean of few captions.

Values that are mostly small and rarely large, as shares and distances are, leave few captions with a mean too low and
a spread too small at once. Hall (1992) undoes that by a cubic of t = (estimate - truth) / error,

    g(t) = t + k (t^2 / 3 + 1 / 6) + k^2 t^3 / 27,  inverse (cbrt(1 + k (x - k / 6)) - 1) 3 / k,

with k the skewness of the estimate: that of the values over the root of their number. g(t) is nearer to Student's t
than t itself. Here an interval is never narrower at either end than Student's, nor a p-value smaller. How often 95%
intervals held the truth, in percent of 3,000 samples and more of n captions (Student's / these):

    values                          n = 10         n = 20         n = 50         n = 200
    normal                          95  96         95  96         95  95         95  95
    exponential, skewness 2         91  95         92  95         94  97         95  96
    0 or 1, a fifth of them 1       99 100         93  99         94  99         93  96
    0 but for three in ten          80  94         86  98         90  97         94  97
    lognormal, skewness 6           85  92         86  92         90  94         92  95

With 8 captions it was 94% of exponential and 93% of mostly-zero values, and 89% of the lognormal, which none holds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import t

MIN_FOR_INTERVAL = 8
"""Captions without which no interval is drawn and nothing is tested: of 5 exponential values it would hold 91%."""
STRAIGHT = 1e-6
"""A skewness below which the cubic is a line."""


def skewed_interval(
    estimate: Any, error: Any, freedom: Any, skewness: Any, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end for each estimate; NaN where any of the four is.

    Args:
        estimate: Of any shape, as are the three that follow.
        error: Its standard error.
        freedom: Degrees of freedom of the error.
        skewness: Of the estimate, `skewness_of_estimate`.
        confidence: Of the interval.
    """
    far = t.isf((1 - confidence) / 2, freedom)
    low = estimate - error * np.maximum(far, _inverse(far, skewness))
    high = estimate - error * np.minimum(-far, _inverse(-far, skewness))
    return low, high


def skewed_tails(distance: Any, freedom: Any, skewness: Any) -> tuple[np.ndarray, np.ndarray]:
    """How likely an estimate lies so far above a value, and so far below it, in standard errors, by chance."""
    moved = distance + skewness * (distance**2 / 3 + 1 / 6) + skewness**2 * distance**3 / 27
    above = np.maximum(t.sf(distance, freedom), t.sf(moved, freedom))
    below = np.maximum(t.cdf(distance, freedom), t.cdf(moved, freedom))
    return above, below


def skewness_of_estimate(influences: np.ndarray) -> np.ndarray:
    """Of a sum of independent influences `[cluster, ...]`: sum u^3 / (sum u^2)^1.5; 0 where all are 0."""
    squares = (influences**2).sum(axis=0) ** 1.5
    cubes: np.ndarray = (influences**3).sum(axis=0)
    return np.divide(cubes, squares, out=np.zeros_like(cubes), where=squares > 0)


def _inverse(x: Any, skewness: Any) -> np.ndarray:
    straight = np.abs(skewness) < STRAIGHT
    k = np.where(straight, 1, skewness)
    return np.where(straight, x, 3 / k * (np.cbrt(1 + k * (x - k / 6)) - 1))
