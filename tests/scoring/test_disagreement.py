"""The score functions against numpy, and what must always hold of them."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from jaxtyping import TypeCheckError

from emoe_audit.errors import AuditError, EnsembleError
from emoe_audit.scoring.disagreement import (
    SCORES,
    disagreement,
    feature_power,
    register_score,
    relative_disagreement,
)

SHAPES = array_shapes(min_dims=5, max_dims=5, min_side=1, max_side=4).filter(lambda shape: shape[0] > 1)
FEATURES = arrays(np.float32, SHAPES, elements=st.floats(-100, 100, width=32))


@pytest.fixture
def own_scores() -> Iterator[None]:
    before = dict(SCORES)
    yield
    SCORES.clear()
    SCORES.update(before)


@given(FEATURES)
def test_disagreement_is_numpys_variance_over_experts_averaged_over_elements(features: np.ndarray) -> None:
    wide = features.astype(np.float64)
    expected = wide.var(axis=0, ddof=1).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(disagreement(torch.from_numpy(features)), expected, rtol=1e-4, atol=1e-4)


@given(FEATURES)
def test_feature_power_is_the_mean_square(features: np.ndarray) -> None:
    expected = (features.astype(np.float64) ** 2).mean(axis=(0, 2, 3, 4))
    np.testing.assert_allclose(feature_power(torch.from_numpy(features)), expected, rtol=1e-5, atol=1e-30)


@given(FEATURES, st.randoms(use_true_random=False))
def test_the_order_of_experts_does_not_matter(features: np.ndarray, random: Random) -> None:
    order = list(range(len(features)))
    random.shuffle(order)
    a, b = torch.from_numpy(features), torch.from_numpy(features[order])
    torch.testing.assert_close(disagreement(a), disagreement(b), rtol=1e-5, atol=1e-4)


@given(FEATURES, st.integers(2, 5))
def test_equal_experts_disagree_by_zero(features: np.ndarray, n_experts: int) -> None:
    same = torch.from_numpy(features[:1]).expand(n_experts, -1, -1, -1, -1)
    assert disagreement(same).eq(0).all()


@given(FEATURES, st.sampled_from([0.25, 2.0, 8.0]))
def test_scale_squares_disagreement_and_leaves_the_relative_one(features: np.ndarray, scale: float) -> None:
    assume(bool((np.abs(features).max(axis=(0, 2, 3, 4)) > 1e-3).all()))
    a, b = torch.from_numpy(features), torch.from_numpy(features) * scale
    torch.testing.assert_close(disagreement(b), disagreement(a) * scale**2, rtol=1e-5, atol=0)
    torch.testing.assert_close(relative_disagreement(b), relative_disagreement(a), rtol=1e-5, atol=0)


@given(FEATURES)
def test_what_all_experts_have_in_common_does_not_matter(features: np.ndarray) -> None:
    moved = torch.from_numpy(features) + torch.linspace(-1, 1, features[0].size).reshape(features.shape[1:])
    torch.testing.assert_close(disagreement(moved), disagreement(torch.from_numpy(features)), rtol=1e-3, atol=1e-3)


@given(FEATURES)
def test_the_relative_score_lies_between_zero_and_its_bound(features: np.ndarray) -> None:
    """Var(ddof=1) <= n/(n-1) of the mean square."""
    relative = relative_disagreement(torch.from_numpy(features))
    bound = len(features) / (len(features) - 1)
    known = relative[~relative.isnan()]
    assert bool(((known >= 0) & (known <= bound * 1.001)).all())


def test_silent_features_have_no_relative_score() -> None:
    assert relative_disagreement(torch.zeros(2, 1, 1, 1, 1)).isnan().all()


def test_prompts_of_a_batch_do_not_see_each_other() -> None:
    features = torch.randn(3, 5, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([disagreement(features[:, i : i + 1]) for i in range(5)])
    torch.testing.assert_close(disagreement(features), alone)


def test_half_precision_features_are_summed_in_single_precision() -> None:
    features = torch.randn(3, 1, 64, 32, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    expected = features.double().numpy().var(axis=0, ddof=1).mean()
    assert disagreement(features).dtype == torch.float32
    assert disagreement(features).item() == pytest.approx(expected, rel=1e-5)


def test_one_expert_cannot_disagree() -> None:
    with pytest.raises(EnsembleError, match="at least two experts, got 1"):
        disagreement(torch.zeros(1, 1, 1, 1, 1))


def test_shapes_in_annotations_are_checked() -> None:
    with pytest.raises(TypeCheckError):
        disagreement(torch.zeros(2, 1, 1, 1))


def test_a_score_is_registered_once(own_scores: None) -> None:
    @register_score("largest")
    def largest(features: torch.Tensor) -> torch.Tensor:
        return features.amax(dim=(0, 2, 3, 4))

    assert list(SCORES) == ["disagreement", "relative_disagreement", "largest"]
    with pytest.raises(AuditError, match="'largest' is registered already"):
        register_score("largest")(largest)
