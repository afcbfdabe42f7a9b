"""Streaming under a memory budget: the same scores with one expert in memory at a time, and what is refused."""

from __future__ import annotations

import dataclasses
import gc
import re
import threading
import weakref
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from torch import Tensor, nn

from emoe_audit.errors import EnsembleError
from emoe_audit.experts import ensemble as ensemble_module
from emoe_audit.experts import residency
from emoe_audit.experts.ensemble import Ensemble, load_ensemble
from emoe_audit.experts.models import build_unet
from emoe_audit.experts.residency import GIB, Streamed, gib
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.types import Assembly, EnsembleSpec, Prompt, ScoringConfig

pytestmark = pytest.mark.slow

PROMPTS = [Prompt(prompt_id=str(index), prompt=text) for index, text in enumerate(["a dog", "犬", "", "ein Hund", "x"])]
CONFIG = ScoringConfig(n_noise=2, batch_size=3, device="cpu")


def load(spec: EnsembleSpec, budget: int | None) -> Ensemble:
    return load_ensemble(spec, device="cpu", memory_budget=budget, n_noise=CONFIG.n_noise)


def smallest_budget(spec: EnsembleSpec) -> int:
    """One expert, and the features of one prompt under the noises of `CONFIG`."""
    return load(spec, None).footprint.needed("one")


@pytest.mark.parametrize("assembly", ["shared_trunk", "independent"])
@pytest.mark.parametrize("room", [0, 30_000])
def test_streaming_gives_the_scores_of_the_resident_ensemble(
    tiny_spec: EnsembleSpec, assembly: Assembly, room: int
) -> None:
    spec = dataclasses.replace(tiny_spec, assembly=assembly)
    streamed = load(spec, smallest_budget(spec) + room)
    assert isinstance(streamed.unets, Streamed) and isinstance(streamed.text_encoders, Streamed)
    resident = load(spec, None)
    assert streamed.ensemble_hash == resident.ensemble_hash
    actual, expected = (ScoringEngine(own, CONFIG).score(PROMPTS) for own in (streamed, resident))
    for name in ("reading", "features"):
        sketches = [np.stack(scored.pop(name).to_list()) for scored in (actual, expected)]
        np.testing.assert_allclose(sketches[0], sketches[1], rtol=1e-4, atol=1e-4)
    pd.testing.assert_frame_equal(actual, expected, rtol=1e-4)


