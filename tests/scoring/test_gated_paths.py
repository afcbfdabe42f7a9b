"""Gated paths in the engine; what one layer of a mixture does is tested with the gates."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.ensemble import load_ensemble
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.types import EnsembleSpec, Prompt, ScoringConfig

pytestmark = pytest.mark.slow

CONFIG = ScoringConfig(n_noise=2, device="cpu")
PROMPTS = [Prompt(prompt_id=text, prompt=text) for text in ("a dog", "ein Hund", "")]
FIRST, LATER = (f"down_blocks.{block}.attentions.0.transformer_blocks.0.ff.net.2.weight" for block in (0, 1))


def engine(spec: EnsembleSpec, top_k: int | None, budget: int | None = None) -> ScoringEngine:
    ensemble = load_ensemble(dataclasses.replace(spec, top_k=top_k), device="cpu", memory_budget=budget)
    return ScoringEngine(ensemble, CONFIG)


def test_members_share_every_layer_but_those_of_the_first_attention(tiny_spec: EnsembleSpec) -> None:
    states = [unet.state_dict() for unet in engine(tiny_spec, 2).ensemble.unets]
    assert len({state[FIRST].data_ptr() for state in states}) == 3
    mixed = LATER.replace(".ff.", ".ff.experts.1.")
    assert len({state[mixed].data_ptr() for state in states}) == 1


def test_a_mixture_of_equal_experts_is_the_pure_path(tiny_spec: EnsembleSpec) -> None:
    same = tuple(dataclasses.replace(tiny_spec.experts[0], name=name) for name in "abc")
    spec = dataclasses.replace(tiny_spec, experts=same)
    pure, gated = engine(spec, None), engine(spec, 2)
    states = pure.text_states(["a dog"])
    torch.testing.assert_close(gated.features(states, 0), pure.features(states, 0), rtol=1e-4, atol=1e-4)


def test_behind_a_split_paths_separate_too(tiny_spec: EnsembleSpec) -> None:
    scored = engine(dataclasses.replace(tiny_spec, split=1), 2).score(PROMPTS)
    assert (scored["relative_disagreement"] > 1e-6).all()


def test_a_prompts_score_does_not_depend_on_its_neighbours(tiny_spec: EnsembleSpec) -> None:
    gated = engine(tiny_spec, 2)
    together = gated.score(PROMPTS)["disagreement"].to_numpy()
    alone = np.concatenate([gated.score([prompt])["disagreement"] for prompt in PROMPTS])
    np.testing.assert_allclose(together, alone, rtol=1e-4)
    assert (together > 0).all()


def test_the_hash_knows_how_prompts_are_routed(tiny_spec: EnsembleSpec) -> None:
    assert len({engine(tiny_spec, top_k).ensemble_hash for top_k in (None, 1, 2)}) == 3


def test_what_cannot_be_routed_is_refused(tiny_spec: EnsembleSpec) -> None:
    with pytest.raises(EnsembleError, match="top_k is 4, expected 1 to 3"):
        engine(tiny_spec, 4)
    with pytest.raises(EnsembleError, match="only the expert layers of a shared trunk can be mixed"):
        engine(dataclasses.replace(tiny_spec, assembly="independent"), 2)
    whole = load_ensemble(tiny_spec, device="cpu").footprint.needed("all")
    with pytest.raises(EnsembleError, match="gated paths need all experts in memory"):
        engine(tiny_spec, 2, whole - 1)
