"""Intervals for skewed values: Student's, Hall's cubic solved numerically, and how often they hold the truth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import skew, t

from emoe_audit.analysis.skewed import skewed_interval, skewed_tails, skewness_of_estimate


def of_means(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
    """Mean, error, degrees of freedom and skewness of each row of captions."""
    n = values.shape[1]
    return values.mean(axis=1), values.std(axis=1, ddof=1) / np.sqrt(n), n - 1, skew(values, axis=1) / np.sqrt(n)


def test_without_skewness_it_is_students_t() -> None:
    low, high = skewed_interval(2.0, 0.5, 9, 0.0, 0.95)
    assert (low, high) == pytest.approx(t.interval(0.95, 9, loc=2.0, scale=0.5))
    assert skewed_tails(1.7, 9, 0.0) == pytest.approx((t.sf(1.7, 9), t.cdf(1.7, 9)))


@pytest.mark.parametrize("skewness", [0.6, -0.6])
def test_its_ends_are_where_halls_cubic_reaches_students_quantiles_or_students_own(skewness: float) -> None:
    def cubic(x: float) -> float:
        return x + skewness * (x**2 / 3 + 1 / 6) + skewness**2 * x**3 / 27

    far = t.isf(0.025, 11)
    lower, upper = (brentq(lambda x, end=end: cubic(x) - end, -60, 60) for end in (-far, far))
    low, high = skewed_interval(0.0, 1.0, 11, skewness, 0.95)
    assert (low, high) == pytest.approx((-max(upper, far), -min(lower, -far)))


@pytest.mark.parametrize("skewness", [0.0, 0.4, -1.1])
def test_at_the_ends_of_an_interval_the_tails_are_half_of_what_it_leaves_out(skewness: float) -> None:
    low, high = skewed_interval(3.0, 0.7, 14, skewness, 0.9)
    assert skewed_tails((3 - low) / 0.7, 14, skewness)[0] == pytest.approx(0.05)
    assert skewed_tails((3 - high) / 0.7, 14, skewness)[1] == pytest.approx(0.05)


def test_the_skewness_of_a_mean_is_that_of_the_values_over_the_root_of_their_number() -> None:
    values = np.random.default_rng(0).exponential(size=(30, 2))
    influences = (values - values.mean(axis=0)) / 30
    assert skewness_of_estimate(influences) == pytest.approx(skew(values) / np.sqrt(30))
    assert skewness_of_estimate(np.zeros((5, 2))).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (lambda rng, shape: rng.exponential(size=shape), 1.0),
        (lambda rng, shape: np.where(rng.random(shape) < 0.3, rng.exponential(size=shape), 0), 0.3),
    ],
    ids=["exponential", "zero-inflated"],
)
def test_of_ten_skewed_captions_it_holds_the_truth_where_students_does_not(
    draw: Callable[..., np.ndarray], truth: float
) -> None:
    values = draw(np.random.default_rng(1), (4000, 10))
    values = values[np.ptp(values, axis=1) > 0]
    mean, error, freedom, skewness = of_means(values)
    held = []
    for own in (skewness, np.zeros_like(skewness)):
        low, high = skewed_interval(mean, error, freedom, own, 0.95)
        held.append(((low <= truth) & (truth <= high)).mean())
    assert held[0] >= 0.93
    assert held[1] < 0.92
