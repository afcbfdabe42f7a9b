"""A single file in the original layout as a pipeline that draws, put together from what is read for scores, too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, StableDiffusionXLPipeline

from emoe_audit.experts.models import assign_tensors
from emoe_audit.experts.single_file import (
    read_single_file_scheduler,
    read_single_file_text_encoders,
    read_single_file_vae,
)
from emoe_audit.experts.text_encoders import build_text_encoder
from emoe_audit.quality.autoencoder import PART


def load_single_file(path: Path, parts: Mapping[str, Any]) -> Any:
    """The pipeline of Stable Diffusion 1.x, 2.x or SDXL base, with the scheduler that was published with it.

    Args:
        path: The file.
        parts: The UNet, and an autoencoder where it is not to be the file's own.

    Raises:
        EnsembleError: the file is torn, or holds no text encoder or no autoencoder.
    """
    texts = [build_text_encoder(weights, weights.tensors) for weights in read_single_file_text_encoders(path)]
    vae = parts[PART] if PART in parts else _autoencoder(path)
    _, scheduler = read_single_file_scheduler(path)
    common = {"vae": vae, "unet": parts["unet"], "scheduler": scheduler}
    for suffix, text in zip(("", "_2"), texts, strict=False):
        common |= {f"text_encoder{suffix}": text.model, f"tokenizer{suffix}": text.tokenizer}
    if len(texts) == 2:
        return StableDiffusionXLPipeline(**common)
    return StableDiffusionPipeline(**common, safety_checker=None, feature_extractor=None, requires_safety_checker=False)


def _autoencoder(path: Path) -> AutoencoderKL:
    config, tensors = read_single_file_vae(path)
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(config)
    assign_tensors(vae, tensors, str(path))
    return vae.requires_grad_(False).eval()
