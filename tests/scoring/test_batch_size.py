"""How many prompts pass an expert at once."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.ensemble import load_ensemble
from emoe_audit.scoring.batch_size import BatchSize
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.scoring.expert_path import mid_block_features
from emoe_audit.types import EnsembleSpec, Prompt, ScoringConfig

CONFIG = ScoringConfig(n_noise=1, batch_size=8, device="cpu")
PROMPTS = [Prompt(prompt_id=str(place), prompt=f"{place} dogs") for place in range(20)]


def grown(seconds_a_prompt: dict[int, float], first: int = 1, most: int = 16) -> int:
    """The size it comes to where batches of each size take so long."""
    batch = BatchSize(first, most)
    for _ in range(20):
        batch.took(batch.size, batch.size * seconds_a_prompt[batch.size])
    return batch.size


def test_it_grows_while_a_prompt_takes_less_time() -> None:
    assert grown({1: 8.0, 2: 4.0, 4: 3.0, 8: 2.9, 16: 2.8}) == 4
    assert grown({1: 8.0, 2: 4.0, 4: 2.0, 8: 1.0, 16: 0.5}) == 16
    assert grown({1: 1.0, 2: 1.0}) == 1


def test_it_never_goes_above_its_bound_and_comes_back_from_there() -> None:
    assert grown({4: 9.0, 6: 1.0}, first=4, most=6) == 6
    assert grown({4: 1.0, 6: 3.0}, first=4, most=6) == 4


def test_one_slow_batch_decides_nothing() -> None:
    batch = BatchSize(1, 2)
    for seconds in (9.0, 1.0, 9.0, 1.0):
        batch.took(batch.size, seconds)
    assert batch.size == 2, "half a second a prompt instead of one"


def test_a_batch_that_was_not_full_tells_nothing() -> None:
    batch = BatchSize(4, 16)
    for _ in range(4):
        batch.took(3, 0.001)
    assert batch.size == 4


def test_it_does_not_grow_again_where_memory_ran_out() -> None:
    batch = BatchSize(8, 64)
    batch.ran_out_of_memory(8, "mine")
    for _ in range(4):
        batch.took(4, 1.0)
    assert batch.size == 4


def test_where_experts_are_streamed_fewer_prompts_wait() -> None:
    batch = BatchSize(8, 8, waiting=100)
    sizes = []
    for n_prompts in (100, 50, 25, 12):
        batch.ran_out_of_memory(n_prompts, "mine")
        sizes.append((batch.chunk, batch.size))
    assert sizes == [(50, 8), (25, 8), (12, 8), (6, 6)]


def test_one_prompt_that_is_too_much_is_an_error() -> None:
    with pytest.raises(EnsembleError, match="mine: out of memory with one prompt; give a smaller --memory-budget"):
        BatchSize(1, 64).ran_out_of_memory(1, "mine")


class SmallMemory:
    """Takes the place of an expert's path: fails as a full device does for more than `room` prompts at once."""

    def __init__(self, room: int, error: type[RuntimeError] = torch.OutOfMemoryError) -> None:
        self.room, self.error, self.path = room, error, mid_block_features

    def __call__(self, unet, start, states):  # type: ignore[no-untyped-def]
        if len(states) > self.room:
            raise self.error("CUDA out of memory. Tried to allocate 20.00 GiB")
        return self.path(unet, start, states)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_a_run_out_of_memory_goes_on_with_half_as_many_and_says_so(
    tiny_spec: EnsembleSpec,
    error: type[RuntimeError],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ensemble = load_ensemble(tiny_spec, device="cpu")
    expected = ScoringEngine(ensemble, CONFIG).score(PROMPTS)
    monkeypatch.setattr("emoe_audit.scoring.engine.mid_block_features", SmallMemory(3, error))
    engine = ScoringEngine(ensemble, CONFIG)
    found = engine.score(PROMPTS)
    assert engine.batch_size == 2
    assert [record.message for record in caplog.records] == [
        f"tiny: out of memory; going on with {size} prompts at once" for size in (4, 2)
    ]
    assert_close(found, expected)


def test_another_fault_is_not_taken_for_a_full_memory(tiny_spec: EnsembleSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr("emoe_audit.scoring.engine.mid_block_features", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        ScoringEngine(load_ensemble(tiny_spec, device="cpu"), CONFIG).score(PROMPTS)


def test_a_size_that_is_found_gives_the_scores_of_any_other(tiny_spec: EnsembleSpec) -> None:
    ensemble = load_ensemble(tiny_spec, device="cpu")
    found = ScoringEngine(ensemble, dataclasses.replace(CONFIG, batch_size=None)).score(PROMPTS)
    assert_close(found, ScoringEngine(ensemble, CONFIG).score(PROMPTS))


def assert_close(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert list(found["prompt_id"]) == list(expected["prompt_id"])
    np.testing.assert_allclose(found["disagreement"], expected["disagreement"], rtol=1e-4)
