"""SegMoE's folders, against one written by hand with its key names and a UNet that loads all of its keys."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.models import build_unet
from emoe_audit.experts.segmoe import (
    read_segmoe_gates,
    read_segmoe_layout,
    read_segmoe_unets,
    write_segmoe_folder,
)
from emoe_audit.experts.segmoe_recipe import SegmoeRecipe, is_segmoe_folder
from emoe_audit.types import EnsembleSpec, GatePrompts
from tests.naive_segmoe import (
    WEIGHTS,
    base_state,
    edit_config,
    expert_layers,
    expert_states,
    naive_unet,
    random_gates,
    write_by_hand,
)

TO_Q = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
SCORED = ("conv_in.", "time_embedding.", "down_blocks.", "mid_block.")


def recipe_of(spec: EnsembleSpec) -> SegmoeRecipe:
    return SegmoeRecipe(
        spec=spec,
        type="sd",
        top_k=2,
        init="hidden",
        prompts=tuple(GatePrompts(positive=expert.name, negative="") for expert in spec.experts),
    )


def edit_weights(folder: Path, edit: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "unet" / WEIGHTS)
    edit(tensors)
    save_file(tensors, folder / "unet" / WEIGHTS)


def expected_states(spec: EnsembleSpec, moe_layers: str = "all") -> list[dict[str, Tensor]]:
    """The scored part of each expert's path: the base, but for the expert's own layers."""
    layers = tuple(f"{layer}." for layer in expert_layers(moe_layers))
    base = base_state(spec)
    return [
        {key: expert[key] if key.startswith(layers) else base[key] for key in base if key.startswith(SCORED)}
        for expert in expert_states(spec)
    ]


def same_states(found: list[dict[str, Tensor]], expected: list[dict[str, Tensor]]) -> bool:
    return [part.keys() for part in found] == [part.keys() for part in expected] and all(
        torch.equal(ours[key], theirs[key]) for ours, theirs in zip(found, expected, strict=True) for key in theirs
    )


@pytest.fixture
def by_hand(tiny_spec: EnsembleSpec, tmp_path: Path) -> Path:
    return write_by_hand(tiny_spec, tmp_path / "by-hand")


@pytest.mark.parametrize("moe_layers", ["attn", "ff", "all"])
def test_every_expert_is_read_under_plain_keys(tiny_spec: EnsembleSpec, tmp_path: Path, moe_layers: str) -> None:
    unets = read_segmoe_unets(write_by_hand(tiny_spec, tmp_path / "segmoe", moe_layers=moe_layers))
    assert same_states([unet.tensors for unet in unets], expected_states(tiny_spec, moe_layers))
    base_config = json.loads((Path(tiny_spec.base.source) / "unet" / "config.json").read_text())
    assert all(unet.config == base_config for unet in unets)
    assert all(build_unet(unet.config, unet.tensors, unet.where) for unet in unets)


def test_what_experts_share_is_held_once(by_hand: Path) -> None:
    first, second, third = (unet.tensors for unet in read_segmoe_unets(by_hand))
    layers = tuple(f"{layer}." for layer in expert_layers())
    for key in first:
        shared = first[key] is second[key] is third[key]
        assert shared != key.startswith(layers), key


def test_all_shards_are_read(tiny_spec: EnsembleSpec, by_hand: Path) -> None:
    tensors = load_file(by_hand / "unet" / WEIGHTS)
    (by_hand / "unet" / WEIGHTS).unlink()
    names = ["diffusion_pytorch_model-00001-of-00002.safetensors", "diffusion_pytorch_model-00002-of-00002.safetensors"]
    shards = [dict(sorted(tensors.items())[part::2]) for part in (0, 1)]
    for name, shard in zip(names, shards, strict=True):
        save_file(shard, by_hand / "unet" / name)
    weight_map = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
    (by_hand / "unet" / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert same_states([unet.tensors for unet in read_segmoe_unets(by_hand)], expected_states(tiny_spec))
    assert read_segmoe_gates(by_hand).keys() == set(expert_layers())


def test_wanted_narrows_the_plain_keys(by_hand: Path) -> None:
    wanted = {f"{TO_Q}.weight", "conv_in.bias"}
    assert all(unet.tensors.keys() == wanted for unet in read_segmoe_unets(by_hand, wanted=wanted.__contains__))


def test_gates_are_read_by_layer(tiny_spec: EnsembleSpec, by_hand: Path) -> None:
    gates, expected = read_segmoe_gates(by_hand), random_gates(base_state(tiny_spec), expert_layers(), 3)
    assert gates.keys() == expected.keys()
    assert all(torch.equal(gates[layer], expected[layer]) for layer in expected)


def test_the_layout_is_that_of_the_folder(by_hand: Path) -> None:
    layout = read_segmoe_layout(by_hand)
    assert (layout.type, layout.n_experts, layout.top_k, layout.moe_layers) == ("sd", 3, 2, "all")
    assert (layout.down, layout.up) == (range(0, 2), range(1, 3))


def test_a_segmoe_folder_is_known_by_its_config(tiny_spec: EnsembleSpec, by_hand: Path, tmp_path: Path) -> None:
    assert is_segmoe_folder(by_hand)
    assert not is_segmoe_folder(Path(tiny_spec.base.source))
    assert not is_segmoe_folder(Path(tiny_spec.experts[0].source))
    assert not is_segmoe_folder(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_experts": 4}, "unet: holds 3 experts, segmoe_config says 4"),
        ({"num_experts": 2}, "unet: holds 3 experts, segmoe_config says 2"),
        ({"type": "sdxl"}, "segmoe_config.type is 'sdxl', but the UNet is of the type 'sd'"),
        ({"type": None}, "segmoe_config.type is 'sdxl', but"),
        ({"moe_layers": "some"}, "segmoe_config: moe_layers: input should be 'attn', 'ff' or 'all', found 'some'"),
        ({"moe_layers": ["attn"]}, "segmoe_config: moe_layers: input should be"),
        ({"up_idx_end": None}, "segmoe_config: up_idx_end is missing"),
        ({"down_idx_start": -1}, "segmoe_config: down_idx_start: input should be greater than or equal to 0"),
        ({"num_experts": True}, "segmoe_config: num_experts: input should be a valid integer, found True"),
        ({"num_experts": 10**9}, "segmoe_config: num_experts: input should be less than or equal to 64"),
        ({"num_experts_per_tok": "two"}, "segmoe_config: num_experts_per_tok: input should be a valid integer"),
        (
            {"down_idx_end": 3},
            r"missing keys: down_blocks.2.attentions.0.transformer_blocks.0.attn1.to_k.experts.0.weight, .*25 more",
        ),
    ],
)
def test_a_config_that_contradicts_the_weights_is_refused(
    by_hand: Path, changes: dict[str, object], message: str
) -> None:
    edit_config(by_hand, changes)
    with pytest.raises(EnsembleError, match=message):
        read_segmoe_unets(by_hand)


def test_a_missing_expert_key_is_named(by_hand: Path) -> None:
    edit_weights(by_hand, lambda tensors: tensors.pop(f"{TO_Q}.experts.1.weight"))
    with pytest.raises(EnsembleError, match=f"missing keys: {TO_Q}.experts.1.weight$"):
        read_segmoe_unets(by_hand)


def test_keys_of_another_model_are_refused(by_hand: Path) -> None:
    edit_weights(by_hand, lambda tensors: tensors.update(controlnet=torch.zeros(1)))
    with pytest.raises(EnsembleError, match="unexpected keys: controlnet"):
        read_segmoe_unets(by_hand)


def test_a_gate_needs_a_row_per_expert(by_hand: Path) -> None:
    edit_weights(by_hand, lambda tensors: tensors.update({f"{TO_Q}.gate.weight": torch.zeros(2, 16)}))
    with pytest.raises(EnsembleError, match=rf"{TO_Q}.gate.weight has shape \[2, 16\], expected .* 3 experts"):
        read_segmoe_gates(by_hand)


def test_a_plain_pipeline_is_no_segmoe_folder(tiny_spec: EnsembleSpec) -> None:
    with pytest.raises(EnsembleError, match="no segmoe_config, so this is no SegMoE folder"):
        read_segmoe_unets(Path(tiny_spec.base.source))


@pytest.fixture
def parts(tiny_spec: EnsembleSpec) -> dict[str, Any]:
    """What `write_segmoe_folder` takes, but for the folder."""
    base = base_state(tiny_spec)
    return {
        "recipe": recipe_of(tiny_spec),
        "pipeline": Path(tiny_spec.base.source),
        "base": base,
        "experts": expert_states(tiny_spec),
        "gates": random_gates(base, expert_layers(), 3),
    }


def write(parts: dict[str, Any], folder: Path) -> Path:
    write_segmoe_folder(**parts, folder=folder)
    return folder


def test_what_is_written_is_the_folder_written_by_hand(parts: dict[str, Any], by_hand: Path, tmp_path: Path) -> None:
    written = load_file(write(parts, tmp_path / "written") / "unet" / WEIGHTS)
    expected = load_file(by_hand / "unet" / WEIGHTS)
    assert any("up_blocks.2.attentions.1.transformer_blocks.0.ff.experts.2." in key for key in expected)
    assert same_states([written], [expected])


def test_what_is_written_is_read_again(parts: dict[str, Any], tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    folder = write(parts, tmp_path / "written")
    assert same_states([unet.tensors for unet in read_segmoe_unets(folder)], expected_states(tiny_spec))
    assert same_states([read_segmoe_gates(folder)], [random_gates(base_state(tiny_spec), expert_layers(), 3)])


def test_a_written_folder_has_all_that_segmoe_loads(
    parts: dict[str, Any], tiny_spec: EnsembleSpec, tmp_path: Path
) -> None:
    folder = write(parts, tmp_path / "written")
    segmoe = json.loads((folder / "unet" / "config.json").read_text())["segmoe_config"]
    indices = {"down_idx_start": 0, "down_idx_end": 2, "up_idx_start": 1, "up_idx_end": 3}
    assert indices.items() <= segmoe.items()
    assert (segmoe["num_experts"], segmoe["num_experts_per_tok"], segmoe["moe_layers"]) == (3, 2, "all")
    assert [expert["positive_prompt"] for expert in segmoe["experts"]] == ["expert-0", "expert-1", "expert-2"]
    pipeline = StableDiffusionPipeline.from_pretrained(folder, unet=naive_unet(folder))
    assert pipeline.text_encoder.config.hidden_size == 16


def test_experts_that_share_memory_can_be_written(parts: dict[str, Any], tmp_path: Path) -> None:
    parts["experts"] = [parts["base"]] * 3
    stored = load_file(write(parts, tmp_path / "written") / "unet" / WEIGHTS)
    assert torch.equal(stored[f"{TO_Q}.experts.0.weight"], stored[f"{TO_Q}.experts.2.weight"])


def test_pickled_weights_are_not_passed_on(parts: dict[str, Any], tiny_copy: Path, tmp_path: Path) -> None:
    (tiny_copy / "base" / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    write(parts | {"pipeline": tiny_copy / "base"}, tmp_path / "written")
    assert sorted(path.name for path in (tmp_path / "written" / "vae").iterdir()) == ["config.json", WEIGHTS]


def test_gates_and_recipe_must_name_the_same_layers(parts: dict[str, Any], tmp_path: Path) -> None:
    recipe, gates = parts["recipe"], parts["gates"]
    attn = dataclasses.replace(recipe, spec=dataclasses.replace(recipe.spec, moe_layers="attn"))
    with pytest.raises(EnsembleError, match=r"gates and expert layers \(attn\) differ in: .*\.ff"):
        write(parts | {"recipe": attn}, tmp_path / "written")
    with pytest.raises(EnsembleError, match=rf"gates and expert layers \(all\) differ in: {TO_Q}$"):
        write(parts | {"gates": {layer: gate for layer, gate in gates.items() if layer != TO_Q}}, tmp_path / "written")
    assert not (tmp_path / "written").exists()


def test_states_that_do_not_fit_are_refused(parts: dict[str, Any], tmp_path: Path) -> None:
    first, second, third = parts["experts"]
    lacking = {key: tensor for key, tensor in second.items() if key != f"{TO_Q}.weight"}
    with pytest.raises(EnsembleError, match=f"expert-1: keys missing or of another shape .*: {TO_Q}.weight"):
        write(parts | {"experts": [first, lacking, third]}, tmp_path / "written")
    with pytest.raises(EnsembleError, match="2 UNets for 3 experts"):
        write(parts | {"experts": [first, second]}, tmp_path / "written")


def test_an_sdxl_recipe_does_not_fit_an_sd_pipeline(parts: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(EnsembleError, match="type is 'sdxl', but the UNet is of the type 'sd'"):
        write(parts | {"recipe": dataclasses.replace(parts["recipe"], type="sdxl")}, tmp_path / "written")


def test_a_pipeline_without_a_part_and_a_folder_that_exists_are_refused(
    parts: dict[str, Any], tiny_copy: Path, tmp_path: Path
) -> None:
    with pytest.raises(EnsembleError, match="exists already; give a new folder"):
        write(parts, tmp_path)
    shutil.rmtree(tiny_copy / "base" / "vae")
    with pytest.raises(EnsembleError, match="lacks vae, which SegMoE loads too"):
        write(parts | {"pipeline": tiny_copy / "base"}, tmp_path / "written")
