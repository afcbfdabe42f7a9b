"""Models from files: published and new layouts, and keys that do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.models import (
    build_text_encoder,
    build_unet,
    check_unet_config,
    read_scheduler,
    read_text_encoder,
    read_tokenizer,
)
from emoe_audit.experts.sources import UNetWeights, read_unet
from emoe_audit.types import EnsembleSpec

TEXT = "a dog, ein Hund, कुत्ता, 犬 🐕 <|endoftext|> \x00"


@pytest.fixture
def unet(tiny_spec: EnsembleSpec) -> UNetWeights:
    return read_unet(Path(tiny_spec.base.source))


def change_json(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def text_states(folder: Path) -> torch.Tensor:
    model = build_text_encoder(*read_text_encoder(folder), str(folder))
    ids = read_tokenizer(folder)([TEXT], padding="max_length", max_length=32, truncation=True, return_tensors="pt")
    states: torch.Tensor = model(ids.input_ids).last_hidden_state
    return states


def test_a_unet_ends_after_its_mid_block_and_takes_over_the_tensors(unet: UNetWeights) -> None:
    model = build_unet(unet.config, unet.tensors, unet.where)
    parameters = dict(model.named_parameters())
    assert parameters.keys() == unet.tensors.keys()
    assert all(parameters[key].data_ptr() == unet.tensors[key].data_ptr() for key in parameters)
    assert not model.training


def test_missing_unexpected_and_wrongly_shaped_keys_are_named(unet: UNetWeights) -> None:
    tensors = dict(unet.tensors)
    del tensors["conv_in.bias"]
    tensors["mid_block.odd"] = torch.zeros(1)
    tensors["conv_in.weight"] = torch.zeros(3, 3)
    with pytest.raises(EnsembleError) as error:
        build_unet(unet.config, tensors, "here")
    for part in (
        "here: missing keys: conv_in.bias",
        "unexpected keys: mid_block.odd",
        "conv_in.weight has shape [3, 3], expected [8, 4, 3, 3]",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("addition_embed_type", "text_time", "addition_embed_type is 'text_time'"),
        ("_class_name", "FluxTransformer2DModel", "only Stable Diffusion 1.x and 2.x"),
        ("time_cond_proj_dim", 256, "time_cond_proj_dim"),
        ("in_channels", 9, "inpainting"),
        ("down_block_types", ["SimpleCrossAttnDownBlock2D"], "SimpleCrossAttnDownBlock2D"),
    ],
)
def test_other_kinds_of_unet_are_refused(unet: UNetWeights, field: str, value: object, expected: str) -> None:
    with pytest.raises(EnsembleError, match=expected):
        check_unet_config(unet.config | {field: value}, "here")


def test_a_unet_that_diffusers_cannot_build_is_refused(unet: UNetWeights) -> None:
    with pytest.raises(EnsembleError, match="here: diffusers cannot build this UNet"):
        build_unet(unet.config | {"norm_num_groups": 7}, unet.tensors, "here")


def test_the_text_encoder_equals_that_of_transformers(tiny_spec: EnsembleSpec) -> None:
    folder = Path(tiny_spec.base.source)
    theirs = CLIPTextModel.from_pretrained(folder / "text_encoder")
    ids = CLIPTokenizer.from_pretrained(folder / "tokenizer")(
        [TEXT], padding="max_length", max_length=32, truncation=True, return_tensors="pt"
    )
    torch.testing.assert_close(text_states(folder), theirs(ids.input_ids).last_hidden_state, rtol=0, atol=0)


def test_the_layout_of_transformers_5_reads_like_the_published_one(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    published = Path(tiny_spec.base.source)
    build_text_encoder(*read_text_encoder(published), "here").save_pretrained(tmp_path / "text_encoder")
    CLIPTokenizer.from_pretrained(published / "tokenizer").save_pretrained(tmp_path / "tokenizer")
    assert not (tmp_path / "tokenizer" / "vocab.json").exists()
    key = "embeddings.token_embedding.weight"
    assert key in load_file(tmp_path / "text_encoder" / "model.safetensors")
    assert f"text_model.{key}" in load_file(published / "text_encoder" / "model.safetensors")
    torch.testing.assert_close(text_states(tmp_path), text_states(published), rtol=0, atol=0)


def test_stored_position_ids_of_old_checkpoints_are_ignored(tiny_copy: Path) -> None:
    path = tiny_copy / "base" / "text_encoder" / "model.safetensors"
    before = text_states(tiny_copy / "base")
    save_file(load_file(path) | {"text_model.embeddings.position_ids": torch.arange(32)[None]}, path)
    torch.testing.assert_close(text_states(tiny_copy / "base"), before, rtol=0, atol=0)


def test_a_text_encoder_without_a_layer_is_refused_by_key(tiny_copy: Path) -> None:
    path = tiny_copy / "base" / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    del tensors["text_model.final_layer_norm.bias"]
    save_file(tensors, path)
    with pytest.raises(EnsembleError, match=r"missing keys: final_layer_norm.bias"):
        text_states(tiny_copy / "base")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"model_type": "t5"}, "model_type is 't5', expected 'clip_text_model'"),
        ({"hidden_size": "wide"}, "not a readable CLIP text configuration"),
        ({"hidden_act": "nope"}, "transformers cannot build this text encoder"),
    ],
)
def test_other_text_encoders_are_refused(tiny_copy: Path, fields: dict[str, Any], expected: str) -> None:
    change_json(tiny_copy / "base" / "text_encoder" / "config.json", **fields)
    with pytest.raises(EnsembleError, match=expected):
        text_states(tiny_copy / "base")


def test_a_missing_tokenizer_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(EnsembleError, match=r"tokenizer: no tokenizer here; expected vocab.json and merges.txt"):
        read_tokenizer(tmp_path)


def test_a_broken_tokenizer_is_named(tiny_copy: Path) -> None:
    (tiny_copy / "base" / "tokenizer" / "vocab.json").write_text("{")
    with pytest.raises(EnsembleError, match="not a readable CLIP tokenizer"):
        read_tokenizer(tiny_copy / "base")


@pytest.mark.parametrize("name", ["PNDMScheduler", "EulerDiscreteScheduler"])
def test_the_scheduler_is_of_the_class_it_names(tiny_copy: Path, name: str) -> None:
    change_json(tiny_copy / "base" / "scheduler" / "scheduler_config.json", _class_name=name)
    assert type(read_scheduler(tiny_copy / "base")[1]) is getattr(diffusers, name)


@pytest.mark.parametrize("name", ["NopeScheduler", "StableDiffusionPipeline", None])
def test_what_is_no_scheduler_is_refused(tiny_copy: Path, name: str | None) -> None:
    change_json(tiny_copy / "base" / "scheduler" / "scheduler_config.json", _class_name=name)
    with pytest.raises(EnsembleError, match="no scheduler of diffusers"):
        read_scheduler(tiny_copy / "base")
