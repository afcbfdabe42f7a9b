"""What captions of a template have in common, against loops."""

from __future__ import annotations

import numpy as np
import pytest

from emoe_audit.analysis.readings import unit
from emoe_audit.analysis.templates import OWN_MEAN, in_common

ALIKE = 0.6


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_it_is_the_mean_of_like_captions_and_some_captions_without_any(rng: np.random.Generator) -> None:
    template = rng.normal(size=8)
    pool = unit(np.concatenate([template + 0.5 * rng.normal(size=(6, 8)), rng.normal(size=(5, 8))]))
    filled = rng.random((11, 3)) < 0.8
    effects = rng.normal(size=(11, 3, 4)) * filled[:, :, None]
    captions, same = pool[[0, 3, 8]], np.array([0, 3, 8])
    found = in_common(captions, pool, effects, filled, same, ALIKE)
    expected = np.zeros((3, 3, 4))
    for row, place in enumerate(same):
        for language in range(3):
            total, weights = np.zeros(4), OWN_MEAN
            for other in range(11):
                likeness = max(0, (captions[row] @ pool[other] - ALIKE) / (1 - ALIKE))
                if other != place and filled[other, language]:
                    total += likeness * effects[other, language]
                    weights += likeness
            expected[row, language] = total / weights
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(expected[0]).max() > 0.1


def test_captions_that_are_like_no_other_have_nothing_in_common(rng: np.random.Generator) -> None:
    pool = np.eye(5)
    found = in_common(pool, pool, rng.normal(size=(5, 2, 4)), np.ones((5, 2), dtype=bool), np.arange(5), ALIKE)
    assert (found == 0).all()


def test_a_caption_that_is_not_in_the_pool_is_held_against_all_of_it(rng: np.random.Generator) -> None:
    pool, effects, filled = np.eye(3), rng.normal(size=(3, 2, 4)), np.ones((3, 2), dtype=bool)
    found = in_common(pool[:1], pool, effects, filled, np.array([-1]), ALIKE)
    np.testing.assert_allclose(found[0], effects[0] / (OWN_MEAN + 1), atol=1e-6)
