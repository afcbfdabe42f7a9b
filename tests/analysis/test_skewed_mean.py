"""Bounds on the mean of a skewed measure: how often they miss, what they need, and what they are for 0 and 1."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_1samp

from emoe_audit.analysis.skewed_mean import Bounds, share_bounds, skewed_mean_bounds, sources_needed


def bounds_of(values: np.ndarray, tail: float) -> Bounds:
    """Of values `[caption, sample]`."""
    means = values.mean(axis=0)
    return skewed_mean_bounds(means, (values - means) / len(values), np.full(means.shape, len(values)), tail)


def misses_of_t(values: np.ndarray, truth: float, tail: float) -> float:
    """How often Student's upper bound lies below the truth."""
    ends = ttest_1samp(values, truth, axis=0).confidence_interval(1 - 2 * tail)
    return float((ends.high < truth).mean())


def test_an_upper_bound_of_exponential_values_misses_no_more_often_than_it_says_and_students_t_does() -> None:
    values = np.random.default_rng(0).standard_exponential((50, 100_000))
    tail = 0.05 / 40
    assert (bounds_of(values, tail).high < 1).mean() < 1.2 * tail
    assert misses_of_t(values, 1, tail) > 5 * tail


def test_bounds_of_many_symmetric_captions_miss_as_often_as_they_say() -> None:
    values = np.random.default_rng(1).standard_normal((2000, 10_000))
    found = bounds_of(values, 0.05)
    assert (found.high < 0).mean() == pytest.approx(0.05, abs=0.01)
    assert (found.low > 0).mean() == pytest.approx(0.05, abs=0.01)


def test_with_very_many_captions_the_bounds_are_students() -> None:
    values = np.random.default_rng(2).standard_exponential((1_000_000, 1))
    found = bounds_of(values, 0.01)
    low, high = ttest_1samp(values[:, 0], 0).confidence_interval(0.98)
    assert found.high[0] - values.mean() == pytest.approx(high - values.mean(), rel=0.01)
    assert values.mean() - found.low[0] == pytest.approx(values.mean() - low, rel=0.01)


@given(st.floats(-5, 5), st.floats(0.1, 10))
def test_bounds_move_and_stretch_with_the_measure_and_turn_with_its_sign(shift: float, scale: float) -> None:
    values = np.random.default_rng(3).standard_exponential((60, 4))
    found, moved, turned = (bounds_of(part, 0.01) for part in (values, shift + scale * values, -values))
    np.testing.assert_allclose(moved.low, shift + scale * found.low, atol=1e-9)
    np.testing.assert_allclose(moved.high, shift + scale * found.high, atol=1e-9)
    np.testing.assert_allclose(turned.low, -found.high)


def test_the_long_side_is_the_longer_one() -> None:
    values = np.random.default_rng(4).standard_exponential((100, 50))
    found = bounds_of(values, 0.01)
    assert (found.high - values.mean(axis=0) > values.mean(axis=0) - found.low).all()


@pytest.mark.parametrize(("groups", "needed"), [(1, 15), (5, 30), (40, 50), (300, 84)])
def test_captions_needed_grow_with_the_tails_distance(groups: int, needed: int) -> None:
    """5.4 times the squares of 1.645 and 2.326, 1.8 times the cubes of 3.023 and 3.588."""
    assert sources_needed(0.05 / groups) == needed


def test_an_end_needs_the_captions_that_it_says() -> None:
    rare = np.repeat([0.0, 1.0], [47, 3])[:, None] * np.linspace(1, 2, 50)[:, None]
    few = bounds_of(rare, 0.05 / 40)
    assert np.isinf(few.high).all() and np.isfinite(few.low).all(), "all that is rare lies above"
    times = -(-int(few.needed[0]) // 50)
    assert np.isfinite(bounds_of(np.tile(rare, (times + 1, 1)), 0.05 / 40).high).all()
    assert np.isinf(bounds_of(np.tile(rare, (times - 1, 1)), 0.05 / 40).high).all()


@pytest.mark.parametrize("n", [1, 2, 3, 49])
def test_too_few_captions_bound_nothing(n: int) -> None:
    found = bounds_of(np.random.default_rng(5).standard_normal((n, 3)), 0.05 / 40)
    assert np.isneginf(found.low).all() and np.isposinf(found.high).all()


def test_captions_that_all_say_the_same_bound_nothing() -> None:
    found = bounds_of(np.full((200, 1), 0.25), 0.01)
    assert np.isneginf(found.low).all() and np.isposinf(found.high).all() and np.isinf(found.needed).all()


def test_bounds_of_a_share_are_those_of_scipy() -> None:
    hits = np.array([0, 1, 7, 19, 20])
    found = share_bounds(hits / 20, np.full(5, 20), 0.01)
    for place, hit in enumerate(hits):
        ends = binomtest(int(hit), 20).proportion_ci(0.98, method="exact")
        assert (found.low[place], found.high[place]) == pytest.approx((ends.low, ends.high))
