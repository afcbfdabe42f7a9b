"""Assembly of experts: what is shared, what is not, and the hash of it all."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.ensemble import Ensemble, load_ensemble
from emoe_audit.experts.expert_layers import is_expert_layer
from emoe_audit.experts.models import empty_unet
from emoe_audit.experts.spec import load_spec
from emoe_audit.types import EnsembleSpec, ExpertSpec, MoeLayers
from tests.experts.sdxl import make_tiny_sdxl

pytestmark = pytest.mark.slow

BLOCK = "down_blocks.1.attentions.0.transformer_blocks.0"


def load(spec: EnsembleSpec | Path, **changes: Any) -> Ensemble:
    spec = spec if isinstance(spec, EnsembleSpec) else load_spec(spec)
    return load_ensemble(dataclasses.replace(spec, **changes), device="cpu")


def full_expert(spec: EnsembleSpec, index: int, folder: Path) -> ExpertSpec:
    """The same expert with its whole UNet on disk, written by diffusers."""
    unet = UNet2DConditionModel.from_pretrained(spec.base.source, subfolder="unet")
    delta = load_file(Path(spec.experts[index].source) / "unet_delta.safetensors")
    unet.load_state_dict(unet.state_dict() | delta)
    unet.save_pretrained(folder / "unet")
    return ExpertSpec(name=spec.experts[index].name, source=str(folder))


def edit(path: Path, key: str) -> None:
    tensors = load_file(path)
    tensors[key] = tensors[key] + 1e-3
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("key", "attn", "ff"),
    [
        (f"{BLOCK}.attn1.to_q.weight", True, False),
        (f"{BLOCK}.attn2.to_v.weight", True, False),
        (f"{BLOCK}.attn2.to_out.0.weight", False, False),
        (f"{BLOCK}.ff.net.0.proj.bias", False, True),
        (f"{BLOCK}.norm1.weight", False, False),
        ("down_blocks.1.attentions.0.proj_in.weight", False, False),
        ("down_blocks.1.resnets.0.conv1.weight", False, False),
        ("down_blocks.3.attentions.0.transformer_blocks.0.ff.net.2.weight", False, False),
        ("mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight", False, False),
        ("up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight", False, False),
    ],
)
def test_expert_layers_are_those_of_segmoe(key: str, attn: bool, ff: bool) -> None:
    assert [is_expert_layer(key, layers) for layers in ("attn", "ff", "all")] == [attn, ff, attn or ff]


def test_stable_diffusion_1_5_has_76_million_weights_per_expert_and_a_trunk_of_273() -> None:
    unet = empty_unet({"_class_name": "UNet2DConditionModel", "cross_attention_dim": 768}, "sd 1.5")
    sizes = {key: weight.numel() for key, weight in unet.named_parameters()}
    own = sum(size for key, size in sizes.items() if is_expert_layer(key, "all"))
    assert round(own / 1e6) == 76
    assert round((sum(sizes.values()) - own) / 1e6) == 273


@pytest.mark.parametrize("moe_layers", ["attn", "ff", "all"])
def test_a_shared_trunk_is_held_once_in_memory_and_expert_layers_are_each_experts_own(
    tiny_spec: EnsembleSpec, moe_layers: MoeLayers
) -> None:
    ensemble = load(tiny_spec, moe_layers=moe_layers)
    places = [{key: weight.data_ptr() for key, weight in unet.named_parameters()} for unet in ensemble.unets]
    for key in places[0]:
        n_places = len({place[key] for place in places})
        assert n_places == (3 if is_expert_layer(key, moe_layers) else 1), key


def test_sharing_survives_a_change_of_number_type(tiny_spec: EnsembleSpec) -> None:
    first, second, _ = load_ensemble(tiny_spec, device="cpu", dtype="bfloat16").unets
    assert first.dtype == torch.bfloat16
    assert first.conv_in.weight.data_ptr() == second.conv_in.weight.data_ptr()


def test_an_independent_expert_has_all_of_its_own_weights(tiny_spec: EnsembleSpec) -> None:
    base = load_file(Path(tiny_spec.base.source) / "unet" / "diffusion_pytorch_model.safetensors")
    ensemble = load(tiny_spec, assembly="independent")
    for expert, unet in zip(tiny_spec.experts, ensemble.unets, strict=True):
        expected = base | load_file(Path(expert.source) / "unet_delta.safetensors")
        assert all(torch.equal(weight, expected[key]) for key, weight in unet.named_parameters())


def test_the_mid_block_of_a_shared_trunk_is_the_bases(tiny_spec: EnsembleSpec) -> None:
    key = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    base = load_file(Path(tiny_spec.base.source) / "unet" / "diffusion_pytorch_model.safetensors")
    shared, own = load(tiny_spec), load(tiny_spec, assembly="independent")
    assert all(torch.equal(unet.get_parameter(key), base[key]) for unet in shared.unets)
    assert not any(torch.equal(unet.get_parameter(key), base[key]) for unet in own.unets)


@pytest.mark.parametrize("assembly", ["shared_trunk", "independent"])
def test_before_the_split_everything_is_the_bases(tiny_spec: EnsembleSpec, assembly: str) -> None:
    ensemble = load(tiny_spec, assembly=assembly, split=1)
    places = [{key: weight.data_ptr() for key, weight in unet.named_parameters()} for unet in ensemble.unets]
    differing = load_file(Path(tiny_spec.experts[0].source) / "unet_delta.safetensors").keys()
    for key in places[0]:
        is_later = key in differing and key.startswith(("down_blocks.1.", "down_blocks.2.", "mid_block."))
        is_own = is_later and (assembly == "independent" or is_expert_layer(key, "all"))
        assert len({place[key] for place in places}) == (3 if is_own else 1), key


def test_a_split_that_leaves_nothing_to_the_experts_is_refused(tiny_spec: EnsembleSpec) -> None:
    n_blocks = len(load(tiny_spec).unets[0].down_blocks)
    assert load(tiny_spec, assembly="independent", split=n_blocks).unets
    with pytest.raises(EnsembleError, match=f"split is {n_blocks + 1}, the UNet has {n_blocks} down blocks"):
        load(tiny_spec, assembly="independent", split=n_blocks + 1)
    with pytest.raises(EnsembleError, match=f"no down block from {n_blocks} on has attention"):
        load(tiny_spec, split=n_blocks)


def test_order_and_names_and_place_of_experts_do_not_change_the_hash(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    before = load(tiny_spec)
    shutil.copytree(Path(tiny_spec.base.source).parent, tmp_path / "moved")
    moved = load_spec(tmp_path / "moved")
    renamed = tuple(ExpertSpec(name=f"x{i}", source=expert.source) for i, expert in enumerate(reversed(moved.experts)))
    after = load(moved, experts=renamed)
    assert after.ensemble_hash == before.ensemble_hash
    assert after.experts == ("x0", "x1", "x2")


@pytest.mark.parametrize("assembly", ["shared_trunk", "independent"])
def test_an_expert_stored_whole_hashes_like_its_delta(tiny_spec: EnsembleSpec, tmp_path: Path, assembly: str) -> None:
    whole = full_expert(tiny_spec, 1, tmp_path)
    experts = (tiny_spec.experts[0], whole, tiny_spec.experts[2])
    a, b = load(tiny_spec, assembly=assembly), load(tiny_spec, assembly=assembly, experts=experts)
    assert a.ensemble_hash == b.ensemble_hash


def test_the_hash_knows_the_assembly_the_number_of_experts_and_the_expert_layers(tiny_spec: EnsembleSpec) -> None:
    one = tiny_spec.experts[:1]
    variants = [
        load(tiny_spec),
        load(tiny_spec, assembly="independent"),
        load(tiny_spec, moe_layers="ff"),
        load(tiny_spec, experts=tiny_spec.experts[:2]),
        load(tiny_spec, experts=one),
        load(tiny_spec, experts=(*one, dataclasses.replace(one[0], name="again"))),
    ]
    assert len({variant.ensemble_hash for variant in variants}) == len(variants)


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("experts/expert-1/unet_delta.safetensors", f"{BLOCK}.attn1.to_q.weight"),
        ("base/unet/diffusion_pytorch_model.safetensors", "mid_block.resnets.0.conv1.weight"),
        ("base/text_encoder/model.safetensors", "text_model.final_layer_norm.bias"),
    ],
)
def test_every_weight_that_takes_part_changes_the_hash(tiny_copy: Path, file: str, key: str) -> None:
    before = load(tiny_copy).ensemble_hash
    edit(tiny_copy / file, key)
    assert load(tiny_copy).ensemble_hash != before


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("base/unet/diffusion_pytorch_model.safetensors", "up_blocks.0.resnets.0.conv1.weight"),
        ("experts/expert-1/unet_delta.safetensors", "mid_block.attentions.0.proj_in.weight"),
        ("base/vae/diffusion_pytorch_model.safetensors", "encoder.conv_in.weight"),
    ],
)
def test_weights_that_take_no_part_do_not_change_the_hash(tiny_copy: Path, file: str, key: str) -> None:
    before = load(tiny_copy).ensemble_hash
    edit(tiny_copy / file, key)
    assert load(tiny_copy).ensemble_hash == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("base/tokenizer/vocab.json", '"!": 0,\n  "\\"": 1', '"!": 1,\n  "\\"": 0'),
        ("base/scheduler/scheduler_config.json", '"steps_offset": 1', '"steps_offset": 0'),
        ("base/text_encoder/config.json", "quick_gelu", "gelu"),
        ("base/unet/config.json", '"norm_eps": 1e-05', '"norm_eps": 1e-04'),
    ],
)
def test_tokenizer_scheduler_and_designs_change_the_hash(tiny_copy: Path, file: str, old: str, new: str) -> None:
    before = load(tiny_copy).ensemble_hash
    text = (tiny_copy / file).read_text()
    assert old in text
    (tiny_copy / file).write_text(text.replace(old, new))
    assert load(tiny_copy).ensemble_hash != before


def test_the_layout_on_disk_does_not_change_the_hash(tiny_copy: Path) -> None:
    before = load(tiny_copy)
    (encoder,) = before.text_encoders
    for part, thing in (("text_encoder", encoder.model), ("tokenizer", encoder.tokenizer)):
        shutil.rmtree(tiny_copy / "base" / part)
        thing.save_pretrained(tiny_copy / "base" / part)
    assert load(tiny_copy).ensemble_hash == before.ensemble_hash


def test_an_expert_of_another_design_cannot_join_a_shared_trunk(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    expert = full_expert(tiny_spec, 0, tmp_path)
    path = tmp_path / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"attention_head_dim": 4}))
    with pytest.raises(EnsembleError, match=r"attention_head_dim is 4, the base has 2; .* 'independent'"):
        load(tiny_spec, experts=(expert, *tiny_spec.experts[1:]))


def test_an_expert_without_an_expert_layer_is_refused_by_key(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    expert = full_expert(tiny_spec, 0, tmp_path)
    path = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    del tensors[f"{BLOCK}.ff.net.2.bias"]
    save_file(tensors, path)
    with pytest.raises(EnsembleError, match=f"missing keys: {BLOCK}.ff.net.2.bias"):
        load(tiny_spec, experts=(expert,))


def test_a_base_that_lacks_a_key_is_named_itself(tiny_copy: Path) -> None:
    path = tiny_copy / "base" / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    del tensors["conv_in.bias"]
    save_file(tensors, path)
    with pytest.raises(EnsembleError, match=r"base/unet: missing keys: conv_in.bias"):
        load(tiny_copy)


def test_experts_whose_features_differ_in_shape_cannot_be_compared(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    config = UNet2DConditionModel.load_config(tiny_spec.base.source, subfolder="unet")
    wide = UNet2DConditionModel.from_config(config | {"block_out_channels": [8, 16, 24]})
    wide.save_pretrained(tmp_path / "unet")
    experts = (*tiny_spec.experts, ExpertSpec(name="wide", source=str(tmp_path)))
    with pytest.raises(EnsembleError, match="block_out_channels"):
        load(tiny_spec, assembly="independent", experts=experts)


def test_a_text_encoder_of_another_width_is_refused(tiny_copy: Path, tmp_path: Path) -> None:
    encoder = CLIPTextModel.from_pretrained(tiny_copy / "base" / "text_encoder")
    config = encoder.config
    config.hidden_size = 32
    CLIPTextModel(config).save_pretrained(tiny_copy / "base" / "text_encoder")
    with pytest.raises(EnsembleError, match="cross_attention_dim is 16, but the base's text encoders give 32"):
        load(tiny_copy)


def test_a_unet_without_sample_size_is_refused(tiny_copy: Path) -> None:
    path = tiny_copy / "base" / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sample_size": None}))
    with pytest.raises(EnsembleError, match="sample_size is None"):
        load(tiny_copy)


def test_an_expert_of_the_bases_design_with_weights_of_another_shape_is_refused(
    tiny_spec: EnsembleSpec, tmp_path: Path
) -> None:
    expert = full_expert(tiny_spec, 0, tmp_path)
    path = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    save_file(load_file(path) | {f"{BLOCK}.ff.net.0.proj.weight": torch.zeros(1, 16)}, path)
    told = rf"{BLOCK}.ff.net.0.proj.weight has shape \[1, 16\], the base's is \[128, 16\]"
    with pytest.raises(EnsembleError, match=told):
        load(tiny_spec, experts=(expert,))


def test_an_sdxl_unet_that_is_told_less_than_the_text_encoders_give_is_refused(tmp_path: Path) -> None:
    spec = make_tiny_sdxl(tmp_path)
    path = tmp_path / "base" / "unet" / "config.json"
    config = json.loads(path.read_text()) | {"addition_time_embed_dim": 4}
    for name in ("base", "a", "b"):
        (tmp_path / name / "unet" / "config.json").write_text(json.dumps(config))
    told = "projection_class_embeddings_input_dim is 68, but pooled text, size and crop give 44"
    with pytest.raises(EnsembleError, match=told):
        load(spec)
    (tmp_path / "b" / "unet" / "config.json").write_text(json.dumps(config | {"addition_time_embed_dim": 8}))
    with pytest.raises(EnsembleError, match=r"addition_time_embed_dim is 8, .* such experts cannot be compared"):
        load(spec)


def test_too_little_memory_for_the_weights_is_told_and_other_faults_are_not_taken_for_it(
    tiny_spec: EnsembleSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("emoe_audit.experts.ensemble.TensorMover.move", fail)
    error: RuntimeError = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    with pytest.raises(EnsembleError, match="tiny: out of memory while experts are loaded; give a --memory-budget"):
        load_ensemble(tiny_spec, device="cpu")
    error = RuntimeError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(RuntimeError, match="illegal"):
        load_ensemble(tiny_spec, device="cpu")
