"""The student: its loss against plain arithmetic, its averaged weights, and that heads follow their own labellers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from emoe_audit.abstain import student as module
from emoe_audit.abstain.student import matching_loss, train_student


def cross_entropy(probability: float, label: float) -> float:
    return -(label * math.log(probability) + (1 - label) * math.log(1 - probability))


def test_the_loss_of_a_fixed_batch_is_that_of_plain_arithmetic() -> None:
    heads = [[0.9, 0.2, 0.6], [0.3, 0.4, 0.5]]
    labels = [[1.0, 0.0, 0.7], [0.0, 0.1, 0.9]]
    far_heads, far_labels = [[0.8, 0.7, 0.1]], [[1.0, 1.0, 0.0]]
    own = sum(cross_entropy(p, y) for ps, ys in zip(heads, labels, strict=True) for p, y in zip(ps, ys, strict=True))
    together = abs(1.7 / 3 - 1.7 / 3) + abs(1.2 / 3 - 1.0 / 3)
    outside = sum(cross_entropy(p, y) for p, y in zip(far_heads[0], far_labels[0], strict=True))
    found = matching_loss(
        torch.tensor(heads).logit(), torch.tensor(labels), torch.tensor(far_heads).logit(), torch.tensor(far_labels)
    )
    assert float(found) == pytest.approx(own / 6 + together / 2 + 0.5 * outside / 3, rel=1e-5)


def test_without_expanded_points_their_part_is_missing() -> None:
    logits, labels = torch.zeros(2, 3), torch.full((2, 3), 0.25)
    found = matching_loss(logits, labels, torch.zeros(0, 3), torch.zeros(0, 3))
    assert float(found) == pytest.approx(math.log(2) + 0.25)


def trained(seed: int = 0) -> module.Student:
    rng = np.random.default_rng(0)
    z, labels = rng.normal(size=(40, 3)), rng.random((40, 4))
    return train_student(z, labels, 2 * z[:10], labels[:10], seed=seed)


def test_the_weights_are_the_mean_over_the_last_quarter_of_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    def weights(steps: int, share: float) -> torch.Tensor:
        monkeypatch.setattr(module, "STEPS", steps)
        monkeypatch.setattr(module, "AVERAGED_SHARE", share)
        return trained().heads.weight.detach().clone()

    after_seven, after_eight = weights(7, 1 / 7), weights(8, 1 / 8)
    assert not torch.equal(after_seven, after_eight)
    torch.testing.assert_close(weights(8, 0.25), (after_seven + after_eight) / 2)


def test_every_head_learns_its_own_labeller() -> None:
    z = np.random.default_rng(1).normal(size=(300, 2))
    labels = np.stack([z[:, 0] > 0, z[:, 0] < 0, z[:, 1] > 0], axis=1).astype(np.float64)
    given = train_student(z, labels, z[:0], labels[:0]).probabilities(z)
    assert (((given > 0.5) == labels).mean(axis=0) > 0.95).all()


def test_expanded_points_are_learned_too() -> None:
    z, far = np.zeros((50, 2)), np.full((50, 2), 4.0)
    given = train_student(z, np.zeros((50, 1)), far, np.ones((50, 1))).probabilities(np.stack([z[0], far[0]]))
    assert given[0, 0] < 0.1
    assert given[1, 0] > 0.9


def test_the_seed_decides_and_nothing_outside_of_the_training_changes() -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    first, again, other = (trained(seed).heads.weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
