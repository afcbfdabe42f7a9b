"""Which layers of a UNet belong to the experts, in SegMoE's layout."""

from __future__ import annotations

import re

from emoe_audit.types import MoeLayers

EXPERT_LAYERS: dict[MoeLayers, str] = {"attn": r"attn[12]\.to_[qkv]", "ff": "ff", "all": r"(?:attn[12]\.to_[qkv]|ff)"}


def is_expert_layer(key: str, moe_layers: MoeLayers) -> bool:
    """Whether the key of a down block, see `as_down`, belongs to the experts in SegMoE's layout.

    Down blocks 0 to 2 where they have attention; `attn` is `to_q`, `to_k` and `to_v` (not `to_out`) of both attentions,
    `ff` the whole feed-forward. The mid-block stays dense.
    """
    layers = EXPERT_LAYERS[moe_layers]
    return bool(re.match(rf"down_blocks\.[0-2]\.attentions\.\d+\.transformer_blocks\.\d+\.{layers}\.", key))


def as_down(key: str, n_blocks: int) -> str:
    """The key of an up block as that of the down block that it mirrors, of `n_blocks`; any other as it is.

    An up block's layers are the experts' where those of its down block are: in Stable Diffusion 1.x and 2.x down blocks
    0 to 2 and up blocks 1 to 3, in SDXL down blocks 1 and 2 and up blocks 0 and 1.
    """
    return re.sub(r"^up_blocks\.(\d+)", lambda match: f"down_blocks.{n_blocks - 1 - int(match[1])}", key)
