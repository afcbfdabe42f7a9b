"""The autoencoder: 64 x 64 drawings to 8 x 8 x 8 latents and back, shared by every plan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from emoe_audit.recipes.contrastive import Examples
from emoe_audit.recipes.training import bfloat16_where_fast, train

WIDTHS = (32, 64, 96, 128)
"""Channels of each level."""
STEPS, BATCH = 3600, 16
KL_WEIGHT, PERCEPTUAL_WEIGHT = 1e-6, 0.5


def train_vae(examples: Examples, judge: open_clip.CLIP, folder: Path) -> AutoencoderKL:
    """L1 and a perceptual term on the judge's early feature maps; `scaling_factor` brings latents to unit variance."""
    torch.manual_seed(0)
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=16,
        sample_size=64,
    ).to(examples.device)

    def loss(step: int) -> Tensor:
        places = np.random.default_rng([1, step]).choice(len(examples.pixels), size=BATCH)
        images = examples.images(torch.from_numpy(places).to(examples.device))
        with bfloat16_where_fast(examples.device):
            posterior = vae.encode(images).latent_dist
            decoded = vae.decode(posterior.sample()).sample
            with torch.no_grad():
                wanted = early_features(judge, images)
            found = early_features(judge, decoded)
        l1 = (decoded.float() - images).abs().mean()
        perceptual = torch.stack([F.l1_loss(a.float(), b.float()) for a, b in zip(found, wanted, strict=True)]).mean()
        return l1 + PERCEPTUAL_WEIGHT * perceptual + KL_WEIGHT * posterior.kl().float().mean()

    for parameter in judge.parameters():
        parameter.requires_grad_(False)
    train("vae", vae, loss, steps=STEPS, learning_rate=1e-3, folder=folder, ema_decay=0.999, weight_decay=0.0)
    vae.register_to_config(scaling_factor=1 / float(encode_drawings(vae, examples).std()))
    return vae


def early_features(judge: nn.Module, images: Tensor) -> list[Tensor]:
    """The stem's and the first two stages' feature maps."""
    visual = judge.visual
    maps = [visual.stem(images)]  # type: ignore[operator, union-attr]
    maps.append(visual.layer1(maps[-1]))  # type: ignore[operator, union-attr]
    maps.append(visual.layer2(maps[-1]))  # type: ignore[operator, union-attr]
    return maps


@torch.no_grad()
def encode_drawings(vae: AutoencoderKL, examples: Examples) -> Tensor:
    """Posterior means of all drawings, float32 `[n, 8, 8, 8]`, unscaled."""
    chunks = torch.arange(len(examples.pixels), device=examples.device).split(256)
    return torch.cat([vae.encode(examples.images(places)).latent_dist.mean for places in chunks])
