"""One expert's path through its UNet: from the noise to the features after the mid-block.

In Stable Diffusion 1.x and 2.x nothing before the first attention depends on the prompt. `prompt_free_start` is that
part, done once per expert and noise; `mid_block_features` is the rest, done per prompt.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.unets.unet_2d_blocks import CrossAttnDownBlock2D, DownBlock2D
from jaxtyping import Float, Shaped
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class PathStart:
    """What one expert makes of one noise before it has seen a prompt."""

    hidden: Float[Tensor, "1 channel height width"]
    """After `conv_in` and the first residual block."""
    time: Float[Tensor, "1 embedding"]
    """The embedding of the timestep."""


@torch.inference_mode()
def prompt_free_start(
    unet: UNet2DConditionModel, latent: Float[Tensor, "1 channel height width"], timestep: Shaped[Tensor, ""]
) -> PathStart:
    """`conv_in`, the embedding of the timestep, and the first residual block of the first down block."""
    time = unet.time_embedding(unet.get_time_embed(latent, timestep))
    hidden = unet.down_blocks[0].resnets[0](unet.conv_in(latent), time)
    return PathStart(hidden=hidden, time=time)


@torch.inference_mode()
def mid_block_features(
    unet: UNet2DConditionModel, start: PathStart, prompt_embeds: Float[Tensor, "batch token state"]
) -> Float[Tensor, "batch channel height width"]:
    """The latent after the mid-block, equal to what diffusers' own UNet computes there (float rounding aside).

    The time embedding keeps a batch of one; the residual blocks broadcast it.
    """
    hidden = start.hidden.expand(len(prompt_embeds), -1, -1, -1)
    for index, block in enumerate(unet.down_blocks):
        hidden = _down_block(block, hidden, start.time, prompt_embeds, first_is_done=index == 0)
    features: Tensor = unet.mid_block(hidden, start.time, encoder_hidden_states=prompt_embeds)
    return features


def _down_block(
    block: CrossAttnDownBlock2D | DownBlock2D,
    hidden: Tensor,
    time: Tensor,
    prompt_embeds: Tensor,
    *,
    first_is_done: bool,
) -> Tensor:
    attentions = getattr(block, "attentions", [None] * len(block.resnets))
    for index, (resnet, attention) in enumerate(zip(block.resnets, attentions, strict=True)):
        if not (first_is_done and index == 0):
            hidden = resnet(hidden, time)
        if attention is not None:
            hidden = attention(hidden, encoder_hidden_states=prompt_embeds, return_dict=False)[0]
    for downsampler in block.downsamplers or ():
        hidden = downsampler(hidden)
    return hidden
