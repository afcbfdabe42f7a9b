"""Labellers against LightGBM's own classifier."""

from __future__ import annotations

import numpy as np
import pytest
from lightgbm import LGBMClassifier

from emoe_audit.abstain import labellers as own
from emoe_audit.abstain.labellers import Labellers, boosted
from emoe_audit.abstain.trees import Trees


@pytest.fixture(scope="module")
def z() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(161, 7))


@pytest.fixture(scope="module")
def good(z: np.ndarray) -> np.ndarray:
    return (z[:, 0] + z[:, 1] > 0) * 1.0


def test_one_boosted_model_is_lightgbms_default_with_40_rounds(z: np.ndarray, good: np.ndarray) -> None:
    expected = np.asarray(LGBMClassifier(n_estimators=40, verbose=-1, n_jobs=1).fit(z, good).predict_proba(z))
    np.testing.assert_allclose(boosted(z, good).probability(0, z), expected[:, 1])


def test_each_labeller_sees_the_larger_half_of_the_directions_and_no_other(z: np.ndarray, good: np.ndarray) -> None:
    labellers = Labellers.fit(z, good, n_labellers=5)
    given = labellers(z)
    assert labellers.directions.shape == (5, 4)
    for place, seen in enumerate(labellers.directions):
        assert len(set(seen)) == 4
        others = np.ones(7, dtype=bool)
        others[seen] = False
        changed = np.where(others, 100.0, z)
        np.testing.assert_array_equal(labellers(changed)[:, place], given[:, place])


def test_each_labeller_learns_from_half_of_the_rows(
    z: np.ndarray, good: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []

    def counted(part: np.ndarray, labels: np.ndarray) -> Trees:
        counts.append((len(np.unique(part, axis=0)), len(labels)))
        return boosted(part, labels)

    monkeypatch.setattr(own, "boosted", counted)
    Labellers.fit(z, good, n_labellers=3)
    assert counts == [(81, 81)] * 3


def test_labellers_are_diverse_and_mostly_right(z: np.ndarray, good: np.ndarray) -> None:
    given = Labellers.fit(z, good, n_labellers=16)(z)
    assert len(np.unique(given[0].round(6))) > 8
    assert ((given.mean(axis=1) > 0.5) == good).mean() > 0.9


def test_the_same_seed_gives_the_same_labellers_and_another_one_others(z: np.ndarray, good: np.ndarray) -> None:
    first, again, other = (Labellers.fit(z, good, n_labellers=4, seed=seed)(z) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_no_point_gets_no_answer(z: np.ndarray, good: np.ndarray) -> None:
    assert Labellers.fit(z, good, n_labellers=3)(z[:0]).shape == (0, 3)
