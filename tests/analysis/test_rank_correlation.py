"""Rank correlations against scipy and residuals of ranks; influences against correlations of reweighted points."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from emoe_audit.analysis.rank_correlation import (
    correlate_rows,
    partial_spearman,
    partial_spearman_influences,
    spearman,
    spearman_influences,
)


def test_spearman_equals_scipy_with_ties() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 5, 50).astype(float), rng.integers(0, 5, 50).astype(float)
    assert spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)


def test_spearman_of_a_constant_or_of_two_points_is_undefined_and_so_are_influences() -> None:
    assert np.isnan(spearman(np.ones(5), np.arange(5.0)))
    assert np.isnan(spearman(np.arange(2.0), np.arange(2.0)))
    assert np.isnan(spearman_influences(np.ones(5), np.arange(5.0))).all()
    assert np.isnan(spearman_influences(np.arange(2.0), np.arange(2.0))).all()
    assert np.isnan(partial_spearman_influences(np.arange(5.0), np.ones(5), np.arange(5.0))).all()


def test_partial_spearman_is_the_correlation_of_rank_residuals() -> None:
    rng = np.random.default_rng(2)
    z = rng.normal(size=60)
    x, y = z + rng.normal(size=60), z + rng.normal(size=60)
    design = np.column_stack([np.ones(60), rankdata(z)])
    residual = [rankdata(v) - design @ np.linalg.lstsq(design, rankdata(v), rcond=None)[0] for v in (x, y)]
    assert partial_spearman(x, y, z) == pytest.approx(np.corrcoef(residual)[0, 1])


@pytest.mark.parametrize(
    ("statistic", "influences", "n_columns"),
    [(spearman, spearman_influences, 2), (partial_spearman, partial_spearman_influences, 3)],
)
def test_an_influence_is_how_the_correlation_moves_when_a_point_counts_a_little_more(
    statistic: Callable[..., float], influences: Callable[..., np.ndarray], n_columns: int
) -> None:
    """Every point is written 400 times, and one of them 80 times more."""
    rng = np.random.default_rng(3)
    x = rng.integers(0, 12, 30).astype(float)
    y = x + rng.integers(0, 9, 30)
    columns = [x, y, y + rng.integers(0, 9, 30)][:n_columns]
    found = influences(*columns)
    for point in (0, 7, 29):
        times = np.full(30, 400)
        times[point] += 80
        share = 80 / times.sum()
        moved = statistic(*[column.repeat(times) for column in columns]) - statistic(*columns)
        assert moved / share == pytest.approx(found[point], abs=0.03)
    assert found.mean() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("n_points", [2, 9])
def test_many_samples_at_once_are_each_as_alone(n_points: int) -> None:
    x, y, given = np.random.default_rng(1).integers(0, 6, (3, 40, n_points)).astype(float)
    x[3], y[5, 1], given[7, :2] = 1, np.nan, np.nan
    alone = [spearman(*own) for own in zip(x, y, strict=True)]
    partial = [partial_spearman(*own) for own in zip(x, y, given, strict=True)]
    np.testing.assert_allclose(correlate_rows(x, y), alone, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(correlate_rows(x, y, given), partial, rtol=1e-9, atol=1e-12)
