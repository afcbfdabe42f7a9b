"""The bench's figures on ground where the right answer is known beforehand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr, spearmanr

from emoe_audit.ground.figures import (
    FIGURES,
    Ground,
    aurc,
    auroc_related,
    auroc_shared_words,
    auroc_starved,
    concept_aurc,
    concept_auroc,
    concept_rho,
    language_partial_rho,
    language_quality_r,
    language_rho,
    quality_quartiles,
    quality_rho_within_language,
    readability_rho,
    region_rho,
    replicates,
    tone_rho,
    within_language_quality_rho,
)
from tests.ground.known_ground import N_FLAGS, N_PLAIN, OFTEN, N, following_score, known_ground, with_concepts


@pytest.fixture
def ground() -> Ground:
    return known_ground()


@pytest.fixture
def score(ground: Ground) -> np.ndarray:
    return following_score(ground)


def test_a_score_that_follows_coverage_has_every_figure_on_the_right_side(ground: Ground, score: np.ndarray) -> None:
    assert language_rho(ground, score) == pytest.approx(-1)
    assert language_partial_rho(ground, score) < -0.9
    assert region_rho(ground, score) < -0.8
    assert tone_rho(ground, score) == pytest.approx(-1)
    assert auroc_starved(ground, score) > 0.99
    assert quality_quartiles(ground, score) == sorted(quality_quartiles(ground, score), reverse=True)
    assert aurc(ground, score) < aurc(ground, -score)


def test_images_of_one_language_alone_enter_its_own_figures_and_no_others(ground: Ground, score: np.ndarray) -> None:
    more = dataclasses.replace(ground, quality=ground.quality.copy(), failed=ground.failed.copy())
    more.quality[0, 10:N_PLAIN] = np.random.default_rng(3).normal(size=20)
    more.failed[0, 10:N_PLAIN] = np.random.default_rng(4).integers(2, size=20)
    for figure in (aurc, quality_rho_within_language, language_quality_r, quality_quartiles):
        assert figure(more, score) == figure(ground, score)
    expected = spearmanr(score[0, :N_PLAIN], more.quality[0, :N_PLAIN]).statistic
    assert within_language_quality_rho(more, score) == pytest.approx(expected)
    assert concept_aurc(more, score) != concept_aurc(ground, score)


def test_readability_is_compared_where_it_was_measured(ground: Ground, score: np.ndarray) -> None:
    means = score[:7, :N_PLAIN].mean(axis=1)
    assert readability_rho(ground, score) == pytest.approx(spearmanr(means, ground.readability[:7]).statistic)
    unknown = dataclasses.replace(ground, readability=np.full(8, np.nan))
    assert np.isnan(readability_rho(unknown, score))


def test_figures_of_languages_are_taken_on_plain_concepts_alone(ground: Ground, score: np.ndarray) -> None:
    other = score.copy()
    other[:, N_PLAIN:] = np.random.default_rng(2).normal(size=(8, N - N_PLAIN))
    for figure in (language_rho, language_partial_rho, auroc_starved):
        assert figure(ground, other) == figure(ground, score)


def test_regions_and_tones_are_compared_in_covered_languages(ground: Ground, score: np.ndarray) -> None:
    own = pd.Series(score[:4, N_PLAIN : N_PLAIN + N_FLAGS].mean(axis=0)).groupby(["014", "155", "005"] * 4).mean()
    assert region_rho(ground, score) == pytest.approx(spearmanr(own[["014", "155", "005"]], [0.0, 0.09, 0.0]).statistic)
    starved = score.copy()
    starved[4:] = 0
    assert region_rho(ground, starved) == region_rho(ground, score)


def test_related_languages_stand_apart(ground: Ground, score: np.ndarray) -> None:
    without = score.copy()
    without[7] = -100
    assert auroc_starved(ground, without) == auroc_starved(ground, score)
    assert auroc_related(ground, without) == 0


def test_shared_words_are_compared_within_never_seen_languages(ground: Ground, score: np.ndarray) -> None:
    """Prompts without a shared word above those with one, of every pair in the one language that was never seen."""
    own, shared = score[7, :N_PLAIN], ground.shared[7, :N_PLAIN]
    pairs = [(a, b) for a in own[~shared] for b in own[shared]]
    assert auroc_shared_words(ground, score) == pytest.approx(np.mean([a > b for a, b in pairs]))
    elsewhere = dataclasses.replace(ground, shared=np.where(np.arange(8)[:, None] == 7, ground.shared, True))
    assert auroc_shared_words(elsewhere, score) == auroc_shared_words(ground, score)
    helped = score - ground.shared * 100
    assert auroc_shared_words(ground, helped) == 1


def test_quality_within_languages_is_a_mean_of_rank_correlations(ground: Ground, score: np.ndarray) -> None:
    expected = [spearmanr(score[i, :10], ground.quality[i, :10]).statistic for i in range(8)]
    assert quality_rho_within_language(ground, score) == pytest.approx(np.mean(expected))


def test_quality_over_languages_is_pearsons_correlation_on_the_drawn_concepts(
    ground: Ground, score: np.ndarray
) -> None:
    expected = pearsonr(score[:, :10].mean(axis=1), ground.quality[:, :10].mean(axis=1)).statistic
    assert language_quality_r(ground, score) == pytest.approx(expected)


def test_without_images_regions_and_tones_their_figures_are_undefined(ground: Ground, score: np.ndarray) -> None:
    nothing = np.full((8, N), np.nan)
    none = np.array([""] * N)
    bare = dataclasses.replace(ground, quality=nothing, failed=nothing, regions=none, skin_tones=none)
    undefined = {name for name, figure in FIGURES.items() if np.isnan(figure(bare, score))}
    assert undefined == {
        *("region_rho", "tone_rho", "quality_rho_within_language", "aurc", "language_quality_r"),
        *("concept_auroc", "concept_rho", "concept_aurc", "within_language_quality_rho"),
    }


def test_concepts_are_compared_in_the_best_covered_language_alone(ground: Ground, score: np.ndarray) -> None:
    planted, rng = with_concepts(ground), np.random.default_rng(3)
    own = rng.normal(size=N)
    score = score.copy()
    score[0] = own
    never, full = own[24:N_PLAIN], own[:16]
    assert OFTEN[15] >= 0.5 > OFTEN[16], "sixteen concepts count as full"
    assert concept_auroc(planted, score) == pytest.approx(np.mean([a > b for a in never for b in full]))
    assert concept_rho(planted, score) == pytest.approx(spearmanr(own[:N_PLAIN], OFTEN).statistic)
    assert within_language_quality_rho(planted, score) == pytest.approx(
        spearmanr(own[:10], planted.quality[0, :10]).statistic
    )
    failed = planted.failed[0, np.argsort(own[:10])]
    assert concept_aurc(planted, score) == pytest.approx(np.mean(np.cumsum(failed) / np.arange(1, 11)))


def test_of_what_is_measured_in_one_language_concepts_alone_are_resampled(ground: Ground, score: np.ndarray) -> None:
    planted = with_concepts(ground)
    one_language = planted.take(np.array([0]), np.arange(N))
    many, one = (
        replicates(g, {"s": s}, n_boot=40, seed=0)["s"] for g, s in ((planted, score), (one_language, score[:1]))
    )
    for figure in ("concept_auroc", "concept_rho"):
        assert np.nanstd(many[figure]) == pytest.approx(np.nanstd(one[figure]), rel=0.5)
        assert not np.isnan(many[figure]).all()


def test_replicates_hold_the_figure_and_are_shared_between_scores(ground: Ground, score: np.ndarray) -> None:
    found = replicates(ground, {"good": score, "again": score, "turned": -score}, n_boot=60, seed=0)
    low, high = np.nanpercentile(found["good"]["auroc_starved"], [2.5, 97.5])
    assert low <= auroc_starved(ground, score) <= high
    np.testing.assert_array_equal(found["good"]["aurc"], found["again"]["aurc"])
    np.testing.assert_allclose(found["turned"]["language_rho"], -found["good"]["language_rho"])
