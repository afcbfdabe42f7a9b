"""Which experts a mixture can do without: how often each is needed, and how much it matters that it is that one.

As in eMoE (arXiv 2503.06823) the need of an expert is how often prompts are routed to it times the sensitivity of its
layer, and as many stay in memory as there is room for; who is missing is replaced by the best of those that stay. There
sensitivity is the accuracy that is lost when layers route at random; here it is how far the predicted noise moves,
relative to its size, when one expert by lot answers for all in a transformer block, on the drawing's own latents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emoe_audit.mixture.places import Asked, Slot
from emoe_audit.mixture.shelf import Shelf, ShelvedLayer, shelved_layers

STEPS = 10
LOOKED_AT = (1, 4, 7)
"""Of these steps, those whose latents sensitivity is measured on."""
LOTS = 2
"""Experts that answer in turn."""


def hold_needed(pipeline: Any, shelf: Shelf, texts: Sequence[str], guidance_scale: float) -> None:
    """Have the experts in memory that some texts need, under the budget that the shelf has, and no others answer.

    Raises `ValueError` as `residents` does.
    """
    assert shelf.places is not None, "it has a budget"
    staying = residents(needs(pipeline, shelf, texts, guidance_scale), shelf.sizes, shelf.places.budget)
    shelf.hold(staying)
    answer_from(pipeline.unet, staying)


def answer_from(unet: Any, staying: Collection[Slot]) -> None:
    """Route to these experts alone."""
    for layer in shelved_layers(unet):
        place = layer.shelf.names.index(layer.name)
        layer.among = torch.tensor([Slot(place, expert) in staying for expert in range(layer.shelf.n_experts)])
        layer.among = layer.among.to(layer.gate.device)


def needs(pipeline: Any, shelf: Shelf, texts: Sequence[str], guidance_scale: float, seed: int = 0) -> dict[Slot, float]:
    """The need of every slot, of texts that are drawn one by one."""
    blocks: dict[str, list[ShelvedLayer]] = {}
    for layer in shelved_layers(pipeline.unet):
        blocks.setdefault(block_of(layer.name), []).append(layer)
    rng, changes = np.random.default_rng(seed), dict.fromkeys(blocks, 0.0)
    asked: list[Asked] = []
    for place, text in enumerate(texts):
        with shelf.watched() as own:
            calls = _drawn(pipeline, text, guidance_scale, seed + place, shelf)
        asked += own
        for given, whole in calls:
            for block, layers in blocks.items():
                for expert in rng.permutation(shelf.n_experts)[:LOTS]:
                    with _answered_by(layers, int(expert)):
                        moved = _noise(pipeline, given) - whole
                    changes[block] += float(moved.norm() / whole.norm())
    often = Counter(Slot(own.layer, expert) for own in asked for expert in own.needed)
    return {slot: often[slot] * changes[block_of(shelf.names[slot.layer])] / len(texts) for slot in shelf.sizes}


def block_of(layer: str) -> str:
    """The transformer block that a layer is in."""
    block, part, number = layer.partition(".transformer_blocks.")
    return block + part + number.partition(".")[0]


def residents(needs: Mapping[Slot, float], sizes: Mapping[Slot, int], budget: int) -> set[Slot]:
    """Who stays: of each layer the most needed expert, then whoever is needed most a byte as long as there is room.

    Raises `ValueError` with the bytes that it takes where there is no room for one expert of each layer.
    """
    best: dict[int, Slot] = {}
    for slot, need in needs.items():
        if slot.layer not in best or need > needs[best[slot.layer]]:
            best[slot.layer] = slot
    staying = set(best.values())
    room = budget - sum(sizes[slot] for slot in staying)
    if room < 0:
        raise ValueError(f"{budget} bytes, one expert of each layer takes {budget - room}")
    for slot in sorted(needs.keys() - staying, key=lambda own: (-needs[own] / sizes[own], own)):
        if sizes[slot] <= room:
            staying.add(slot)
            room -= sizes[slot]
    return staying


def _drawn(
    pipeline: Any, text: str, guidance_scale: float, seed: int, shelf: Shelf
) -> list[tuple[tuple[tuple[Any, ...], dict[str, Any]], Tensor]]:
    """What the UNet was given at some steps of a drawing, and the noise that it predicted."""
    calls: list[Any] = []

    def keep(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        calls.append(((args, kwargs), output[0].clone()))

    hook = pipeline.unet.register_forward_hook(keep, with_kwargs=True)
    shelf.begin("")
    try:
        pipeline(
            text,
            num_inference_steps=STEPS,
            guidance_scale=guidance_scale,
            generator=torch.Generator().manual_seed(seed),
            output_type="latent",
        )
    finally:
        hook.remove()
    return [own for place, own in enumerate(calls) if place in LOOKED_AT]


@torch.no_grad()
def _noise(pipeline: Any, given: tuple[tuple[Any, ...], dict[str, Any]]) -> Tensor:
    args, kwargs = given
    noise: Tensor = pipeline.unet(*args, **kwargs)[0]
    return noise


@contextmanager
def _answered_by(layers: Sequence[ShelvedLayer], expert: int) -> Iterator[None]:
    for layer in layers:
        layer.alone = expert
    try:
        yield
    finally:
        for layer in layers:
            layer.alone = None
