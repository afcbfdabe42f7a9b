"""A tiny SDXL checkpoint as diffusers writes it, and experts of it."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from emoe_audit.experts.tiny import text_config, write_byte_tokenizer
from emoe_audit.types import EnsembleSpec, ExpertSpec

WIDTHS, POOLED, TIME_WIDTH = (16, 24), 20, 8


def make_tiny_sdxl(folder: Path) -> EnsembleSpec:
    """A whole pipeline under `folder/base`, and two further UNets as independent experts."""
    torch.manual_seed(0)
    vocabulary = write_byte_tokenizer(folder / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    first, second = (text_config(vocabulary, width=width, pooled=POOLED, n_layers=3) for width in WIDTHS)
    StableDiffusionXLPipeline(
        vae=AutoencoderKL(block_out_channels=(8,), norm_num_groups=4),
        text_encoder=CLIPTextModel(first),
        text_encoder_2=CLIPTextModelWithProjection(second),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=_unet(),
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="leading"),
    ).save_pretrained(folder / "base")
    for name in ("a", "b"):
        _unet().save_pretrained(folder / name / "unet")
    return EnsembleSpec(
        name="tiny-sdxl",
        base=ExpertSpec(name="base", source=str(folder / "base")),
        experts=tuple(ExpertSpec(name=name, source=str(folder / name)) for name in ("a", "b")),
    )


def _unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 3),
        layers_per_block=2,
        cross_attention_dim=sum(WIDTHS),
        attention_head_dim=(1, 2, 2),
        norm_num_groups=4,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_WIDTH,
        projection_class_embeddings_input_dim=POOLED + 6 * TIME_WIDTH,
    )
