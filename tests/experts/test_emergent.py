"""Emergent experts, against a gate written out token by token, and against the dense checkpoint that they come from."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from diffusers import UNet2DConditionModel
from diffusers.models.activations import GEGLU
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import gelu

from emoe_audit.cli.ensemble import ensemble
from emoe_audit.errors import EnsembleError
from emoe_audit.experts.clustering import balanced_clusters, split_weights
from emoe_audit.experts.emergent import (
    ExpertGate,
    OwnStates,
    SplitGeglu,
    highest,
    install_gates,
    member_bias,
    watched_use,
)
from emoe_audit.experts.emergent_recipe import make_emergent_ensemble
from emoe_audit.experts.ensemble import load_ensemble
from emoe_audit.experts.models import build_unet
from emoe_audit.experts.spec import load_spec, save_spec
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.types import EmergentSpec, EnsembleSpec, Prompt, ScoringConfig, SplitParts
from tests.naive import NaiveEnsemble

pytestmark = pytest.mark.slow

TEXTS = ["a red apple", "犬", "a dog and a cat in the house", ""]
PROMPTS = [Prompt(prompt_id=str(place), prompt=text) for place, text in enumerate(TEXTS)]
N_CLUSTERS = 16
CONFIG = ScoringConfig(batch_size=4, device="cpu")


@pytest.fixture(scope="module")
def checkpoint(tiny_spec: EnsembleSpec) -> str:
    return str(Path(tiny_spec.base.source).parent)


def emergent(
    checkpoint: str, folder: Path, *, expert: str | None = None, top_k: int = 4, what: SplitParts = "unet"
) -> EnsembleSpec:
    return make_emergent_ensemble(
        checkpoint, folder, expert=expert, n_members=3, n_clusters=N_CLUSTERS, top_k=top_k, what=what
    )


def engine_of(spec: EnsembleSpec, memory_budget: int | None = None) -> ScoringEngine:
    return ScoringEngine(load_ensemble(spec, device="cpu", memory_budget=memory_budget), CONFIG)


def features(spec: EnsembleSpec) -> Tensor:
    """`[member, prompt, ...]` from the first noise."""
    engine = engine_of(spec)
    return engine.features(engine.text_states(TEXTS), 0)


@pytest.fixture(scope="module")
def dense(tiny_spec: EnsembleSpec) -> Tensor:
    """The base's mid-block, by diffusers' own UNet, stopped there."""
    naive, base = (
        NaiveEnsemble(tiny_spec),
        UNet2DConditionModel.from_pretrained(tiny_spec.base.source, subfolder="unet"),
    )
    base.mid_block.register_forward_hook(lambda *call: naive._keep(call[2]))
    naive.unets = [base.eval()]
    return torch.as_tensor(naive.features(TEXTS, seed=0, noise_index=0)[0], dtype=torch.float32)


@pytest.mark.parametrize("top_k", [1, 3, 6])
@pytest.mark.parametrize("biased", [False, True])
def test_every_token_keeps_the_experts_of_its_largest_mean_pre_activation(top_k: int, biased: bool) -> None:
    torch.manual_seed(0)
    geglu = GEGLU(5, 24).requires_grad_(False)
    clusters = balanced_clusters(geglu.proj.weight[24:], 6, seed=0)
    bias = torch.randn(6) if biased else None
    hidden, expected = torch.randn(2, 7, 5), torch.zeros(2, 7, 24)
    for prompt in range(2):
        for token in range(7):
            value, pre = geglu.proj(hidden[prompt, token]).chunk(2)
            scores = torch.stack([pre[rows].mean() for rows in clusters])
            if bias is not None:
                scores = (scores - scores.mean()) / scores.std(correction=0) + bias
            for chosen in scores.argsort(descending=True)[:top_k]:
                rows = clusters[chosen]
                expected[prompt, token, rows] = value[rows] * gelu(pre[rows])
    tensors = {f"down_blocks.0.ff.net.0.{key}": tensor for key, tensor in geglu.state_dict().items()}
    tensors["down_blocks.0.ff.net.2.weight"] = torch.eye(24)
    split = split_weights(tensors, {"down_blocks.0.ff": clusters})
    geglu.load_state_dict({key: split[f"down_blocks.0.ff.net.0.{key}"] for key in geglu.state_dict()})
    units = SplitGeglu(geglu, ExpertGate("down_blocks.0.ff", 6, top_k, bias))(hidden)
    torch.testing.assert_close(units @ split["down_blocks.0.ff.net.2.weight"].T, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("what", ["unet", "unet+text"])
def test_with_all_experts_kept_every_member_is_the_dense_model(
    checkpoint: str, dense: Tensor, tmp_path: Path, what: SplitParts
) -> None:
    found = features(emergent(checkpoint, tmp_path, top_k=N_CLUSTERS, what=what))
    for member in found:
        torch.testing.assert_close(member, dense, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("what", ["unet", "unet+text"])
def test_with_fewer_experts_members_differ_from_the_dense_model_and_from_each_other(
    checkpoint: str, dense: Tensor, tmp_path: Path, what: SplitParts
) -> None:
    first, second, _ = features(emergent(checkpoint, tmp_path, what=what))
    assert not torch.allclose(first, dense, atol=1e-3)
    assert not torch.allclose(first, second, atol=1e-3)


def test_members_share_every_weight_and_have_no_new_one(
    checkpoint: str, tiny_spec: EnsembleSpec, tmp_path: Path
) -> None:
    unets = engine_of(emergent(checkpoint, tmp_path)).ensemble.unets
    own = [{key: tensor.data_ptr() for key, tensor in unet.named_parameters()} for unet in unets]
    assert own[0] == own[1] == own[2]
    whole = UNet2DConditionModel.from_pretrained(tiny_spec.base.source, subfolder="unet")
    scored = {
        key: p.numel() for key, p in whole.named_parameters() if not key.startswith(("up_", "conv_norm", "conv_out"))
    }
    assert {key: p.numel() for key, p in unets[0].named_parameters()} == scored


def test_an_expert_of_an_ensemble_is_taken_with_what_the_ensemble_brings(
    checkpoint: str, tiny_spec: EnsembleSpec, tmp_path: Path
) -> None:
    spec = emergent(checkpoint, tmp_path, expert="expert-1", top_k=N_CLUSTERS)
    assert (spec.judge, spec.captions) == (tiny_spec.judge, tiny_spec.captions)
    torch.testing.assert_close(features(spec)[0], features(tiny_spec)[1], rtol=1e-5, atol=1e-5)


def test_a_plain_folder_gives_the_same_members_as_the_ensemble_whose_base_it_is(
    checkpoint: str, tiny_spec: EnsembleSpec, tmp_path: Path
) -> None:
    of_ensemble = emergent(checkpoint, tmp_path / "a")
    of_folder = emergent(tiny_spec.base.source, tmp_path / "b")
    assert (of_folder.name, of_folder.captions) == ("base-emergent", None)
    assert engine_of(of_folder).ensemble_hash == engine_of(of_ensemble).ensemble_hash


def test_a_members_unet_reads_its_own_text_states_alone(checkpoint: str, tmp_path: Path) -> None:
    engine = engine_of(emergent(checkpoint, tmp_path, what="unet+text"))
    states = engine.text_states(TEXTS)
    before = engine.features(states, 0)
    width = states.embeds.shape[-1] // 3
    other = states.embeds.clone()
    other[..., width : 2 * width] = 0
    after = engine.features(dataclasses.replace(states, embeds=other), 0)
    assert torch.equal(before[0], after[0]) and torch.equal(before[2], after[2])
    assert not torch.allclose(before[1], after[1])


def test_what_the_text_encoder_says_of_a_whole_text_stays_the_dense_encoders(
    checkpoint: str, tiny_spec: EnsembleSpec, tmp_path: Path
) -> None:
    found = engine_of(emergent(checkpoint, tmp_path, what="unet+text")).text_states(TEXTS)
    own = engine_of(tiny_spec).text_states(TEXTS)
    torch.testing.assert_close(found.summary, own.summary, rtol=1e-5, atol=1e-5)
    first, second, third = found.embeds.chunk(3, dim=-1)
    assert first.shape == own.embeds.shape
    assert not torch.allclose(first, second, atol=1e-3) and not torch.allclose(second, third, atol=1e-3)


def test_an_emergent_ensemble_is_scored_like_any_other(checkpoint: str, tmp_path: Path) -> None:
    spec = emergent(checkpoint, tmp_path)
    rows = engine_of(spec).score(PROMPTS)
    assert (rows["relative_disagreement"] > 0).all()
    assert engine_of(spec).score(PROMPTS).equals(rows)


def test_under_a_memory_budget_the_scores_are_the_same(checkpoint: str, tmp_path: Path) -> None:
    spec = emergent(checkpoint, tmp_path, what="unet+text")
    whole = engine_of(spec)
    tight = engine_of(spec, memory_budget=whole.ensemble.footprint.needed("all") - 1)
    assert whole.ensemble.residency == "all" != tight.ensemble.residency
    for column in ("disagreement", "relative_disagreement", "feature_power"):
        np.testing.assert_allclose(tight.score(PROMPTS)[column], whole.score(PROMPTS)[column], rtol=1e-3)
    assert tight.ensemble_hash == whole.ensemble_hash


def test_the_hash_is_of_what_members_compute(checkpoint: str, tmp_path: Path) -> None:
    spec = emergent(checkpoint, tmp_path)
    assert spec.emergent is not None
    own = engine_of(spec).ensemble_hash
    for change in (dataclasses.replace(spec.emergent, top_k=5), dataclasses.replace(spec.emergent, seed=1)):
        assert engine_of(dataclasses.replace(spec, emergent=change)).ensemble_hash != own
    renamed = tuple(dataclasses.replace(expert, name=f"m{place}") for place, expert in enumerate(spec.experts))
    assert engine_of(dataclasses.replace(spec, experts=renamed)).ensemble_hash == own


def test_the_spec_reads_the_same_after_its_folder_moved(checkpoint: str, tmp_path: Path) -> None:
    before = emergent(checkpoint, tmp_path / "first", what="unet+text")
    assert before.emergent == EmergentSpec(
        clusters=str(tmp_path / "first" / "clusters.safetensors"), n_clusters=16, top_k=4, seed=0, what="unet+text"
    )
    (tmp_path / "first").rename(tmp_path / "second")
    after = load_spec(tmp_path / "second")
    assert after.emergent == dataclasses.replace(
        before.emergent, clusters=str(tmp_path / "second" / "clusters.safetensors")
    )
    save_spec(after, tmp_path / "second")
    assert load_spec(tmp_path / "second") == after


def test_biases_are_normal_and_every_member_has_its_own() -> None:
    biases = torch.stack([member_bias(0, layer, member, 64) for layer in ("a", "b") for member in range(20)])
    assert abs(float(biases.mean())) < 0.1 and abs(float(biases.std()) - 1) < 0.1
    assert len({tuple(own.tolist()) for own in biases}) == 40
    assert torch.equal(member_bias(0, "a", 0, 64), biases[0])


def test_watched_members_run_densely_and_say_which_experts_tokens_would_keep(
    checkpoint: str, dense: Tensor, tmp_path: Path
) -> None:
    engine = engine_of(emergent(checkpoint, tmp_path))
    states, unet = engine.text_states(TEXTS), engine.ensemble.unets[1]
    seen: dict[str, Tensor] = {}
    gates = [module for module in unet.modules() if isinstance(module, ExpertGate)]
    for gate in gates:
        gate.register_forward_pre_hook(lambda own, args: seen.update({own.layer: args[0]}))
    with watched_use(unet) as use:
        found = engine.features(states, 0)
    torch.testing.assert_close(found[1], dense, rtol=1e-5, atol=1e-5)
    assert use.keys() == {gate.layer for gate in gates} and len(use) == 4
    for layer, shares in use.items():
        means = seen[layer].reshape(len(TEXTS), -1, N_CLUSTERS, seen[layer].shape[-1] // N_CLUSTERS).mean(dim=-1)
        rank = means.argsort(dim=-1, descending=True).argsort(dim=-1)
        torch.testing.assert_close(shares, (rank < 4).float().mean(dim=1))
        torch.testing.assert_close(shares.sum(dim=-1), torch.full((len(TEXTS),), 4.0))
    assert not torch.allclose(engine.features(states, 0)[1], dense, atol=1e-3), "sparse again"


def test_as_many_experts_are_kept_as_are_asked_for_where_scores_are_equal() -> None:
    assert highest(torch.zeros(3, 8), 5).sum(dim=-1).tolist() == [5, 5, 5]


def test_only_a_geglu_is_split(tiny_spec: EnsembleSpec) -> None:
    module = torch.nn.Module()
    module.ff = torch.nn.Module()
    module.ff.net = torch.nn.ModuleList([torch.nn.Linear(4, 8)])
    with pytest.raises(EnsembleError, match="ff: Linear is not split; only GEGLU is"):
        install_gates(module, {"ff": torch.arange(8).reshape(4, 2)}, 2)


def test_every_cross_attention_reads_its_members_states(checkpoint: str, tmp_path: Path) -> None:
    unet = engine_of(emergent(checkpoint, tmp_path, what="unet+text")).ensemble.unets[2]
    found = {name: module for name, module in unet.named_modules() if isinstance(module, OwnStates)}
    assert len(found) == 2 * 4 and all(".attn2.to_" in name for name in found)
    assert {module.member for module in found.values()} == {2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top_k": 17}, "top_k is 17 of n_clusters 16"),
        ({"top_k": 0}, "top_k is 0 of n_clusters 16"),
        ({"n_clusters": 8}, "n_clusters 8, and .* holds 16"),
        ({"what": "unet+text"}, "what is 'unet.text', but .* holds no text encoder's clusters"),
    ],
)
def test_settings_that_do_not_fit_the_clusters_are_refused(
    checkpoint: str, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    spec = emergent(checkpoint, tmp_path)
    assert spec.emergent is not None
    with pytest.raises(EnsembleError, match=message):
        load_ensemble(dataclasses.replace(spec, emergent=dataclasses.replace(spec.emergent, **change)), device="cpu")


def test_members_of_several_checkpoints_are_refused(checkpoint: str, tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    spec = emergent(checkpoint, tmp_path)
    mixed = dataclasses.replace(spec, experts=(*spec.experts[:2], tiny_spec.experts[0]))
    with pytest.raises(EnsembleError, match="members of one checkpoint"):
        load_ensemble(mixed, device="cpu")
    with pytest.raises(EnsembleError, match="no top_k beside it"):
        load_ensemble(dataclasses.replace(spec, top_k=2), device="cpu")


def test_text_members_of_a_text_encoder_without_a_layer_are_refused_by_key(checkpoint: str, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(checkpoint, tmp_path / "broken"))
    path = broken / "base" / "text_encoder" / "model.safetensors"
    key = "encoder.layers.0.mlp.fc2.weight"
    save_file({own: tensor for own, tensor in load_file(path).items() if not own.endswith(key)}, path)
    with pytest.raises(EnsembleError, match=f"text_encoder: missing keys: {key}"):
        emergent(str(broken), tmp_path / "out", what="unet+text")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"expert": "nobody"}, "tiny has no expert 'nobody'; it has expert-0, expert-1, expert-2"),
        ({"top_k": 99}, "at most 16 kept"),
        ({"n_members": 1}, "needed are two members or more"),
        ({"n_clusters": 7}, "7 clusters of equal size do not fit"),
    ],
)
def test_what_cannot_be_made_is_said(checkpoint: str, tmp_path: Path, words: dict[str, object], message: str) -> None:
    with pytest.raises(EnsembleError, match=message):
        make_emergent_ensemble(checkpoint, tmp_path / "out", **({"n_clusters": 16} | words))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_that_is_not_there_or_has_no_experts_is_said(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    with pytest.raises(EnsembleError, match="nowhere: no such folder or file"):
        make_emergent_ensemble("nowhere", tmp_path)
    with pytest.raises(EnsembleError, match="--expert is for ensembles"):
        make_emergent_ensemble(tiny_spec.base.source, tmp_path, expert="expert-0")


def test_the_command_says_where_the_ensemble_is_and_how_to_go_on(checkpoint: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["emergent", checkpoint, "--out", str(out), "--members", "2", "--n-clusters", "8", "--top-k", "3"]
    done = CliRunner().invoke(ensemble, [*words, "--what", "unet+text", "--seed", "5"])
    assert (done.exit_code, done.stdout) == (0, f"{out}\n")
    assert f"emoe-audit ensemble check {out}; emoe-audit run --ensemble {out}" in done.stderr
    spec = load_spec(out)
    assert [expert.name for expert in spec.experts] == ["member-0", "member-1"]
    assert spec.emergent == EmergentSpec(
        clusters=str(out / "clusters.safetensors"), n_clusters=8, top_k=3, seed=5, what="unet+text"
    )


def test_a_checkpoint_is_drawn_only_with_a_judge(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    assert tiny_spec.judge is not None
    words = ["emergent", tiny_spec.base.source, "--n-clusters", "8", "--out"]
    bare = CliRunner().invoke(ensemble, [*words, str(tmp_path / "bare")])
    assert "--n-images 0" in bare.stderr
    assert load_spec(tmp_path / "bare").judge is None
    judge = tiny_spec.judge.removeprefix("local-dir:")
    judged = CliRunner().invoke(ensemble, [*words, str(tmp_path / "judged"), "--judge", judge])
    assert "--n-images" not in judged.stderr
    assert load_spec(tmp_path / "judged").judge == tiny_spec.judge


def test_a_split_unet_without_gates_is_the_dense_one(tiny_spec: EnsembleSpec, checkpoint: str, tmp_path: Path) -> None:
    from emoe_audit.experts.checkpoint import read_base
    from emoe_audit.experts.clustering import read_clusters

    base, spec = read_base(tiny_spec.base).unet, emergent(checkpoint, tmp_path)
    assert spec.emergent is not None
    clusters = read_clusters(Path(spec.emergent.clusters), base.tensors)
    split = build_unet(base.config, split_weights(base.tensors, clusters), "split")
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.ff"
    hidden = torch.randn(2, 5, 8)
    whole = build_unet(base.config, base.tensors, "whole")
    torch.testing.assert_close(split.get_submodule(layer)(hidden), whole.get_submodule(layer)(hidden))
