"""Which layers of a UNet belong to the experts, in SegMoE's layout."""

from __future__ import annotations

import re

from emoe_audit.types import MoeLayers

EXPERT_LAYERS: dict[MoeLayers, str] = {"attn": r"attn[12]\.to_[qkv]", "ff": "ff", "all": r"(?:attn[12]\.to_[qkv]|ff)"}


def is_expert_layer(key: str, moe_layers: MoeLayers) -> bool:
    """Whether a UNet key belongs to the experts in SegMoE's layout of Stable Diffusion 1.x and 2.x.

    The down blocks 0 to 2 where they have attention; `attn` is `to_q`, `to_k` and `to_v` (not `to_out`) of both
    attentions, `ff` the whole feed-forward. Up blocks do not matter to a score; the mid-block stays dense.
    """
    layers = EXPERT_LAYERS[moe_layers]
    return bool(re.match(rf"down_blocks\.[0-2]\.attentions\.\d+\.transformer_blocks\.\d+\.{layers}\.", key))
