"""Power: against published sample sizes, an integral that is not scipy's, the test itself, and a loop over n."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import chi, norm, t, ttest_1samp

from emoe_audit.analysis.power import minimum_detectable_gap, sd_of_differences, sources_for_gap
from emoe_audit.errors import AuditError


def power_by_integral(gap: float, n: int, alpha: float) -> float:
    """P(Z + sqrt(n) gap > c S) for differences of sd 1, over the distribution of their standard deviation S."""
    critical = t.isf(alpha / 2, n - 1)

    def density(s: float) -> float:
        root = math.sqrt(n - 1)
        return float(norm.sf(critical * s - math.sqrt(n) * gap) * root * chi.pdf(s * root, n - 1))

    return float(quad(density, 0, 6, points=[1.0], limit=200)[0])


@pytest.mark.parametrize(("d_z", "n"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_cohens_small_medium_and_large_effects_need_the_captions_that_g_power_gives(d_z: float, n: int) -> None:
    assert sources_for_gap(d_z, 1.0) == n
    assert sources_for_gap(3 * d_z, 3.0) == n


@pytest.mark.parametrize(("n", "alpha", "n_tests"), [(5, 0.05, 1), (20, 0.05, 40), (200, 0.01, 3)])
def test_the_gap_has_the_power_asked_for_by_an_integral_of_its_own(n: int, alpha: float, n_tests: int) -> None:
    gap = minimum_detectable_gap(2.0, n, alpha=alpha, power=0.9, n_tests=n_tests)
    assert power_by_integral(gap / 2.0, n, alpha / n_tests) == pytest.approx(0.9, abs=1e-6)


def test_the_paired_t_test_finds_the_gap_that_often() -> None:
    gap = minimum_detectable_gap(1.0, 15, power=0.7)
    samples = np.random.default_rng(0).normal(gap, 1, (4000, 15))
    found = ttest_1samp(samples, 0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.7, abs=3 * np.sqrt(0.21 / 4000))


@pytest.mark.parametrize("n_tests", [1, 40])
def test_it_is_the_first_number_of_captions_that_a_loop_finds(n_tests: int) -> None:
    first = next(n for n in range(2, 100) if power_by_integral(1.0, n, 0.05 / n_tests) >= 0.8)
    assert sources_for_gap(1.0, 1.0, n_tests=n_tests) == first


@settings(max_examples=30, deadline=None)
@given(d_z=st.floats(0.02, 4), n_tests=st.integers(1, 1000), power=st.floats(0.5, 0.99))
def test_gap_and_captions_are_each_others_inverse(d_z: float, n_tests: int, power: float) -> None:
    n = sources_for_gap(d_z, 1.0, power=power, n_tests=n_tests)
    assert minimum_detectable_gap(1.0, n, power=power, n_tests=n_tests) <= d_z * (1 + 1e-6)
    assert not minimum_detectable_gap(1.0, n - 1, power=power, n_tests=n_tests) < d_z * (1 - 1e-6)


def test_with_many_captions_it_is_the_normal_formula() -> None:
    expected = (norm.isf(0.025) + norm.isf(0.2)) / math.sqrt(10**6)
    assert minimum_detectable_gap(1.0, 10**6) == pytest.approx(expected, rel=1e-5)
    assert sources_for_gap(1e-4, 1.0) == pytest.approx((expected / 1e-4) ** 2 * 10**6, rel=1e-5)


def test_one_caption_shows_no_gap_however_large() -> None:
    assert math.isnan(minimum_detectable_gap(1.0, 1))
    assert sources_for_gap(1e6, 1.0) == 2


def test_the_sd_of_a_pilot_is_pooled_over_groups() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0, 5, (25, 1)) + rng.normal(0, [1, 2, 0.5], (25, 3))
    captions, groups = np.indices(values.shape)
    rows = pd.DataFrame({"source_id": captions.ravel(), "language": groups.ravel(), "score": values.ravel()})
    rows = rows[(rows["language"] != 2) | (rows["source_id"] < 10)]
    with_1, with_2 = values[:, 1] - values[:, 0], values[:10, 2] - values[:10, 0]
    squares = ((with_1 - with_1.mean()) ** 2).sum() + ((with_2 - with_2.mean()) ** 2).sum()
    assert sd_of_differences(rows, "language", "score", reference="0") == pytest.approx(math.sqrt(squares / (24 + 9)))
    two = rows[rows["language"] < 2]
    assert sd_of_differences(two, "language", "score") == pytest.approx(with_1.std(ddof=1))


def test_a_pilot_without_two_captions_in_a_group_has_no_sd() -> None:
    rows = pd.DataFrame({"source_id": ["a", "a", "b"], "language": ["en", "fi", "en"], "score": [1.0, 2.0, 3.0]})
    assert math.isnan(sd_of_differences(rows, "language", "score"))
    assert math.isnan(sd_of_differences(rows[:0], "language", "score"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sources_for_gap(0.5, 0.0), "sd must be a number above 0, not 0"),
        (lambda: minimum_detectable_gap(math.nan, 20), "sd must be a number above 0, not nan"),
        (lambda: sources_for_gap(-0.1, 1.0), "gap must be a number above 0, not -0.1"),
        (lambda: minimum_detectable_gap(1.0, 20, alpha=1.0), "alpha must be between 0 and 1, not 1"),
        (lambda: sources_for_gap(0.5, 1.0, power=0.04), "which chance alone gives: 0.04 is not above 0.05"),
        (lambda: minimum_detectable_gap(1.0, 20, n_tests=0), "n_tests must be 1 or more, not 0"),
    ],
)
def test_arguments_out_of_range_are_named(call: Callable[[], float], message: str) -> None:
    with pytest.raises(AuditError, match=message):
        call()