def test_one_expert_is_in_memory_at_a_time(tiny_spec: EnsembleSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = smallest_budget(tiny_spec)
    built: list[weakref.ref[nn.Module]] = []

    def build(config: dict[str, Any], tensors: dict[str, Tensor], where: str) -> nn.Module:
        gc.collect()
        assert not any(unet() is not None for unet in built), "two experts in memory"
        unet = build_unet(config, tensors, where)
        built.append(weakref.ref(unet))
        return unet

    monkeypatch.setattr(ensemble_module, "build_unet", build)
    engine = ScoringEngine(load(tiny_spec, budget), CONFIG)
    engine.score(PROMPTS[:1])
    engine.features(engine.text_states(["a dog"]), 0)
    n_loads = len(built)
    engine.score(PROMPTS)
    assert len(built) - n_loads == len(tiny_spec.experts) * len(PROMPTS), "an expert is read once for each chunk"


def test_where_there_is_room_for_two_experts_the_next_is_read_while_one_is_used(
    tiny_spec: EnsembleSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residency, "WAITING", 1)
    spec = dataclasses.replace(tiny_spec, assembly="independent")
    own = load(spec, None).footprint
    budget = own.needed("two")
    engine, expected = ScoringEngine(load(spec, budget), CONFIG), ScoringEngine(load(spec, None), CONFIG)
    assert engine.ensemble.residency == "two"
    assert load(spec, own.needed("two") - 1).residency == "one"
    actual = engine.score(PROMPTS)["disagreement"]
    np.testing.assert_allclose(actual, expected.score(PROMPTS)["disagreement"], rtol=1e-4)


def test_what_is_loaded_ahead_is_given_only_where_it_is_asked_for() -> None:
    loaded: list[tuple[str, bool]] = []

    def load_letter(letter: str) -> str:
        loaded.append((letter, threading.current_thread() is threading.main_thread()))
        return letter

    letters = Streamed([partial(load_letter, letter) for letter in "abc"], reads_ahead=True)
    assert [letters[index] for index in (0, 1, 2, 0, 2, -1)] == list("abcacc")
    asked = [letter for letter, is_asked_for in loaded if is_asked_for]
    assert asked == ["a", "c", "c"], "the first, and twice one that does not follow"
    assert "".join(letter for letter, _ in loaded).startswith("abcab")


def test_a_budget_that_holds_everything_changes_nothing(tiny_spec: EnsembleSpec) -> None:
    whole = load(tiny_spec, None).footprint.needed("all")
    assert load(tiny_spec, whole - 1).residency != "all"
    assert load(tiny_spec, whole).residency == "all"


def test_a_resident_ensemble_takes_smaller_batches_under_a_budget(tiny_spec: EnsembleSpec) -> None:
    free, tight = load(tiny_spec, None), load(tiny_spec, load(tiny_spec, None).footprint.needed("all"))
    config = dataclasses.replace(CONFIG, n_noise=1)
    assert (ScoringEngine(free, config).batch_size, ScoringEngine(tight, config).batch_size) == (3, 1)


def test_a_budget_too_small_for_one_expert_says_what_it_takes(tiny_spec: EnsembleSpec) -> None:
    smallest = load(tiny_spec, None).footprint.needed("one")
    with pytest.raises(EnsembleError, match=re.escape(f"it takes {gib(smallest)} with one expert at a time")):
        load(tiny_spec, smallest - 1)


def test_more_noises_than_the_budget_was_shared_out_for_are_refused_before_any_prompt(tiny_spec: EnsembleSpec) -> None:
    ensemble = load(tiny_spec, smallest_budget(tiny_spec))
    with pytest.raises(EnsembleError, match=r"no room for a prompt under 3 noises; give 0\.01 GiB more"):
        ScoringEngine(ensemble, dataclasses.replace(CONFIG, n_noise=3))


def test_a_budget_above_one_that_suffices_suffices(tiny_spec: EnsembleSpec) -> None:
    spec = dataclasses.replace(tiny_spec, assembly="independent")
    own = load(spec, None).footprint
    for budget in np.linspace(own.needed("one"), own.needed("all"), 20).astype(int):
        assert ScoringEngine(load(spec, int(budget)), CONFIG).batch_size >= 1


@pytest.mark.parametrize("assembly", ["shared_trunk", "independent"])
def test_weights_are_counted_once_however_many_experts_share_them(tiny_spec: EnsembleSpec, assembly: Assembly) -> None:
    own = load(dataclasses.replace(tiny_spec, assembly=assembly), None)
    places = {weight.data_ptr(): weight.nbytes for unet in own.unets for weight in unet.parameters()}
    assert own.footprint.all_paths == sum(places.values())
    assert own.footprint.largest_path == sum(weight.nbytes for weight in own.unets[0].parameters())
    assert own.footprint.texts == sum(w.nbytes for encoder in own.text_encoders for w in encoder.model.parameters())


def test_the_features_that_wait_have_the_size_that_was_counted(tiny_spec: EnsembleSpec) -> None:
    own = load(tiny_spec, None)
    engine = ScoringEngine(own, CONFIG)
    states = engine.text_states(["a dog"])
    assert own.footprint.states == states.embeds.nbytes
    assert own.footprint.features == engine.features(states, 0)[0].nbytes


def test_bytes_are_told_in_gib_rounded_up() -> None:
    assert [gib(n) for n in (GIB, GIB + 1, 3 * GIB // 2)] == ["1.00 GiB", "1.01 GiB", "1.50 GiB"]
