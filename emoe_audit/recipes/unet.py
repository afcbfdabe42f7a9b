"""The base UNet on all drawing styles, and one expert for each style fine-tuned from it."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel

from emoe_audit.experts.models import STABLE_DIFFUSION_NOISE
from emoe_audit.recipes.contrastive import Examples
from emoe_audit.recipes.sampling import Sampler
from emoe_audit.recipes.training import train

WIDTHS = (64, 128, 144)
"""Channels of each level."""
BATCH = 64
CAPTION_DROPOUT = 0.1
MIN_SNR_GAMMA = 5.0
EXPERT_LAYERS = re.compile(r"\.attn[12]\.to_[qkv]\.|\.ff\.net\.")
"""What an expert may change: SegMoE's `all` layout, in every block."""


def make_scheduler() -> DDIMScheduler:
    """Stable Diffusion 2's: amid pure noise, where scores are read, a velocity is the image that the text names."""
    return DDIMScheduler(**STABLE_DIFFUSION_NOISE, prediction_type="v_prediction")


def make_unet() -> UNet2DConditionModel:
    """Three levels with cross-attention on 8 x 8 x 8 latents."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=8,
        out_channels=8,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        cross_attention_dim=128,
        attention_head_dim=(2, 4, 4),
        norm_num_groups=16,
    )


@torch.no_grad()
def caption_states(text_encoder: CLIPTextModel, examples: Examples) -> Tensor:
    """What cross-attention sees of every caption, float32 `[language, concept, 32, 128]`."""
    chunks = [text_encoder.eval()(input_ids=ids).last_hidden_state for ids in examples.ids.flatten(0, 1).split(512)]
    return torch.cat(chunks).view(*examples.ids.shape, -1)


class Denoising:
    """The denoising loss on precomputed latents and states.

    The error of the velocity (arXiv 2202.00512) weighted so that the error of the image counts min(SNR, 5) + 1 fold:
    capped where there is little noise (min-SNR, arXiv 2303.09556), full where there is nothing but noise and text.
    """

    def __init__(self, examples: Examples, latents: Tensor, states: Tensor, empty_state: Tensor) -> None:
        self.examples, self.latents, self.states, self.empty_state = examples, latents, states, empty_state
        self.scheduler = make_scheduler()
        self.alphas = self.scheduler.alphas_cumprod.to(latents.device)

    def loss(self, unet: UNet2DConditionModel, sampler: Sampler, stage: str, step: int) -> Tensor:
        """Mean over the batch of one step."""
        batch = sampler.draw(stage, step, BATCH)
        latents = self.latents[self.examples.places(batch)]
        states = self.states[torch.from_numpy(batch.languages), torch.from_numpy(batch.concepts)]
        dropped = torch.rand(BATCH, device=latents.device) < CAPTION_DROPOUT
        states = torch.where(dropped[:, None, None], self.empty_state, states)
        timesteps = torch.randint(len(self.alphas), (BATCH,), device=latents.device)
        noise = torch.randn_like(latents)
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        predicted = unet(noisy, timesteps, encoder_hidden_states=states).sample.float()
        velocity = self.scheduler.get_velocity(latents, noise, timesteps)
        snr = self.alphas[timesteps] / (1 - self.alphas[timesteps])
        weight = (snr.clamp(max=MIN_SNR_GAMMA) + 1) / (snr + 1)
        return (weight * (predicted - velocity).square().mean(dim=(1, 2, 3))).mean()


def train_base(denoising: Denoising, sampler: Sampler, steps: int, folder: Path) -> UNet2DConditionModel:
    """The base, on every style."""
    torch.manual_seed(sampler.seed)
    unet = make_unet().to(denoising.latents.device)

    def loss(step: int) -> Tensor:
        return denoising.loss(unet, sampler, "base", step)

    train("base", unet, loss, steps=steps, learning_rate=8e-4, folder=folder, ema_decay=0.999)
    return unet


def train_expert(
    denoising: Denoising, base: UNet2DConditionModel, sampler: Sampler, style: str, steps: int, folder: Path
) -> dict[str, Tensor]:
    """Fine-tune `EXPERT_LAYERS` on one style; returns only the weights that differ from the base's."""
    torch.manual_seed(sampler.seed)
    unet = make_unet().to(denoising.latents.device)
    unet.load_state_dict(base.state_dict())
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(EXPERT_LAYERS.search(name) is not None)

    def loss(step: int) -> Tensor:
        return denoising.loss(unet, sampler, f"expert {style}", step)

    train(f"expert-{style}", unet, loss, steps=steps, learning_rate=4e-4, folder=folder, ema_decay=0.99)
    return {name: weight for name, weight in unet.state_dict().items() if EXPERT_LAYERS.search(name)}
