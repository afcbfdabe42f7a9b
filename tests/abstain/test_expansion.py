"""Expanded points: outwards on their line, by the published distance, kept where labellers agree."""

from __future__ import annotations

import numpy as np
import pytest

from emoe_audit.abstain.expansion import expand, outwards


def shares(*votes: float) -> np.ndarray:
    """Probabilities of 100 labellers of which a share votes for good, a row for each share."""
    return np.stack([np.where(np.arange(100) < 100 * share, 0.9, 0.2) for share in votes])


def test_points_move_away_from_zero_by_one_plus_a_half_normal() -> None:
    z = np.random.default_rng(1).normal(size=(50_000, 3))
    moved = outwards(z, np.random.default_rng(0))
    factor = moved / z
    np.testing.assert_allclose(factor, factor[:, :1].repeat(3, axis=1))
    assert factor.min() >= 1
    assert factor[:, 0].mean() == pytest.approx(1 + np.sqrt(2 / np.pi), abs=0.01)
    assert factor[:, 0].var() == pytest.approx(1 - 2 / np.pi, abs=0.01)


@pytest.mark.parametrize(
    ("share", "kept_of_three_rounds"), [(0.0, 3), (0.04, 3), (0.07, 1), (0.5, 0), (0.93, 1), (0.89, 0), (1.0, 3)]
)
def test_more_than_95_of_100_have_to_agree_and_90_in_the_last_round(share: float, kept_of_three_rounds: int) -> None:
    points, labels = expand(np.ones((1, 2)), lambda z: shares(*[share] * len(z)), n_rounds=3)
    assert len(points) == len(labels) == kept_of_three_rounds


def test_a_kept_point_has_the_answers_of_its_own_labellers() -> None:
    def labellers(z: np.ndarray) -> np.ndarray:
        return np.clip(np.abs(z[:, :1]) / 100 + 0.6 + np.zeros((1, 4)), 0, 1)

    points, labels = expand(np.random.default_rng(0).normal(size=(20, 2)), labellers)
    assert len(points) == 20 * 5
    np.testing.assert_array_equal(labels, labellers(points))
