"""Gated paths: an expert's own layers in the first attention, the mixture of all experts in every later one.

So the paths separate where those of a mixture by SegMoE (segmind/segmoe 0.0.4) do, and from there every member carries
its own activations through the same layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.nn.functional import normalize

from emoe_audit.experts.gates import GATE_EPS, expert_layers, gated_unet, mean_inputs
from emoe_audit.types import MoeLayers


@torch.inference_mode()
def gated_paths(
    unets: Sequence[UNet2DConditionModel],
    moe_layers: MoeLayers,
    top_k: int,
    walk: Callable[[UNet2DConditionModel], object],
    *,
    split: int = 0,
) -> list[UNet2DConditionModel]:
    """One member per expert; weights are shared with `unets`, the experts of a shared trunk from block `split` on.

    As in SegMoE, an expert's row in a gate is the layer's input on the expert's own path, averaged over tokens and
    normalised; but here under the empty prompt in the first step, so that no prompt is favoured. `walk` takes that
    path through a UNet.

    Raises `EnsembleError` for a `top_k` that is not 1 to the number of experts, and for experts that differ in other
    layers than those.
    """
    blocks = tuple(f"down_blocks.{block}." for block in range(split, len(unets[0].down_blocks)))
    layers = [name for name in expert_layers(unets[0], moe_layers) if name.startswith(blocks)]
    first = [name for name in layers if name.startswith(layers[0].partition(".transformer_blocks")[0])]
    inputs = [_inputs(unet, layers, walk) for unet in unets]
    gates = {name: normalize(torch.stack([own[name] for own in inputs]), dim=-1, eps=GATE_EPS) for name in layers}
    members = []
    for unet in unets:
        member = gated_unet(unets, gates, top_k)
        for name in first:
            member.set_submodule(name, unet.get_submodule(name))
        members.append(member)
    return members


def _inputs(
    unet: UNet2DConditionModel, layers: Sequence[str], walk: Callable[[UNet2DConditionModel], object]
) -> dict[str, Tensor]:
    with mean_inputs(unet, layers) as inputs:
        walk(unet)
    return inputs
