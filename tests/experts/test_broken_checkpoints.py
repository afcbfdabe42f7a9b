"""Every public form of a checkpoint, broken as downloads and mix-ups break them: one clear message."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.segmoe import write_segmoe_folder
from emoe_audit.experts.segmoe_recipe import SegmoeRecipe
from emoe_audit.types import EnsembleSpec, GatePrompts
from tests.experts.test_formats import (  # noqa: F401
    Checkpoint,
    checkpoints,
    configs,
    expert,
    load,
    narrow,
    sd_layers,
    spec_of,
)
from tests.naive_segmoe import random_gates

pytestmark = pytest.mark.slow

WEIGHTS = "diffusion_pytorch_model"
LAYER = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_q"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Form:
    """One checkpoint in one form: what an ensemble names, a file of its weights, and a key in that file."""

    spec: EnsembleSpec
    file: Path
    key: str


def in_folder(one: list[Checkpoint], place: Path) -> Form:
    unet = Path(shutil.copytree(one[1].folder / "unet", place / "unet"))
    return Form(spec=spec_of(one[0].folder, place, one[2].folder), file=unet / f"{WEIGHTS}.safetensors", key=KEY)


def in_shards(one: list[Checkpoint], place: Path) -> Form:
    UNet2DConditionModel.from_pretrained(one[1].folder / "unet").save_pretrained(place / "unet", max_shard_size="100KB")
    file = next(path for path in place.rglob("*-of-*.safetensors") if KEY in load_file(path))
    return Form(spec=spec_of(one[0].folder, place, one[2].folder), file=file, key=KEY)


def in_one_file(one: list[Checkpoint], place: Path) -> Form:
    file = Path(shutil.copy(one[1].file, place))
    key = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_q.weight"
    return Form(spec=spec_of(one[0].folder, file, one[2].folder), file=file, key=key)


def as_lora(one: list[Checkpoint], place: Path) -> Form:
    width, stem = one[0].unet[KEY].shape[0], "lora_unet_" + LAYER.replace(".", "_")
    halves = {"down": torch.randn(2, width), "up": torch.randn(width, 2)}
    file = place / "lora.safetensors"
    save_file({f"{stem}.lora_{half}.weight": tensor for half, tensor in halves.items()}, file)
    return Form(spec=spec_of(one[0].folder, file, one[2].folder), file=file, key=f"{stem}.lora_up.weight")


def in_a_segmoe_folder(one: list[Checkpoint], place: Path) -> Form:
    base, a, b = one
    spec = dataclasses.replace(spec_of(base.folder, a.folder, b.folder), assembly="shared_trunk")
    pipeline = Path(shutil.copytree(base.folder, place / "base"))
    (pipeline / "model_index.json").write_text("{}")
    prompts = tuple(GatePrompts(positive=own.name, negative="") for own in spec.experts)
    recipe = SegmoeRecipe(spec=spec, type="sd", top_k=1, init="random", prompts=prompts)
    gates = random_gates(base.unet, sd_layers(), 2)
    write_segmoe_folder(recipe, pipeline, base.unet, [a.unet, b.unet], gates, place / "mixture")
    experts = [dataclasses.replace(expert(place / "mixture"), segmoe_expert=index) for index in range(2)]
    file = place / "mixture" / "unet" / f"{WEIGHTS}.safetensors"
    return Form(spec=spec_of(base.folder, *experts), file=file, key=f"{LAYER}.experts.0.weight")


KEY = f"{LAYER}.weight"
FORMS: dict[str, Callable[[list[Checkpoint], Path], Form]] = {
    "folder": in_folder,
    "shards": in_shards,
    "single file": in_one_file,
    "lora": as_lora,
    "segmoe folder": in_a_segmoe_folder,
}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest, checkpoints: list[Checkpoint], tmp_path: Path) -> Form:  # noqa: F811
    return FORMS[request.param](checkpoints, tmp_path)


def refusal(form: Form) -> str:
    with pytest.raises(EnsembleError) as refused:
        load(form.spec)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def edited(form: Form, edit: Callable[[dict[str, Tensor]], object]) -> Form:
    tensors = load_file(form.file)
    edit(tensors)
    save_file(tensors, form.file)
    return form


def test_each_form_loads_while_it_is_whole(form: Form) -> None:
    assert len(load(form.spec).unets) == 2


@pytest.mark.parametrize("kept", [0.5, 0.999])
def test_a_truncated_file_is_named(form: Form, kept: float) -> None:
    content = form.file.read_bytes()
    form.file.write_bytes(content[: int(kept * len(content))])
    assert str(form.file) in (message := refusal(form))
    assert "was the download cut short" in message


def test_a_file_with_a_scrambled_head_is_named(form: Form) -> None:
    content = bytearray(form.file.read_bytes())
    content[8:64] = bytes(56)
    form.file.write_bytes(content)
    assert f"{form.file}: not a readable safetensors file" in refusal(form)


def test_a_missing_key_is_named(form: Form) -> None:
    message = refusal(edited(form, lambda tensors: tensors.pop(form.key)))
    assert re.search(r"missing|has no|lacks|without", message) and names(message, form.key)


def test_a_weight_of_another_architecture_is_named_with_both_shapes(form: Form) -> None:
    message = refusal(edited(form, lambda tensors: tensors.update({form.key: torch.zeros(5, 7)})))
    assert names(message, form.key) and re.search(r"shape|\[5, 7\]|do not fit|differs", message)


def names(message: str, key: str) -> bool:
    """Under the name that the file has, or diffusers' own; of a LoRA's two halves the one that is left."""
    return key in message or LAYER in message or LAYER.replace(".", "_") in message
