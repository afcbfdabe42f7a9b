"""The mixture draws: one UNet in which each prompt is routed to its experts layer by layer, as SegMoE's models draw.

The route of a prompt is that of SegMoE (segmind/segmoe 0.0.4) for one prompt at a time, whatever else is drawn with it:
in each expert layer the experts whose gates fit the prompt's tokens best, both halves of classifier-free guidance
counted together. Gates of a folder that SegMoE saved are its own. Of any other ensemble they are made as SegMoE makes
them, in the base's pipeline: from the prompts that the ensemble names for its experts, else from the empty one. A gate
that is the same for all experts chooses nobody, so there all are mixed alike.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.checkpoint import read_whole_unet, whole
from emoe_audit.experts.gates import GATE_STEPS, GatedLayer, build_gates, expert_layers, gated_unet
from emoe_audit.experts.models import build_unet, empty_unet
from emoe_audit.experts.paths import read_path
from emoe_audit.experts.residency import TensorMover, gib
from emoe_audit.experts.segmoe import read_segmoe_gates, read_segmoe_layout, read_segmoe_unets
from emoe_audit.experts.sources import UNetWeights, fetch_base, is_any
from emoe_audit.mixture.forecasts import Foreseen, LastStep
from emoe_audit.mixture.shelf import Shelf, shelved_unet
from emoe_audit.types import EnsembleSpec, GatePrompts, MixtureSpec

log = logging.getLogger(__name__)
GATE_SEED = 0
SAME = 1e-6
"""Difference of gates, which have length 1, that is rounding."""


def mixed(
    spec: EnsembleSpec,
    load: Callable[[UNet2DConditionModel], Any],
    *,
    halves: int,
    device: torch.device,
    memory_budget: int | None = None,
) -> Any:
    """The pipeline that draws the mixture.

    Args:
        spec: An ensemble with a shared trunk.
        load: Gives the base's pipeline with a UNet in the place of its own.
        halves: Of a batch: 2 under classifier-free guidance.
        device: Where the pipeline is.
        memory_budget: Bytes for all weights; what the experts' layers take more lies in files, see `shelf`.

    Raises:
        EnsembleError: experts or gates do not fit, or the budget is too small.
    """
    parts = _parts(spec, halves, device)
    pipeline = _in_memory(parts, load) if memory_budget is None else _on_a_shelf(parts, load, memory_budget)
    for layer in _gated(pipeline):
        if _tells_nobody_apart(layer.gate):
            layer.top_k = len(spec.experts)
    return pipeline


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """What a mixture is put together from."""

    spec: EnsembleSpec
    trunk: UNetWeights
    paths: Iterable[UNetWeights]
    """Of each expert, read when it is its turn."""
    mixture: MixtureSpec
    gates: dict[str, Tensor] | None
    """None where they are to be made."""
    halves: int
    device: torch.device


def _parts(spec: EnsembleSpec, halves: int, device: torch.device) -> _Parts:
    saved = _saved(spec)
    trunk = whole(saved.experts[0]) if saved else read_whole_unet(spec.base)
    return _Parts(
        spec=spec,
        trunk=trunk,
        paths=saved.experts if saved else (read_path(spec, expert, trunk) for expert in spec.experts),
        mixture=spec.mixture or MixtureSpec(top_k=saved.top_k if saved else min(MixtureSpec.top_k, len(spec.experts))),
        gates=saved.gates if saved else None,
        halves=halves,
        device=device,
    )


def _in_memory(parts: _Parts, load: Callable[[UNet2DConditionModel], Any]) -> Any:
    mover = TensorMover(parts.device, torch.float32, shared=parts.trunk.tensors)
    unets = [build_unet(path.config, mover.move(path.tensors), path.where) for path in parts.paths]
    pipeline = load(unets[0])

    def in_turn() -> Iterator[Any]:
        for unet in unets:
            pipeline.unet = unet
            yield pipeline

    gates = parts.gates or _made_gates(parts, pipeline, in_turn())
    pipeline.unet = gated_unet(unets, gates, parts.mixture.top_k, parts.halves)
    return pipeline


def _on_a_shelf(parts: _Parts, load: Callable[[UNet2DConditionModel], Any], memory_budget: int) -> Any:
    trunk = parts.trunk
    layers = parts.gates or expert_layers(empty_unet(trunk.config, trunk.where, whole=True), parts.spec.moe_layers)
    unet, shelf = shelved_unet(trunk, parts.paths, layers, parts.mixture.top_k, parts.halves, parts.device)
    pipeline = load(unet)
    _keep(parts.spec, pipeline, shelf, memory_budget)

    def in_turn() -> Iterator[Any]:
        shelf.begin("")
        for expert in range(shelf.n_experts):
            for layer in _gated(pipeline):
                layer.alone = expert
            yield pipeline
        for layer in _gated(pipeline):
            layer.alone = None

    gates = parts.gates or _made_gates(parts, pipeline, in_turn())
    for name, gate in gates.items():
        own = unet.get_submodule(name).gate
        if gate.shape != own.shape:
            found, expected = list(gate.shape), list(own.shape)
            raise EnsembleError(f"{trunk.where}: gate of {name} has shape {found}, not {expected} (experts, width)")
        own.copy_(gate)
    _keep(parts.spec, pipeline, shelf, memory_budget)
    return pipeline


def _gated(pipeline: Any) -> list[Any]:
    return [layer for layer in pipeline.unet.modules() if isinstance(layer, GatedLayer)]


def _keep(spec: EnsembleSpec, pipeline: Any, shelf: Shelf, memory_budget: int) -> None:
    """Give the shelf what the other weights leave."""
    modules = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    others = sum(tensor.nbytes for part in modules for tensor in chain(part.parameters(), part.buffers()))
    try:
        shelf.keep(memory_budget - others, Foreseen(LastStep(), shelf.sizes))
    except ValueError as error:
        needed, all_of_them = others + max(shelf.sizes.values()), others + sum(shelf.sizes.values())
        raise EnsembleError(
            f"{spec.name}: a memory budget of {gib(memory_budget)} is too small to draw the mixture; it takes "
            f"{gib(needed)} with one layer of one expert at a time, {gib(all_of_them)} with all, besides what Python "
            "and its libraries take"
        ) from error


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


def _made_gates(parts: _Parts, pipeline: Any, in_turn: Iterator[Any]) -> dict[str, Tensor]:
    """`in_turn` gives the pipeline as each expert draws with it."""
    spec = parts.spec
    prompts = parts.mixture.prompts or [GatePrompts()] * len(spec.experts)
    log.warning("%s: gates are made, %d steps by each of %d experts", spec.name, GATE_STEPS, len(spec.experts))
    pipeline.set_progress_bar_config(disable=True)
    return build_gates(in_turn, prompts, moe_layers=spec.moe_layers, seed=GATE_SEED)
