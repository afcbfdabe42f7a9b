"""Checkpoints as people bring them: folders, names and links that were met in the field are read, or told."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.ensemble import Ensemble, load_ensemble
from emoe_audit.experts.spec import load_spec

pytestmark = pytest.mark.slow

FIELD = Path(__file__).parents[1] / "field"
QUERY = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def field(tiny_copy: Path) -> Path:
    """The inputs where they lie in the field: `field/NAME/` beside the folder of the tiny ensemble."""
    return Path(shutil.copytree(FIELD, tiny_copy.parent / "field"))


def load(path: Path) -> Ensemble:
    return load_ensemble(load_spec(path), device="cpu")


def query(ensemble: Ensemble, expert: str) -> Tensor:
    return ensemble.unets[ensemble.experts.index(expert)].get_parameter(f"{QUERY}.weight")


def query_of_the_base(tiny: Path) -> Tensor:
    return load_file(tiny / "base" / UNET)[f"{QUERY}.weight"]


def test_lora_other_names__a_lora_in_a_folder_under_its_own_name_is_read(field: Path, tiny_copy: Path) -> None:
    row = field / "lora-other-names"
    found = query(load(row / "by-name.yaml"), "l")
    lora = load_file(row / "by-name" / "my_style_v2.safetensors")
    name = "lora_unet_" + QUERY.replace(".", "_")
    down, up, alpha = (lora[f"{name}.{part}"] for part in ("lora_down.weight", "lora_up.weight", "alpha"))
    torch.testing.assert_close(found, query_of_the_base(tiny_copy) + alpha / 4 * up @ down)


def test_lora_other_names__a_folder_of_two_loras_asks_which_is_meant(field: Path) -> None:
    folder = field / "lora-other-names" / "by-name"
    shutil.copy(folder / "my_style_v2.safetensors", folder / "my_style_v3.safetensors")
    told = (
        r"by-name: several LoRAs: my_style_v2.safetensors, my_style_v3.safetensors; name the file .*by-name/my_style_v2"
    )
    with pytest.raises(EnsembleError, match=told):
        load(folder.with_name("by-name.yaml"))


def test_lora_other_names__an_adapter_that_peft_saved_is_read_with_its_alpha(field: Path, tiny_copy: Path) -> None:
    row = field / "lora-other-names"
    found = query(load(row / "peft-adapter.yaml"), "l")
    adapter = load_file(row / "peft-adapter" / "adapter_model.safetensors")
    a, b = (adapter[f"base_model.model.{QUERY}.lora_{part}.weight"] for part in "AB")
    torch.testing.assert_close(found, query_of_the_base(tiny_copy) + 16 / 4 * b @ a)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (None, "adapter_model.safetensors: no adapter_config.json beside it, in which PEFT keeps the alpha"),
        ({"r": 4}, "adapter_config.json: lora_alpha is missing"),
        ({"lora_alpha": "16"}, "adapter_config.json: lora_alpha: input should be a valid number, found '16'"),
        ({"lora_alpha": 16, "peft_type": "LOHA"}, "peft_type: input should be 'LORA', found 'LOHA'"),
        ({"lora_alpha": 16, "use_rslora": True}, "asks for use_rslora, which is not computed here; fuse"),
        ({"lora_alpha": 16, "init_lora_weights": "pissa_niter_4"}, "is 'pissa_niter_4', which changes the base too"),
    ],
)
def test_lora_other_names__an_adapter_that_cannot_be_followed_is_told(
    field: Path, config: dict[str, object] | None, told: str
) -> None:
    row = field / "lora-other-names"
    (row / "peft-adapter" / "adapter_config.json").unlink()
    if config is not None:
        (row / "peft-adapter" / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(EnsembleError, match=told):
        load(row / "peft-adapter.yaml")


def test_lora_zero_down__a_lora_that_leaves_what_is_scored_as_it_is_would_only_repeat_the_base(field: Path) -> None:
    row = field / "lora-zero-down"
    lora = load_file(row / "lora.safetensors")
    ups = {key: tensor for key, tensor in lora.items() if key.endswith("lora_up.weight")}
    assert not any(tensor.any() for key, tensor in ups.items() if "down_blocks" in key or "mid_block" in key)
    with pytest.raises(EnsembleError, match=r"lora.safetensors: .* would only repeat the base; what it would add to"):
        load(row / "lora.yaml")


@pytest.fixture
def other(tiny_copy: Path) -> Path:
    """A whole checkpoint beside the tiny ensemble's base, the same to the last value, and an ensemble that names it."""
    shutil.copytree(tiny_copy / "base", tiny_copy / "other")
    text = (tiny_copy / "ensemble.yaml").read_text()
    (tiny_copy / "ensemble.yaml").write_text(text.replace("source: experts/expert-1", "source: other"))
    return tiny_copy / "other"


