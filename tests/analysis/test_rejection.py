"""Telling apart and refusing, against scipy and against plain counting."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm

from emoe_audit.analysis.bootstrap import cluster_counts, percentile_interval
from emoe_audit.analysis.rejection import (
    CELLS,
    COVERAGES,
    AcceptedOrder,
    area_under_risk_coverage,
    auroc,
    prediction_rejection_ratio,
    risk_coverage,
)


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


def area_left(order: np.ndarray, loss: np.ndarray) -> float:
    """Under the losses left over all rows, drawn against the share accepted, by trapezoids."""
    left = np.append(0, np.cumsum(loss[order])) / len(loss)
    return float(((left[1:] + left[:-1]) / 2).mean())


def test_the_rejection_ratio_is_that_of_the_areas_between_the_curves() -> None:
    rng = np.random.default_rng(2)
    score, loss = rng.normal(size=60), rng.exponential(size=60)
    random = loss.mean() / 2
    expected = (random - area_left(np.argsort(score), loss)) / (random - area_left(np.argsort(loss), loss))
    assert prediction_rejection_ratio(score, loss) == pytest.approx(expected)
    assert prediction_rejection_ratio(loss, loss) == pytest.approx(1)
    assert prediction_rejection_ratio(-loss, loss) == pytest.approx(-1)


def test_the_rejection_ratio_of_equal_scores_is_the_mean_over_every_order() -> None:
    rng = np.random.default_rng(3)
    score, loss = rng.integers(0, 4, 40), rng.exponential(size=40)
    broken = [prediction_rejection_ratio(score + 0.5 * rng.random(40), loss) for _ in range(2000)]
    assert prediction_rejection_ratio(score, loss) == pytest.approx(np.mean(broken), abs=0.01)
    assert prediction_rejection_ratio(np.zeros(40), loss) == 0


def test_the_rejection_ratio_of_failures_says_what_mann_whitney_says() -> None:
    rng = np.random.default_rng(4)
    score, failed = rng.integers(0, 9, 80), rng.integers(0, 2, 80)
    u = mannwhitneyu(score[failed == 1], score[failed == 0]).statistic / (failed.sum() * (1 - failed).sum())
    assert prediction_rejection_ratio(score, failed) == pytest.approx(2 * u - 1)


@pytest.mark.parametrize("loss", [np.array([]), np.zeros(5), np.ones(5)], ids=["no row", "no loss", "only losses"])
def test_where_there_is_nothing_to_order_the_rejection_ratio_is_undefined(loss: np.ndarray) -> None:
    assert np.isnan(prediction_rejection_ratio(np.arange(len(loss)), loss))


def clustered(n_clusters: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with ties, losses of 0 or 1 that rise with them, and the cluster of each row."""
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(n_clusters), size)
    score = np.round(rng.normal(size=n_clusters)[clusters] + rng.normal(size=len(clusters)), 1)
    return score, (score + rng.normal(size=len(score)) > 0.3).astype(float), clusters


def test_a_replicate_is_what_plain_counting_finds_in_the_repeated_rows() -> None:
    score, loss, clusters = clustered(10, 4, 5)
    draws = np.random.default_rng(6).integers(10, size=(8, 10))
    counts = np.stack([np.bincount(draw, minlength=10) for draw in draws]).astype(np.uint8)
    found = AcceptedOrder.of(score, loss, clusters).resampled(counts)
    for number, draw in enumerate(draws):
        rows = np.concatenate([np.flatnonzero(clusters == cluster) for cluster in draw])
        s, own = score[rows], loss[rows]
        assert found.risk[number] == pytest.approx(own.mean())
        assert found.aurc[number] == pytest.approx(area_under_risk_coverage(s, own))
        assert found.auroc[number] == pytest.approx(auroc(s[own == 1], s[own == 0]))
        assert found.pairs[number] == own.sum() * (1 - own).sum()
        at = (COVERAGES * len(rows)).round().astype(int) - 1
        assert found.curve[number] == pytest.approx(risk_coverage(s, own)[at])


def test_the_rows_as_they_are_are_one_replicate_in_any_order_of_rows() -> None:
    score, loss, clusters = clustered(15, 3, 7)
    shuffled = np.random.default_rng(8).permutation(len(score))
    found = AcceptedOrder.of(score[shuffled], loss[shuffled], clusters[shuffled]).observed()
    assert found.aurc == pytest.approx([area_under_risk_coverage(score, loss)])
    assert found.auroc == pytest.approx([auroc(score[loss == 1], score[loss == 0])])


def test_many_replicates_are_counted_in_parts_that_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    score, loss, clusters = clustered(12, 5, 9)
    counts = np.concatenate(list(cluster_counts(12, 7, 0))).astype(np.uint8)
    assert 7 * len(score) < CELLS
    whole = AcceptedOrder.of(score, loss, clusters).resampled(counts)
    monkeypatch.setattr("emoe_audit.analysis.rejection.CELLS", 2 * len(score))
    parts = AcceptedOrder.of(score, loss, clusters).resampled(counts)
    for name in ("risk", "aurc", "won", "pairs", "curve"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_a_replicate_without_rows_or_without_losses_is_undefined_where_it_must_be() -> None:
    order = AcceptedOrder.of(np.arange(4.0), np.array([0.0, 0, 1, 1]), np.array([0, 0, 1, 1]))
    found = order.resampled(np.array([[0, 0], [3, 0]], dtype=np.uint8))
    assert np.isnan(found.risk[0]) and np.isnan(found.aurc[0]) and np.isnan(found.curve[0]).all()
    assert np.isnan(found.auroc).all()
    assert (found.risk[1], found.aurc[1]) == (0, 0)


def test_intervals_over_whole_captions_hold_the_truth_where_those_over_rows_do_not() -> None:
    """Failures score d higher, so that AUROC is the normal distribution of d / (sd of a difference)."""
    truth, held = float(norm.cdf(1 / np.sqrt(2 * 1.25))), {"captions": 0, "rows": 0}
    for seed in range(150):
        rng = np.random.default_rng(seed)
        clusters = np.repeat(np.arange(60), 8)
        loss = (rng.random(60) < 0.5).astype(float)[clusters]
        score = loss + rng.normal(size=60)[clusters] + 0.5 * rng.normal(size=len(clusters))
        for unit, own in (("captions", clusters), ("rows", np.arange(len(clusters)))):
            counts = np.concatenate(list(cluster_counts(own.max() + 1, 200, seed))).astype(np.uint8)
            low, high = percentile_interval(AcceptedOrder.of(score, loss, own).resampled(counts).auroc, 0.95)
            held[unit] += int(low[0] <= truth <= high[0])
    assert 0.88 <= held["captions"] / 150 <= 0.99
    assert held["rows"] / 150 < 0.7
