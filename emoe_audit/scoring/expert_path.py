"""One expert's path through its UNet: from the noise to the features after the mid-block.

In Stable Diffusion 1.x and 2.x nothing before the first cross-attention depends on the prompt; in SDXL, where the
pooled text enters the embedding of the timestep, only `conv_in` does not. `prompt_free_start` is that part, done once
per expert and noise; `mid_block_features` is the rest, done per prompt.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import Transformer2DModel, UNet2DConditionModel
from diffusers.models.unets.unet_2d_blocks import CrossAttnDownBlock2D, DownBlock2D
from jaxtyping import Float, Shaped
from torch import Tensor

from emoe_audit.scoring.conditioning import TextStates
from emoe_audit.scoring.first_attention import before_prompt, from_prompt

PIXELS = 8
"""Pixels to an element of a latent, along each side."""


@dataclass(frozen=True, kw_only=True)
class PathStart:
    """What one expert makes of one noise before it has seen a prompt."""

    hidden: Float[Tensor, "1 channel height width"]
    """After `conv_in`, and after the first residual block where no pooled text enters it."""
    tokens: Float[Tensor, "1 pixel inner"] | None
    """Of the first attention that follows that block at once, before its cross-attention; None where there is none."""
    time: Float[Tensor, "1 embedding"]
    """The embedding of the timestep."""
    size: Float[Tensor, "1 six_embeddings"] | None
    """In SDXL the embedded size ids: original size, no crop, target size, all that of the model's own images."""


@torch.inference_mode()
def prompt_free_start(
    unet: UNet2DConditionModel, latent: Float[Tensor, "1 channel height width"], timestep: Shaped[Tensor, ""]
) -> PathStart:
    """What an expert can do before it has seen a prompt."""
    time, hidden = unet.time_embedding(unet.get_time_embed(latent, timestep)), unet.conv_in(latent)
    if unet.config.addition_embed_type is None:
        first = unet.down_blocks[0]
        hidden, attention = first.resnets[0](hidden, time), _attentions(first)[0]
        tokens = None if attention is None else before_prompt(attention, hidden)
        return PathStart(hidden=hidden, tokens=tokens, time=time, size=None)
    height, width = PIXELS * latent.shape[2], PIXELS * latent.shape[3]
    ids = torch.tensor([height, width, 0, 0, height, width], device=latent.device)
    size = unet.add_time_proj(ids).flatten()[None].to(latent.dtype)
    return PathStart(hidden=hidden, tokens=None, time=time, size=size)


@torch.inference_mode()
def mid_block_features(
    unet: UNet2DConditionModel, start: PathStart, states: TextStates
) -> Float[Tensor, "batch channel height width"]:
    """The latent after the mid-block, equal to what diffusers' own UNet computes there (float rounding aside).

    A time embedding that depends on no prompt keeps a batch of one; the residual blocks broadcast it.
    """
    n, embeds, time = len(states), states.embeds, start.time
    hidden = start.hidden.expand(n, -1, -1, -1)
    if start.size is not None and states.pooled is not None:
        time = time + unet.add_embedding(torch.cat([states.pooled, start.size.expand(n, -1)], dim=-1))
    for index, block in enumerate(unet.down_blocks):
        for layer, (resnet, attention) in enumerate(zip(block.resnets, _attentions(block), strict=True)):
            is_first = index == layer == 0
            if not (is_first and start.size is None):
                hidden = resnet(hidden, time)
            if is_first and start.tokens is not None:
                hidden = from_prompt(attention, hidden, start.tokens.expand(n, -1, -1), embeds)
            elif attention is not None:
                hidden = attention(hidden, encoder_hidden_states=embeds, return_dict=False)[0]
        for downsampler in block.downsamplers or ():
            hidden = downsampler(hidden)
    features: Tensor = unet.mid_block(hidden, time, encoder_hidden_states=embeds)
    return features


def _attentions(block: CrossAttnDownBlock2D | DownBlock2D) -> list[Transformer2DModel | None]:
    """The transformer behind each residual block; None where there is none."""
    return list(getattr(block, "attentions", [None] * len(block.resnets)))