def edit_text_encoder(checkpoint: Path, key: str, value: float) -> None:
    path = checkpoint / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    tensors[key][0] += value
    save_file(tensors, path)


def test_other_text_encoder__a_checkpoint_with_another_one_is_told(other: Path) -> None:
    edit_text_encoder(other, "text_model.encoder.layers.1.mlp.fc1.weight", 1e-3)
    told = rf"{other}: its own text encoder is left out, .* they differ in encoder.layers.1.mlp.fc1.weight$"
    with pytest.warns(UserWarning, match=told):
        load(other.parent)


def test_other_text_encoder__one_that_cannot_be_compared_is_told(other: Path) -> None:
    (other / "text_encoder" / "model.safetensors").rename(other / "text_encoder" / "pytorch_model.bin")
    with pytest.warns(UserWarning, match="its own text encoder is left out, .* cannot be compared: .* pickled"):
        load(other.parent)


def test_other_text_encoder__the_same_one_in_half_precision_is_not_told(other: Path) -> None:
    path = other / "text_encoder" / "model.safetensors"
    save_file({key: tensor.half() for key, tensor in load_file(path).items()}, path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(other.parent)
    assert not caught


NEEDED = (
    "base/unet/config.json",
    f"base/{UNET}",
    "base/text_encoder/config.json",
    "base/text_encoder/model.safetensors",
    "base/tokenizer/vocab.json",
    "base/tokenizer/merges.txt",
    "base/tokenizer/tokenizer_config.json",
    "base/scheduler/scheduler_config.json",
    "experts/expert-1/unet_delta.safetensors",
    "captions.json",
    "ensemble.yaml",
)


@pytest.mark.parametrize("file", NEEDED)
def test_dangling_link__a_cache_that_was_copied_without_its_blobs_is_told(tiny_copy: Path, file: str) -> None:
    (tiny_copy / file).unlink()
    (tiny_copy / file).symlink_to("/nowhere/blob")
    with pytest.raises(EnsembleError, match=rf"{file}: broken link to /nowhere/blob; .*copy what it leads to"):
        load(tiny_copy)


@pytest.mark.parametrize("folder", ["base", "base/unet", "experts/expert-1", "judge"])
def test_dangling_link__a_folder_too(tiny_copy: Path, folder: str) -> None:
    shutil.rmtree(tiny_copy / folder)
    (tiny_copy / folder).symlink_to("/nowhere")
    with pytest.raises(EnsembleError, match=rf"{folder}: broken link to /nowhere"):
        load(tiny_copy)


def test_dangling_link__a_shard_too(tiny_copy: Path) -> None:
    unet = tiny_copy / "base" / "unet"
    (tiny_copy / "base" / UNET).unlink()
    index = {"weight_map": {"conv_in.weight": "a-00001-of-00001.safetensors"}}
    (unet / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    (unet / "a-00001-of-00001.safetensors").symlink_to("/nowhere/blob")
    with pytest.raises(EnsembleError, match=r"a-00001-of-00001.safetensors: broken link to /nowhere/blob"):
        load(tiny_copy)


def test_dangling_link__a_lora_too(field: Path) -> None:
    row = field / "lora-other-names"
    (row / "by-name" / "my_style_v2.safetensors").unlink()
    (row / "by-name" / "my_style_v2.safetensors").symlink_to("/nowhere/blob")
    with pytest.raises(EnsembleError, match=r"my_style_v2.safetensors: broken link to /nowhere/blob"):
        load(row / "by-name.yaml")
