"""Telling apart and refusing, against scipy and against plain counting."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from emoe_audit.analysis.rejection import area_under_risk_coverage, auroc, risk_coverage


def test_auroc_is_the_mann_whitney_statistic_ties_included() -> None:
    rng = np.random.default_rng(0)
    high, low = rng.integers(2, 9, 40).astype(float), rng.integers(0, 7, 60).astype(float)
    assert auroc(high, low) == pytest.approx(mannwhitneyu(high, low).statistic / (40 * 60))
    assert auroc(low, high) == pytest.approx(1 - auroc(high, low))


def test_auroc_of_nothing_is_undefined() -> None:
    assert np.isnan(auroc(np.array([]), np.array([1.0])))


def test_the_curve_counts_the_losses_of_the_lowest_scores() -> None:
    np.testing.assert_allclose(risk_coverage(np.array([3.0, 1, 2]), np.array([1.0, 0, 1])), [0, 1 / 2, 2 / 3])


def test_equal_scores_give_the_mean_over_every_order_of_acceptance() -> None:
    rng = np.random.default_rng(1)
    score, loss = rng.integers(0, 3, 30).astype(float), rng.integers(0, 2, 30).astype(float)
    shuffled = []
    for _ in range(4000):
        order = np.lexsort((rng.random(30), score))
        shuffled.append(np.cumsum(loss[order]) / np.arange(1, 31))
    np.testing.assert_allclose(risk_coverage(score, loss), np.mean(shuffled, axis=0), atol=0.03)


def test_the_area_lies_between_that_of_the_best_and_the_worst_order() -> None:
    loss = np.array([1.0, 1, 0, 0])
    best, even, worst = (area_under_risk_coverage(s, loss) for s in (loss, np.zeros(4), 1 - loss))
    assert (best, even, worst) == pytest.approx(((0 + 0 + 1 / 3 + 1 / 2) / 4, 1 / 2, (1 + 1 + 2 / 3 + 1 / 2) / 4))
    assert np.isnan(area_under_risk_coverage(np.array([]), np.array([])))
