"""Draws depend on (seed, stage, step) alone, and a stopped training ends where an unbroken one does."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from emoe_audit.recipes import training
from emoe_audit.recipes.contrastive import (
    JUDGE_MODEL,
    TextEncoderTrainer,
    concept_loss,
    contrastive_loss,
    encode_by_length,
    encode_short_text,
)
from emoe_audit.recipes.plan import Plan
from emoe_audit.recipes.sampling import Sampler
from emoe_audit.recipes.tokenizer import VOCAB_SIZE
from emoe_audit.recipes.training import train
from emoe_audit.recipes.world import World


@pytest.fixture
def sampler() -> Sampler:
    world = World(
        concepts=pd.DataFrame({"concept": list("abcd"), "kind": "emoji", "group": None}),
        captions=pd.DataFrame({"en": list("abcd"), "de": list("abcd"), "fr": list("abcd")}),
        drawings={"x": np.zeros((4, 64, 64, 3), np.uint8), "y": np.zeros((2, 64, 64, 3), np.uint8)},
        drawn={"x": np.arange(4), "y": np.array([0, -1, -1, 1])},
    )
    plan = Plan(name="p", seed=0, languages={"en": 0.75, "de": 0.25, "fr": 0.0})
    return Sampler(world=world, plan=plan, styles=("x", "y"))


def test_draws_follow_the_plan(sampler: Sampler) -> None:
    counts = sampler.count("base", steps=100, n=100).languages
    assert counts.sum() == 10_000
    assert counts["fr"] == 0
    assert counts["en"] / counts.sum() == pytest.approx(0.75, abs=0.02)


def test_a_style_is_drawn_only_where_it_exists_and_evenly_there(sampler: Sampler) -> None:
    batch = sampler.draw("base", 0, 4000)
    assert set(batch.styles[np.isin(batch.concepts, [1, 2])]) == {0}
    assert (batch.styles[np.isin(batch.concepts, [0, 3])] == 1).mean() == pytest.approx(0.5, abs=0.05)


def test_a_concept_that_no_style_draws_is_left_out(sampler: Sampler) -> None:
    own = dataclasses.replace(sampler, styles=("y",))
    assert set(own.draw("expert y", 0, 500).concepts) == {0, 3}


def test_stages_and_steps_draw_differently_and_again_the_same(sampler: Sampler) -> None:
    first = sampler.draw("base", 0, 50).concepts
    assert (sampler.draw("base", 0, 50).concepts == first).all()
    assert (sampler.draw("base", 1, 50).concepts != first).any()
    assert (sampler.draw("expert x", 0, 50).concepts != first).any()


def linear_loss(model: nn.Module) -> Callable[[int], Tensor]:
    def loss(step: int) -> Tensor:
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        return ((model(x) - x.sum(dim=1, keepdim=True)) ** 2).mean()

    return loss


def test_a_stopped_training_ends_where_an_unbroken_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fresh() -> nn.Module:
        torch.manual_seed(0)
        return nn.Linear(3, 1)

    unbroken = fresh()
    train("m", unbroken, linear_loss(unbroken), steps=30, learning_rate=1e-2, folder=tmp_path / "a", ema_decay=0.9)

    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)
    broken = fresh()
    whole = linear_loss(broken)

    def stops(step: int) -> Tensor:
        if step == 17:
            raise KeyboardInterrupt
        return whole(step)

    with pytest.raises(KeyboardInterrupt):
        train("m", broken, stops, steps=30, learning_rate=1e-2, folder=tmp_path / "b", ema_decay=0.9)
    resumed = fresh()
    train("m", resumed, linear_loss(resumed), steps=30, learning_rate=1e-2, folder=tmp_path / "b", ema_decay=0.9)
    torch.testing.assert_close(resumed.state_dict(), unbroken.state_dict())
    assert not list((tmp_path / "b").glob("*.checkpoint"))


def test_contrastive_loss_equals_cross_entropy_where_all_concepts_differ() -> None:
    image, text = torch.randn(5, 4), torch.randn(5, 4)
    similarity = nn.functional.cosine_similarity(image[:, None], text[None], dim=-1)
    log_scale = torch.tensor(1.0)
    rows = -torch.log_softmax(similarity * log_scale.exp(), dim=1).diagonal().mean()
    columns = -torch.log_softmax(similarity * log_scale.exp(), dim=0).diagonal().mean()
    torch.testing.assert_close(contrastive_loss(image, text, torch.arange(5), log_scale), (rows + columns) / 2)


def test_contrastive_loss_forgives_a_swap_within_one_concept() -> None:
    image, swapped = torch.eye(3), torch.eye(3)[[1, 0, 2]]
    within = contrastive_loss(image, swapped, torch.tensor([7, 7, 8]), torch.tensor(2.0))
    across = contrastive_loss(image, swapped, torch.tensor([6, 7, 8]), torch.tensor(2.0))
    assert within < across


def test_concept_loss_is_lowest_at_the_right_concept() -> None:
    vectors = torch.eye(3)
    losses = [concept_loss(torch.eye(3)[:1], vectors, torch.tensor([c]), torch.tensor(0.0)).item() for c in range(3)]
    assert losses[0] == pytest.approx(np.log(np.e + 2) - 1)
    assert losses[1] == losses[2] == pytest.approx(np.log(np.e + 2) + 1)


def test_encoding_by_length_changes_nothing_but_the_padding_it_skips() -> None:
    torch.manual_seed(0)
    ids = torch.full((9, 32), VOCAB_SIZE - 1)
    for row, length in enumerate([3, 9, 1, 30, 4, 2, 12, 7, 5]):
        ids[row, :length] = torch.randint(0, VOCAB_SIZE - 2, (length,))
    model = TextEncoderTrainer().eval()
    judge = open_clip.CLIP(**JUDGE_MODEL).eval()
    with torch.no_grad():
        torch.testing.assert_close(encode_by_length(model.encode_text, ids), model.encode_text(ids))
        short = encode_by_length(lambda chunk: encode_short_text(judge, chunk), ids)
        torch.testing.assert_close(short, judge.encode_text(ids))
