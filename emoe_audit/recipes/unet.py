"""The base UNet on all drawing styles, and one expert for each style fine-tuned from it."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel

from emoe_audit.recipes.contrastive import Examples
from emoe_audit.recipes.sampling import Sampler
from emoe_audit.recipes.training import train

BATCH = 64
BASE_STEPS, EXPERT_STEPS = 13000, 1000
CAPTION_DROPOUT = 0.1
MIN_SNR_GAMMA = 5.0
EXPERT_LAYERS = re.compile(r"\.attn[12]\.to_[qkv]\.|\.ff\.net\.")
"""What an expert may change: SegMoE's `all` layout, in every block."""


def make_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        clip_sample=False,
        set_alpha_to_one=False,
    )


def make_unet() -> UNet2DConditionModel:
    """Three levels with cross-attention on 8 x 8 x 8 latents."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=8,
        out_channels=8,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        block_out_channels=(64, 128, 144),
        layers_per_block=1,
        cross_attention_dim=128,
        attention_head_dim=(2, 4, 4),
        norm_num_groups=16,
    )


class Denoising:
    """The denoising loss with min-SNR weights (arXiv 2303.09556) on precomputed latents."""

    def __init__(self, examples: Examples, latents: Tensor, text_encoder: CLIPTextModel, empty_ids: Tensor) -> None:
        self.examples, self.latents, self.text_encoder, self.empty_ids = (
            examples,
            latents,
            text_encoder.eval(),
            empty_ids,
        )
        self.alphas = make_scheduler().alphas_cumprod.to(latents.device)

    def loss(self, unet: UNet2DConditionModel, sampler: Sampler, stage: str, step: int) -> Tensor:
        """Mean over the batch of one step."""
        batch = sampler.draw(stage, step, BATCH)
        latents = self.latents[self.examples.places(batch)]
        ids = self.examples.tokens(batch)
        dropped = torch.rand(BATCH, device=ids.device) < CAPTION_DROPOUT
        with torch.no_grad():
            states = self.text_encoder(input_ids=torch.where(dropped[:, None], self.empty_ids, ids)).last_hidden_state
        timesteps = torch.randint(len(self.alphas), (BATCH,), device=latents.device)
        noise = torch.randn_like(latents)
        alpha = self.alphas[timesteps].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        predicted = unet(noisy, timesteps, encoder_hidden_states=states).sample.float()
        snr = (alpha / (1 - alpha)).flatten()
        weight = (MIN_SNR_GAMMA / snr).clamp(max=1.0)
        return (weight * (predicted - noise).square().mean(dim=(1, 2, 3))).mean()


def train_base(denoising: Denoising, sampler: Sampler, folder: Path) -> UNet2DConditionModel:
    """The base, on every style."""
    torch.manual_seed(sampler.seed)
    unet = make_unet().to(denoising.latents.device)

    def loss(step: int) -> Tensor:
        return denoising.loss(unet, sampler, "base", step)

    train("base", unet, loss, steps=BASE_STEPS, learning_rate=8e-4, folder=folder, ema_decay=0.999)
    return unet


def train_expert(
    denoising: Denoising, base: UNet2DConditionModel, sampler: Sampler, style: str, folder: Path
) -> dict[str, Tensor]:
    """Fine-tune `EXPERT_LAYERS` on one style; returns only the weights that differ from the base's."""
    torch.manual_seed(sampler.seed)
    unet = make_unet().to(denoising.latents.device)
    unet.load_state_dict(base.state_dict())
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(EXPERT_LAYERS.search(name) is not None)

    def loss(step: int) -> Tensor:
        return denoising.loss(unet, sampler, f"expert {style}", step)

    train(f"expert-{style}", unet, loss, steps=EXPERT_STEPS, learning_rate=4e-4, folder=folder, ema_decay=0.99)
    return {name: weight for name, weight in unet.state_dict().items() if EXPERT_LAYERS.search(name)}
