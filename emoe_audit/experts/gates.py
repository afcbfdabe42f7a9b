"""Gates: how SegMoE (segmind/segmoe 0.0.4) routes between experts inside one UNet.

A gate is a matrix `[expert, width]` per expert layer. Two things differ from the original: a prompt's route does not
depend on the other prompts of its batch, and gates are made from seeded noise.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain

import torch
from diffusers import DDPMScheduler, DiffusionPipeline, UNet2DConditionModel
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.expert_layers import as_down, is_expert_layer
from emoe_audit.experts.sources import some
from emoe_audit.types import GatePrompts, MoeLayers

GATE_STEPS = 25
GATE_EPS = 1e-8
LAYER = re.compile(r".+?\.(?:attn[12]\.to_[qkv]|ff)(?=\.)")


def expert_layers(unet: UNet2DConditionModel, moe_layers: MoeLayers) -> list[str]:
    """Names of the modules that belong to the experts in SegMoE's layout, up blocks included where there are any."""
    n_blocks, named = len(unet.down_blocks), chain(unet.named_parameters(), unet.named_buffers())
    keys = [key for key, _ in named if is_expert_layer(as_down(key, n_blocks), moe_layers)]
    return list(dict.fromkeys(match[0] for match in map(LAYER.match, keys) if match))


def build_gates(
    pipelines: Iterable[DiffusionPipeline], prompts: Sequence[GatePrompts], *, moe_layers: MoeLayers, seed: int
) -> dict[str, Tensor]:
    """The gate `[expert, width]` of every expert layer, from one pipeline and one pair of prompts per expert.

    Row i is what enters the layer in expert i's own pipeline: the conditional half under classifier-free guidance with
    the negative prompt, the mean over tokens, at the last of 25 DDPM steps, scaled to length 1. All experts start
    from the same noise, so that their order does not matter.
    """
    rows = [_hidden_states(*pair, moe_layers, seed) for pair in zip(pipelines, prompts, strict=True)]
    return {layer: normalize(torch.stack([row[layer] for row in rows]), dim=-1, eps=GATE_EPS) for layer in rows[0]}


def route(
    hidden: Float[Tensor, "batch token width"],
    gate: Float[Tensor, "expert width"],
    top_k: int,
    halves: int = 1,
    among: Bool[Tensor, " expert"] | None = None,
) -> Float[Tensor, "batch token expert"]:
    """How much of each expert every token is given: `softmax(x W^T)` over the prompt's `top_k` experts, else 0.

    These are the experts whose logits, summed over the tokens of the prompt, are the largest, all or `among` some.
    Under classifier-free guidance the batch has two `halves`, without the prompts and with them, and a prompt's tokens
    are those of both.
    """
    logits = (hidden @ gate.T).float()
    if among is not None:
        logits, top_k = logits.masked_fill(~among, -torch.inf), min(top_k, int(among.sum()))
    of_prompts = logits.sum(dim=1).unflatten(0, (halves, -1)).sum(dim=0)
    chosen = of_prompts.topk(top_k, dim=-1).indices.repeat(halves, 1)
    kept = torch.zeros_like(logits[:, 0], dtype=torch.bool).scatter(1, chosen, True)
    return logits.masked_fill(~kept[:, None], -torch.inf).softmax(dim=-1).to(hidden.dtype)


