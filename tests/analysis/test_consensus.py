"""Consensus of languages against vectors added up by hand, and loadings against those that were planted."""

from __future__ import annotations

import numpy as np
import pytest

from emoe_audit.analysis.consensus import (
    believe,
    cosines_with_others,
    loadings,
    mean_cosines,
    reliability_of_others,
)
from emoe_audit.analysis.readings import unit

CAPTIONS, LANGUAGES, WIDTH = 7, 5, 12


@pytest.fixture
def units() -> np.ndarray:
    """Readings with holes, `[caption, language, width]`."""
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(CAPTIONS, LANGUAGES, WIDTH)) + rng.normal(size=(CAPTIONS, 1, WIDTH)))
    vectors[rng.random((CAPTIONS, LANGUAGES)) < 0.2] = 0
    vectors[0, 1:] = 0
    return vectors


def cosines(units: np.ndarray) -> np.ndarray:
    return np.einsum("cld,cmd->clm", units, units)


def by_hand(units: np.ndarray, weights: np.ndarray) -> np.ndarray:
    found = np.full((CAPTIONS, LANGUAGES), np.nan)
    for caption in range(CAPTIONS):
        for language in range(LANGUAGES):
            own = units[caption, language]
            others = sum(weights[m] * units[caption, m] for m in range(LANGUAGES) if m != language)
            if own.any() and np.any(others):
                found[caption, language] = own @ others / np.linalg.norm(others)
    return found


def test_cosines_with_the_others_are_those_of_the_vectors(units: np.ndarray) -> None:
    weights = np.array([0.4, 0.3, 0.2, 0.1, 0.0])
    expected = by_hand(units, weights)
    assert 0 < np.isnan(expected).sum() < expected.size / 2
    np.testing.assert_allclose(cosines_with_others(cosines(units), weights), expected, atol=1e-6)


def test_weights_are_iterated_as_described(units: np.ndarray) -> None:
    weights = np.full(LANGUAGES, 1 / LANGUAGES)
    held = units.any(axis=2).sum(axis=0)
    for _ in range(10):
        agreement = np.nansum(by_hand(units, weights), axis=0) / held
        weights = np.maximum(agreement, 0) ** 2
        weights /= weights.sum()
    np.testing.assert_allclose(believe(cosines(units)), weights, atol=1e-6)


def test_languages_that_agree_with_nobody_lose_their_voice() -> None:
    opposed = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])[None].repeat(3, axis=0)
    assert (believe(cosines(opposed)) == 0).all()
    three = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])[None].repeat(3, axis=0)
    np.testing.assert_allclose(believe(cosines(three)), [0.5, 0.5, 0], atol=1e-9)


def test_mean_cosines_are_over_the_captions_that_both_have(units: np.ndarray) -> None:
    both = units[:, 1].any(axis=1) & units[:, 3].any(axis=1)
    expected = (units[both, 1] * units[both, 3]).sum(axis=1).mean()
    found = mean_cosines(cosines(units))
    assert 0 < both.sum() < CAPTIONS
    assert found[1, 3] == found[3, 1] == pytest.approx(expected)
    assert (np.diag(found) == 0).all()


@pytest.mark.parametrize("rho", [[0.9, 0.9, 0.1, 0.0], [0.8, 0.6, 0.4], [0.5] * 12])
def test_loadings_are_those_that_the_cosines_were_made_from(rho: list[float]) -> None:
    means = np.outer(rho, rho) * ~np.eye(len(rho), dtype=bool)
    np.testing.assert_allclose(loadings(means), rho, atol=0.02)


def test_the_reliability_of_others_is_the_cosine_with_what_all_mean() -> None:
    rng, rho, weights = np.random.default_rng(1), np.array([0.9, 0.7, 0.3, 0.1]), np.array([0.4, 0.3, 0.2, 0.1])
    meaning = unit(rng.normal(size=(400, 1, 512)))
    own = rho[:, None] * meaning + np.sqrt(1 - rho**2)[:, None] * unit(rng.normal(size=(400, 4, 512)))
    means = np.outer(rho, rho) * ~np.eye(4, dtype=bool)
    for language in range(4):
        voices = np.where(np.arange(4) == language, 0, weights)
        consensus = unit(np.einsum("cld,l->cd", own, voices))
        expected = (consensus * meaning[:, 0]).sum(axis=1).mean()
        assert reliability_of_others(means, weights, rho)[language] == pytest.approx(expected, abs=0.01)
    assert (reliability_of_others(means, np.zeros(4), rho) == 0).all()
