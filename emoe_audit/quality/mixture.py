"""The mixture draws: one UNet in which each prompt is routed to its experts layer by layer, as SegMoE's models draw.

The route of a prompt is that of SegMoE (segmind/segmoe 0.0.4) for one prompt at a time, whatever else is drawn with it:
in each expert layer the experts whose gates fit the prompt's tokens best, both halves of classifier-free guidance
counted together. Gates of a folder that SegMoE saved are its own. Of any other ensemble they are made as SegMoE makes
them, in the base's pipeline: from the prompts that the ensemble names for its experts, else from the empty one. A gate
that is the same for all experts chooses nobody, so there all are mixed alike.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.checkpoint import read_whole_unet, whole
from emoe_audit.experts.gates import GATE_STEPS, GatedLayer, build_gates, gated_unet
from emoe_audit.experts.models import build_unet
from emoe_audit.experts.paths import read_path
from emoe_audit.experts.residency import TensorMover
from emoe_audit.experts.segmoe import read_segmoe_gates, read_segmoe_layout, read_segmoe_unets
from emoe_audit.experts.sources import UNetWeights, fetch_base, is_any
from emoe_audit.types import EnsembleSpec, GatePrompts, MixtureSpec

log = logging.getLogger(__name__)
GATE_SEED = 0
SAME = 1e-6
"""Difference of gates, which have length 1, that is rounding."""


def mixed(spec: EnsembleSpec, load: Callable[[UNet2DConditionModel], Any], *, halves: int, device: torch.device) -> Any:
    """The pipeline that draws the mixture.

    Args:
        spec: An ensemble with a shared trunk.
        load: Gives the base's pipeline with a UNet in the place of its own.
        halves: Of a batch: 2 under classifier-free guidance.
        device: Where the pipeline is.

    Raises:
        EnsembleError: experts or gates do not fit.
    """
    saved = _saved(spec)
    trunk = whole(saved.experts[0]) if saved else read_whole_unet(spec.base)
    paths = saved.experts if saved else [read_path(spec, expert, trunk) for expert in spec.experts]
    mover = TensorMover(device, torch.float32, shared=trunk.tensors)
    unets = [build_unet(path.config, mover.move(path.tensors), path.where) for path in paths]
    pipeline = load(unets[0])
    mixture = spec.mixture or MixtureSpec(top_k=saved.top_k if saved else min(MixtureSpec.top_k, len(unets)))
    gates = saved.gates if saved else _made_gates(spec, mixture, pipeline, unets)
    pipeline.unet = gated_unet(unets, gates, mixture.top_k, halves)
    for layer in pipeline.unet.modules():
        if isinstance(layer, GatedLayer) and _tells_nobody_apart(layer.gate):
            layer.top_k = len(unets)
    return pipeline


def _tells_nobody_apart(gate: Tensor) -> bool:
    """Whether a gate has one row for all: so has what reads the text where one prompt made the gates of all experts."""
    return bool((gate - gate[0]).abs().max() <= SAME)


@dataclass(frozen=True, kw_only=True)
class _Saved:
    """What a folder that SegMoE saved says of the experts that an ensemble takes from it."""

    experts: Sequence[UNetWeights]
    gates: dict[str, Tensor]
    top_k: int


def _saved(spec: EnsembleSpec) -> _Saved | None:
    """None where the experts are not all of the base's own folder."""
    chosen = [own.segmoe_expert for own in spec.experts if own.source == spec.base.source and not own.loras]
    places = [place for place in chosen if place is not None]
    if len(places) < len(spec.experts):
        return None
    if spec.mixture is not None and spec.mixture.prompts:
        raise EnsembleError(f"{spec.name}: mixture: the base has gates, so none are made from prompts; leave them out")
    folder = fetch_base(spec.base)
    experts, layout = read_segmoe_unets(folder, is_any), read_segmoe_layout(folder)
    if max(places) >= len(experts):
        raise EnsembleError(f"{folder}: has no expert {max(places)}; they are numbered from 0 to {len(experts) - 1}")
    gates = {layer: gate[places] for layer, gate in read_segmoe_gates(folder).items()}
    return _Saved(experts=[experts[place] for place in places], gates=gates, top_k=min(layout.top_k, len(places)))


def _made_gates(
    spec: EnsembleSpec, mixture: MixtureSpec, pipeline: Any, unets: Sequence[UNet2DConditionModel]
) -> dict[str, Tensor]:
    prompts = mixture.prompts or [GatePrompts()] * len(unets)
    log.warning("%s: gates are made, %d steps by each of %d experts", spec.name, GATE_STEPS, len(unets))
    pipeline.set_progress_bar_config(disable=True)

    def in_turn() -> Iterator[Any]:
        for unet in unets:
            pipeline.unet = unet
            yield pipeline

    return build_gates(in_turn(), prompts, moe_layers=spec.moe_layers, seed=GATE_SEED)
