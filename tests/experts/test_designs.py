"""Configurations of UNets and text encoders: published ones pass, others are told by field before anything is built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.designs import check_text_config, check_unet_config
from emoe_audit.experts.models import empty_unet
from emoe_audit.experts.single_file import CONFIGS
from emoe_audit.experts.tiny import text_config

PUBLISHED = sorted(CONFIGS.glob("*/unet/config.json"))
PUBLISHED_TEXTS = sorted(CONFIGS.glob("*/text_encoder*/config.json"))


def read(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(path.read_text())
    return config


@pytest.fixture
def config() -> dict[str, Any]:
    """Of Stable Diffusion 1.x, which says little, so that fields can be added."""
    return read(CONFIGS / "sd1" / "unet" / "config.json")


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.parts[-3])
def test_published_unets_pass_as_they_are_and_with_all_defaults_filled_in(path: Path) -> None:
    check_unet_config(read(path), "here")
    check_unet_config(dict(empty_unet(read(path), "here").config), "here")


@pytest.mark.parametrize("path", PUBLISHED_TEXTS, ids=lambda path: "-".join(path.parts[-3:-1]))
def test_published_text_encoders_pass(path: Path) -> None:
    check_text_config(read(path), "here")
    check_text_config(text_config(514).to_dict(), "here")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("addition_embed_type", "text_image", "addition_embed_type is 'text_image'"),
        ("_class_name", "FluxTransformer2DModel", "only Stable Diffusion 1.x, 2.x and SDXL"),
        ("time_cond_proj_dim", 256, "time_cond_proj_dim"),
        ("in_channels", 9, "inpainting"),
        ("down_block_types", ["SimpleCrossAttnDownBlock2D"], "SimpleCrossAttnDownBlock2D"),
        ("addition_embed_type", "text_time", "addition_time_embed_dim and projection_class_.* are needed"),
    ],
)
def test_other_kinds_of_unet_are_refused(config: dict[str, Any], field: str, value: object, expected: str) -> None:
    with pytest.raises(EnsembleError, match=expected):
        check_unet_config(config | {field: value}, "here")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cross_attention_dim", "x"),
        ("cross_attention_dim", {"a": 1}),
        ("down_block_types", 5),
        ("down_block_types", [["DownBlock2D"]]),
        ("block_out_channels", []),
        ("block_out_channels", "320"),
        ("block_out_channels", [320, 640, 1280, 10**12]),
        ("block_out_channels", [320] * 100),
        ("layers_per_block", 10**9),
        ("layers_per_block", [2, 2, 2, True]),
        ("transformer_layers_per_block", [1, [2, 10**9], 1, 1]),
        ("reverse_transformer_layers_per_block", [[10**9]] * 4),
        ("attention_head_dim", 0),
        ("norm_eps", "small"),
        ("norm_eps", None),
        ("norm_num_groups", 0),
        ("sample_size", 10**6),
        ("sample_size", "64"),
        ("sample_size", True),
        ("mid_block_scale_factor", 0),
        ("freq_shift", "x"),
        ("flip_sin_to_cos", "yes"),
        ("act_fn", 5),
        ("downsample_padding", -1),
        ("resnet_time_scale_shift", "spatial"),
        ("time_embedding_dim", 2**40),
    ],
)
def test_a_field_of_another_type_or_size_is_told_and_nothing_is_built(
    config: dict[str, Any], field: str, value: object
) -> None:
    with pytest.raises(EnsembleError, match=rf"^here: {field}"):
        empty_unet(config | {field: value}, "here")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("up_block_types", 5),
        ("up_block_types", ["UpBlock2D"]),
        ("block_out_channels", [320, 640]),
        ("attention_head_dim", [8]),
        ("transformer_layers_per_block", [1]),
        ("act_fn", "nope"),
        ("norm_num_groups", 7),
        ("conv_out_kernel", "x"),
        ("dropout", 7),
        ("encoder_hid_dim", "x"),
        ("num_attention_heads", "x"),
    ],
)
def test_fields_that_do_not_fit_each_other_are_told(config: dict[str, Any], field: str, value: object) -> None:
    with pytest.raises(EnsembleError, match=r"^here: diffusers cannot build this UNet"):
        empty_unet(config | {field: value}, "here")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_hidden_layers", 10**9),
        ("num_hidden_layers", 0),
        ("hidden_size", "wide"),
        ("vocab_size", 2**40),
        ("max_position_embeddings", 10**12),
        ("num_attention_heads", 0),
        ("hidden_act", ["gelu"]),
        ("layer_norm_eps", None),
        ("eos_token_id", -1),
    ],
)
def test_a_text_encoder_of_another_type_or_size_is_told(field: str, value: object) -> None:
    config = read(CONFIGS / "sd1" / "text_encoder" / "config.json")
    with pytest.raises(EnsembleError, match=rf"^here: {field}"):
        check_text_config(config | {field: value}, "here")