class GatedLayer(nn.Module):
    """The layers of several experts in one: their outputs, weighted by the route of each token."""

    gate: Tensor

    def __init__(
        self, experts: Sequence[nn.Module], gate: Float[Tensor, "expert width"], top_k: int, halves: int = 1
    ) -> None:
        super().__init__()
        self.experts = nn.ModuleList(experts)
        self.register_buffer("gate", gate)
        self.top_k, self.halves = top_k, halves
        self.among: Tensor | None = None
        """Which experts may be chosen, `[expert]`; None for all."""

    def forward(self, hidden: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token out"]:
        """The mixture; an expert sees the prompts that are routed to it, and is not run where there are none."""
        weights = route(hidden, self.gate, self.top_k, self.halves, self.among)
        chosen = {place: own.nonzero().squeeze(1) for place, own in enumerate(weights.any(dim=1).T) if own.any()}
        self.enter(list(chosen))
        mixture = None
        for place, rows in chosen.items():
            part = weights[rows, :, place, None] * self.run(place, hidden[rows])
            mixture = part.new_zeros(len(hidden), *part.shape[1:]) if mixture is None else mixture
            mixture.index_add_(0, rows, part)
        assert mixture is not None, "each prompt is routed to at least one expert"
        return mixture

    def enter(self, needed: Sequence[int]) -> None:
        """Be told which experts are run next."""

    def run(self, place: int, hidden: Tensor) -> Tensor:
        """What one expert makes of the prompts that are routed to it."""
        made: Tensor = self.experts[place](hidden)
        return made


def gated_unet(
    unets: Sequence[UNet2DConditionModel], gates: Mapping[str, Tensor], top_k: int, halves: int = 1
) -> UNet2DConditionModel:
    """The first UNet with the experts' layers mixed by `gates`; its weights are those of `unets`, not copies.

    See `route` for `halves`. Gates of up blocks are left aside where the UNets end after their mid-block. Raises
    `EnsembleError` where gates do not fit, or UNets differ in a layer that has no gate (such experts cannot be mixed).
    """
    if not 1 <= top_k <= len(unets):
        raise EnsembleError(f"top_k is {top_k}, expected 1 to {len(unets)}, as many as there are experts")
    mixture = _sharing_copy(unets[0])
    gates = {
        layer: gate for layer, gate in gates.items() if len(mixture.up_blocks) or not layer.startswith("up_blocks")
    }
    _check_gated(unets, gates)
    for layer, gate in gates.items():
        experts = [unet.get_submodule(layer) for unet in unets]
        weight = next(experts[0].parameters())
        parent, _, name = layer.rpartition(".")
        gated = GatedLayer(experts, gate.to(weight), top_k, halves)
        setattr(mixture.get_submodule(parent), name, gated.train(mixture.training))
    return mixture


def _sharing_copy(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    tensors = chain(unet.parameters(), unet.buffers())
    return copy.deepcopy(unet, memo={id(tensor): tensor for tensor in tensors})


def _check_gated(unets: Sequence[UNet2DConditionModel], gates: Mapping[str, Tensor]) -> None:
    modules = dict(unets[0].named_modules())
    for layer, gate in gates.items():
        if layer not in modules:
            raise EnsembleError(f"gate of {layer}: the UNet has no such layer")
        expected = [len(unets), next(modules[layer].parameters()).shape[-1]]
        if list(gate.shape) != expected:
            raise EnsembleError(f"gate of {layer} has shape {list(gate.shape)}, expected {expected} (experts, width)")
    first, *others = [dict(unet.named_parameters()) for unet in unets]
    shared = [key for key in first if not any(key.startswith(f"{layer}.") for layer in gates)]
    differing = [key for key in shared if any(not _same(first[key], other[key]) for other in others)]
    if differing:
        raise EnsembleError(
            f"the experts differ in weights that have no gate: {some(differing)}; "
            "only the expert layers of a shared trunk can be mixed"
        )


def _same(first: Tensor, second: Tensor) -> bool:
    return first.data_ptr() == second.data_ptr() or torch.equal(first, second)


def _hidden_states(
    pipeline: DiffusionPipeline, prompts: GatePrompts, moe_layers: MoeLayers, seed: int
) -> dict[str, Tensor]:
    with _ddpm(pipeline), mean_inputs(pipeline.unet, expert_layers(pipeline.unet, moe_layers)) as states:
        pipeline(
            prompts.positive,
            negative_prompt=prompts.negative,
            num_inference_steps=GATE_STEPS,
            generator=torch.Generator("cpu").manual_seed(seed),
            output_type="latent",
        )
    return states


@contextmanager
def mean_inputs(unet: UNet2DConditionModel, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """The input of each layer at the latest call: the last row of the batch, averaged over tokens."""
    states: dict[str, Tensor] = {}

    def keep(layer: str, hidden: Tensor) -> None:
        states[layer] = hidden[-1].mean(dim=0).float().cpu()

    hooks = [
        unet.get_submodule(layer).register_forward_pre_hook(lambda _module, args, layer=layer: keep(layer, args[0]))
        for layer in layers
    ]
    try:
        yield states
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _ddpm(pipeline: DiffusionPipeline) -> Iterator[None]:
    """SegMoE's scheduler in place of the pipeline's own."""
    scheduler = pipeline.scheduler
    pipeline.scheduler = DDPMScheduler.from_config(scheduler.config)
    try:
        yield
    finally:
        pipeline.scheduler = scheduler
