"""Trees as arrays: they answer as the library does, and what is no tree is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lightgbm import Dataset, train

from emoe_audit.abstain.labellers import PARAMETERS, ROUNDS, boosted
from emoe_audit.abstain.trees import Trees
from emoe_audit.errors import AuditError


def points(n: int, seed: int, *, gaps: float = 0.0, digits: int = 9) -> np.ndarray:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 6)).round(digits)
    z[rng.random(z.shape) < gaps] = np.nan
    return z


def labels(z: np.ndarray, seed: int = 0) -> np.ndarray:
    return (np.nan_to_num(z)[:, :2].sum(axis=1) + np.random.default_rng(seed).normal(size=len(z)) > 0) * 1.0


def library(z: np.ndarray, good: np.ndarray, new: np.ndarray) -> np.ndarray:
    grown = train(PARAMETERS, Dataset(z, label=good, params=PARAMETERS), num_boost_round=ROUNDS)
    return np.asarray(grown.predict(new))


@pytest.mark.parametrize("gaps", [0.0, 0.2])
@pytest.mark.parametrize("digits", [9, 1, 0])
@pytest.mark.parametrize("n", [45, 400])
def test_the_answer_is_that_of_lightgbm(n: int, digits: int, gaps: float) -> None:
    z = points(n, 0, gaps=gaps, digits=digits)
    new = np.concatenate([points(500, 1, digits=digits), points(500, 2, gaps=0.3, digits=digits), z])
    new[:9] = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-36, -1e-36, 1e300, -1e300])[:, None]
    good = labels(z)
    np.testing.assert_allclose(boosted(z, good).probability(0, new), library(z, good, new), atol=1e-12)


@pytest.mark.parametrize(
    ("z", "good"),
    [
        (np.zeros((60, 3)), np.arange(60) % 2.0),
        (points(60, 0), np.ones(60)),
        (points(60, 0), np.zeros(60)),
        (points(20, 0), labels(points(20, 0))),
    ],
    ids=["nothing to split by", "all are good", "none is good", "too few rows"],
)
def test_a_model_without_splits_answers_as_lightgbms_does(z: np.ndarray, good: np.ndarray) -> None:
    trees, new = boosted(z, good), points(50, 3)[:, : z.shape[1]]
    assert not trees.children.any()
    np.testing.assert_allclose(trees.probability(0, new), library(z, good, new), atol=1e-12)


def test_a_point_does_not_depend_on_how_many_are_asked_at_once() -> None:
    z = points(300, 0)
    trees, many = boosted(z, labels(z)), points(5000, 1)
    whole = trees.probability(0, many)
    np.testing.assert_array_equal(trees.probability(0, many[4000:4010]), whole[4000:4010])
    assert trees.probability(0, many[:0]).shape == (0,)


@pytest.fixture(scope="module")
def trees() -> Trees:
    z = points(400, 0)
    return Trees.joined([boosted(z, labels(z, seed)) for seed in range(2)])


def with_one(trees: Trees, name: str, place: tuple[int, ...], value: Any) -> Trees:
    own = getattr(trees, name).copy()
    own[place] = value
    return replace(trees, **{name: own})


def test_trees_that_were_grown_pass(trees: Trees) -> None:
    trees.check(6, "here")


@pytest.mark.parametrize(
    ("name", "place", "value", "told"),
    [
        ("children", (0, 0, 3, 0), 3, "do not hang together"),
        ("children", (0, 0, 3, 0), 1, "do not hang together"),
        ("children", (0, 0, 3, 0), 0, "do not hang together"),
        ("children", (1, 39, 0, 1), 127, "do not hang together"),
        ("children", (1, 39, 0, 1), -128, "do not hang together"),
        ("children", (0, 5, 2), [~0, ~0], "do not hang together"),
        ("children", (0, 5), 0, None),
        ("direction", (0, 0, 0), 6, "a direction that is not there"),
        ("direction", (0, 0, 0), -1, "a direction that is not there"),
        ("threshold", (1, 7, 5), np.nan, "no number that a tree has"),
        ("threshold", (1, 7, 5), -np.inf, "no number that a tree has"),
        ("value", (1, 7, 5), np.nan, "no number that a tree has"),
        ("value", (1, 7, 5), 1e308, "no number that a tree has"),
    ],
)
def test_what_is_no_tree_is_refused(
    trees: Trees, name: str, place: tuple[int, ...], value: Any, told: str | None
) -> None:
    altered = with_one(trees, name, place, value)
    if told is None:
        altered.check(6, "here")
        return
    with pytest.raises(AuditError, match=f"here: .*{told}"):
        altered.check(6, "here")


def test_a_ring_of_nodes_beside_the_tree_is_refused() -> None:
    """Every node and leaf has one parent, and the tree hangs together only from the root's point of view."""
    ring = Trees.empty(1, 1, 5)
    ring.children[0, 0] = [[~0, ~1], [2, ~2], [3, ~3], [1, ~4]]
    with pytest.raises(AuditError, match="do not hang together"):
        ring.check(1, "here")
