"""The first transformer of a UNet, cut in two where the prompt enters it: at its first cross-attention.

Together the two parts compute what `diffusers.Transformer2DModel` does.
"""

from __future__ import annotations

from diffusers import Transformer2DModel
from jaxtyping import Float
from torch import Tensor


def before_prompt(
    transformer: Transformer2DModel, hidden: Float[Tensor, "batch channel height width"]
) -> Float[Tensor, "batch pixel inner"]:
    """The tokens after the first block's self-attention; `hidden` is what the transformer is given."""
    block, tokens = transformer.transformer_blocks[0], transformer.norm(hidden)
    if transformer.use_linear_projection:
        tokens = transformer.proj_in(tokens.flatten(2).mT)
    else:
        tokens = transformer.proj_in(tokens).flatten(2).mT
    return tokens + block.attn1(block.norm1(tokens))


def from_prompt(
    transformer: Transformer2DModel,
    hidden: Float[Tensor, "batch channel height width"],
    tokens: Float[Tensor, "batch pixel inner"],
    prompt_embeds: Float[Tensor, "batch token state"],
) -> Float[Tensor, "batch channel height width"]:
    """The transformer's output for the `hidden` that it is given and the `tokens` of `before_prompt`."""
    first, *others = transformer.transformer_blocks
    tokens = tokens + first.attn2(first.norm2(tokens), encoder_hidden_states=prompt_embeds)
    tokens = tokens + first.ff(first.norm3(tokens))
    for block in others:
        tokens = block(tokens, encoder_hidden_states=prompt_embeds)
    if transformer.use_linear_projection:
        projected = transformer.proj_out(tokens).mT.unflatten(2, hidden.shape[2:])
    else:
        projected = transformer.proj_out(tokens.mT.unflatten(2, hidden.shape[2:]))
    return hidden + projected
