"""Members of one checkpoint in the bench: what the controls leave out, and what is measured of experts and layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.checkpoint import read_base
from emoe_audit.experts.clustering import find_clusters, split_layers
from emoe_audit.experts.emergent import ExpertGate
from emoe_audit.experts.emergent_recipe import make_emergent_ensemble
from emoe_audit.experts.ensemble import load_ensemble
from emoe_audit.experts.models import build_unet
from emoe_audit.ground.baselines import BASELINES
from emoe_audit.ground.members import (
    DroppedUnits,
    LowestGate,
    base_unet,
    dropout_members,
    emergent_members,
    random_clusters,
    reconstruction_errors,
)
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.scoring.expert_use import measure_use, sample_captions
from emoe_audit.types import EnsembleSpec, ScoringConfig

pytestmark = pytest.mark.slow

TEXTS = ["a red apple", "犬", "a dog and a cat in the house", ""]
CONFIG = ScoringConfig(batch_size=3, device="cpu")
ROWS = ("emergent_members", "emergent_text_members", "random_members", "dropout_members")


@pytest.fixture(scope="module")
def engine(tiny_spec: EnsembleSpec) -> ScoringEngine:
    return ScoringEngine(load_ensemble(tiny_spec, device="cpu"), CONFIG)


@pytest.fixture(scope="module")
def tensors(tiny_spec: EnsembleSpec) -> dict[str, Tensor]:
    return read_base(tiny_spec.base).unet.tensors


@pytest.fixture(scope="module")
def emergent_engine(tiny_spec: EnsembleSpec, tmp_path_factory: pytest.TempPathFactory) -> ScoringEngine:
    spec = make_emergent_ensemble(
        str(Path(tiny_spec.base.source).parent), tmp_path_factory.mktemp("emergent"), n_clusters=16, what="unet+text"
    )
    return ScoringEngine(load_ensemble(spec, device="cpu"), CONFIG)


@pytest.mark.parametrize("name", ROWS)
def test_every_kind_of_member_is_a_row_with_a_number_for_every_prompt(engine: ScoringEngine, name: str) -> None:
    compute = BASELINES[name](engine)
    found = compute(TEXTS)
    assert (found > 0).all() and np.isfinite(found).all()
    assert len(set(found.tolist())) == len(TEXTS)
    np.testing.assert_array_equal(compute(TEXTS), found)


def test_a_row_is_the_score_of_the_ensemble_that_the_command_makes(
    tiny_spec: EnsembleSpec, engine: ScoringEngine, tmp_path: Path
) -> None:
    spec = make_emergent_ensemble(str(Path(tiny_spec.base.source).parent), tmp_path)
    own = ScoringEngine(load_ensemble(spec, device="cpu"), CONFIG)
    features = own.features(own.text_states(TEXTS), 0).double().numpy()
    expected = features.var(axis=0, ddof=1).mean(axis=(1, 2, 3)) / np.square(features).mean(axis=(0, 2, 3, 4))
    np.testing.assert_allclose(emergent_members(engine)(TEXTS), expected, rtol=1e-4)


def test_random_clusters_hold_every_row_once(tensors: dict[str, Tensor]) -> None:
    clusters = random_clusters(tensors, 8)
    assert sorted(clusters) == split_layers(tensors)
    for layer, rows in clusters.items():
        assert rows.shape[0] == 8
        assert sorted(rows.flatten().tolist()) == list(range(rows.numel()))
        assert not torch.equal(rows, find_clusters(tensors, 8)[layer])


def test_dropped_units_are_zero_and_the_others_keep_the_sum() -> None:
    kept = torch.tensor([1.0, 0.0, 0.0, 1.0])
    units = DroppedUnits(torch.nn.Identity(), kept)(torch.ones(2, 4))
    assert units.tolist() == [[2.0, 0.0, 0.0, 2.0]] * 2


def test_dropout_sets_as_many_units_to_zero_as_gates_do(engine: ScoringEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    before = DroppedUnits.__init__

    def counted(self: DroppedUnits, dense: torch.nn.Module, kept: Tensor) -> None:
        shares.append(float(kept.mean()))
        before(self, dense, kept)

    monkeypatch.setattr(DroppedUnits, "__init__", counted)
    dropout_members(engine)
    assert len(shares) == 4 * 4, "four members of four layers"
    assert set(shares) == {0.25}


def naive_error(engine: ScoringEngine, layer: str, rows: Tensor, top_k: int, hidden: Tensor) -> list[float]:
    """Of one layer, token by token, on the weights as they are stored."""
    base = read_base(engine.ensemble.spec.base).unet
    feed_forward = build_unet(base.config, {k: t.double() for k, t in base.tensors.items()}, "").get_submodule(layer)
    value, pre = feed_forward.net[0].proj(hidden.double()).chunk(2, dim=-1)
    units, errors = value * torch.nn.functional.gelu(pre), []
    for prompt in range(len(hidden)):
        kept = torch.zeros_like(units[prompt])
        for token in range(hidden.shape[1]):
            means = [float(pre[prompt, token, own].mean()) for own in rows]
            for chosen in np.argsort(means)[::-1][:top_k]:
                kept[token, rows[chosen]] = units[prompt, token, rows[chosen]]
        whole, sparse = feed_forward.net[2](units[prompt]), feed_forward.net[2](kept)
        errors.append(float((whole - sparse).square().sum() / whole.square().sum()))
    return errors


def test_reconstruction_errors_are_those_of_a_layer_on_the_dense_way(
    engine: ScoringEngine, tensors: dict[str, Tensor]
) -> None:
    clusters = find_clusters(tensors, 16)
    ways = {"gated": (clusters, ExpertGate), "lowest": (clusters, LowestGate)}
    table = reconstruction_errors(engine, TEXTS, ways, 4)
    assert len(table) == 2 * 4 * len(TEXTS)
    layer, unet, seen = "down_blocks.1.attentions.0.transformer_blocks.0.ff", base_unet(engine), []
    unet.get_submodule(layer).register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    latent, timestep = engine._steps[0]
    with torch.no_grad():
        unet.forward(
            latent.expand(len(TEXTS), -1, -1, -1),
            timestep,
            encoder_hidden_states=engine.text_states(TEXTS).embeds.clone(),
        )
        expected = naive_error(engine, layer, clusters[layer], 4, seen[0])
    own = table[(table["layer"] == layer) & (table["way"] == "gated")].sort_values("prompt")
    np.testing.assert_allclose(own["error"], expected, rtol=1e-3)
    means = table.groupby(["way", "layer"])["error"].mean()
    assert (means["gated"] < means["lowest"]).all()


def test_nothing_is_lost_where_all_experts_are_kept(engine: ScoringEngine, tensors: dict[str, Tensor]) -> None:
    table = reconstruction_errors(engine, TEXTS, {"all": (find_clusters(tensors, 16), ExpertGate)}, 16)
    assert table["error"].max() < 1e-10


def test_use_is_measured_for_every_prompt_layer_and_expert(emergent_engine: ScoringEngine) -> None:
    prompts = pd.DataFrame(
        {"source_id": ["a", "a", "b", "b"], "language": ["en", "ja"] * 2, "prompt": ["dog", "犬", "cat", "猫"]}
    )
    use = measure_use(emergent_engine, prompts)
    assert len(use) == 4 * 4 * 16
    sums = use.groupby(["source_id", "language", "layer"])["share"].sum()
    np.testing.assert_allclose(sums, 4, rtol=1e-5)
    assert use["share"].between(0, 1).all()
    alone = measure_use(emergent_engine, prompts.iloc[[3]])
    own = use[(use["source_id"] == "b") & (use["language"] == "ja")]
    np.testing.assert_allclose(alone["share"], own["share"], atol=0.05)


def test_the_use_is_that_of_the_dense_checkpoint(emergent_engine: ScoringEngine, tiny_spec: EnsembleSpec) -> None:
    prompts = pd.DataFrame({"source_id": ["a"], "language": ["en"], "prompt": ["a red apple"]})
    use = measure_use(emergent_engine, prompts)
    unet_only = load_ensemble(make_unet_only(emergent_engine, tiny_spec), device="cpu")
    other = measure_use(ScoringEngine(unet_only, CONFIG), prompts)
    np.testing.assert_allclose(use["share"], other["share"], atol=0.05)


def make_unet_only(engine: ScoringEngine, tiny_spec: EnsembleSpec) -> EnsembleSpec:
    """The same checkpoint with a text encoder that is not split, next to the other."""
    own = engine.ensemble.spec.emergent
    assert own is not None
    folder = Path(own.clusters).parent / "unet"
    return make_emergent_ensemble(str(Path(tiny_spec.base.source).parent), folder, n_clusters=16)


def test_use_is_measured_only_where_there_are_experts_inside(engine: ScoringEngine) -> None:
    with pytest.raises(EnsembleError, match="tiny: is no emergent ensemble"):
        measure_use(engine, pd.DataFrame({"source_id": ["a"], "language": ["en"], "prompt": ["dog"]}))


def test_captions_in_most_languages_are_taken_first() -> None:
    prompts = pd.DataFrame({"source_id": list("aabbbc"), "language": ["en", "de", "en", "de", "hi", "en"]})
    assert sample_captions(prompts, 1)["source_id"].unique().tolist() == ["b"]
    assert sample_captions(prompts, 2)["source_id"].unique().tolist() == ["a", "b"]
    assert len(sample_captions(prompts, 9)) == 6
