"""Members of one checkpoint as rows of the bench, their controls, and which experts prompts use.

Every row is the relative disagreement of four members of the ensemble's base, from the first noise: emergent members
(`emoe_audit.experts.emergent`), the same with the text encoder split too, and two controls of equal sparsity in the
same layers. `random_members` have clusters drawn at random and are otherwise the same; `dropout_members` have, each, a
fixed set of hidden units left out for all prompts, the others scaled up as dropout does (Srivastava et al. 2014).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from emoe_audit.experts.checkpoint import Base, read_base
from emoe_audit.experts.clustering import Clusters, find_clusters, key_rows, most_clusters, split_layers, split_weights
from emoe_audit.experts.emergent import ExpertGate, Members, install_gates
from emoe_audit.experts.emergent_recipe import KEPT_SHARE
from emoe_audit.experts.models import build_unet
from emoe_audit.experts.residency import TensorMover
from emoe_audit.ground.baselines import Baseline, register_baseline
from emoe_audit.scoring.conditioning import TextStates, encode_prompts
from emoe_audit.scoring.disagreement import relative_disagreement
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.scoring.expert_path import mid_block_features, prompt_free_start
from emoe_audit.scoring.first_step import draw_noise, first_step

N_MEMBERS = 4
SEED = 0


class LowestGate(ExpertGate):
    """Keeps the experts of the lowest scores: what an avg-k gate has to be better than."""

    def scores(self, pre: Tensor) -> Tensor:
        """Turned round."""
        return -super().scores(pre)


class DroppedUnits(nn.Module):
    """Dropout of a set of hidden units that is drawn once."""

    def __init__(self, dense: nn.Module, kept: Tensor) -> None:
        super().__init__()
        self.dense = dense
        self.register_buffer("scale", kept / kept.mean(), persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """The hidden units that are left."""
        units: Tensor = self.dense(hidden) * self.scale
        return units


@register_baseline
def emergent_members(engine: ScoringEngine) -> Baseline:
    """Emergent members of the base: what an audit of that one checkpoint says."""
    base = _base(engine)
    clusters = find_clusters(base.unet.tensors, most_clusters(base.unet.tensors), seed=SEED)
    return _of_members(engine, _members(clusters), clusters)


@register_baseline
def emergent_text_members(engine: ScoringEngine) -> Baseline:
    """The same with the text encoder split too; undefined for SDXL, which has two."""
    base, texts = _base(engine), _base(engine).read_texts()
    if len(texts) > 1:
        return lambda prompts: np.full(len(prompts), np.nan)
    tensors = base.unet.tensors | texts[0].tensors
    clusters = find_clusters(tensors, most_clusters(tensors), seed=SEED)
    return _of_members(engine, _members(clusters), clusters)


@register_baseline
def random_members(engine: ScoringEngine) -> Baseline:
    """Emergent members whose clusters are drawn at random."""
    tensors = _base(engine).unet.tensors
    clusters = random_clusters(tensors, most_clusters(tensors))
    return _of_members(engine, _members(clusters), clusters)


@register_baseline
def dropout_members(engine: ScoringEngine) -> Baseline:
    """Members without a fixed set of hidden units each, as many as emergent members set to zero."""
    tensors = _base(engine).unet.tensors
    unets = [base_unet(engine) for _ in range(N_MEMBERS)]
    for member, unet in enumerate(unets):
        for layer in split_layers(tensors):
            order = _drawn(f"dropout:{layer}:{member}", len(key_rows(tensors, layer))).argsort()
            kept, feed_forward = order < len(order) // KEPT_SHARE, unet.get_submodule(layer)
            feed_forward.net[0] = DroppedUnits(feed_forward.net[0], kept.float()).to(engine.ensemble.device)
    return _disagreement(engine, unets, engine.text_states)


def random_clusters(tensors: Mapping[str, Tensor], n_clusters: int) -> dict[str, Tensor]:
    """Clusters of equal size, drawn at random."""
    orders = {
        layer: _drawn(f"random:{layer}", len(key_rows(tensors, layer))).argsort() for layer in split_layers(tensors)
    }
    return {layer: order.reshape(n_clusters, -1) for layer, order in orders.items()}


def base_unet(engine: ScoringEngine, clusters: Clusters | None = None) -> UNet2DConditionModel:
    """The base's UNet where the engine is, its weights split if there are clusters."""
    unet, own = _base(engine).unet, engine.ensemble
    tensors = unet.tensors if clusters is None else split_weights(unet.tensors, clusters)
    return build_unet(unet.config, TensorMover(own.device, own.dtype).move(tensors), unet.where)


def reconstruction_errors(
    engine: ScoringEngine, texts: Sequence[str], ways: Mapping[str, tuple[Clusters, type[ExpertGate]]], top_k: int
) -> pd.DataFrame:
    """How far each split layer's output lies from the dense one's, on the dense base's own way to the mid-block.

    Columns `prompt` (place), `layer`, `way` and `error`: the squared distance over the tokens of a prompt, relative to
    the squared length of the dense output.
    """
    dense = base_unet(engine)
    found: list[dict[str, object]] = []
    split = {way: base_unet(engine, clusters) for way, (clusters, _) in ways.items()}
    for way, (clusters, make_gate) in ways.items():
        install_gates(split[way], clusters, top_k, make_gate=make_gate)

    def compare(layer: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            for way, unet in split.items():
                distance = (unet.get_submodule(layer)(args[0]) - output).double().square().sum(dim=(1, 2))
                error = distance / output.double().square().sum(dim=(1, 2))
                found.extend(
                    {"prompt": p, "layer": layer, "way": way, "error": e} for p, e in enumerate(error.tolist())
                )

        return hook

    layers = next(iter(ways.values()))[0]
    hooks = [dense.get_submodule(layer).register_forward_hook(compare(layer)) for layer in layers]
    _features(engine, [dense], engine.text_states(texts))
    for hook in hooks:
        hook.remove()
    return pd.DataFrame(found)


@functools.lru_cache(maxsize=1)
def _base(engine: ScoringEngine) -> Base:
    return read_base(engine.ensemble.spec.base)


def _members(clusters: Clusters) -> Members:
    n_clusters = len(next(iter(clusters.values())))
    return Members(clusters=clusters, top_k=max(1, n_clusters // KEPT_SHARE), seed=SEED, n_members=N_MEMBERS)


def _of_members(engine: ScoringEngine, members: Members, clusters: Clusters) -> Baseline:
    unets = [members.unet(index, base_unet(engine, _unet_part(clusters))) for index in range(N_MEMBERS)]
    if not members.split_text:
        return _disagreement(engine, unets, engine.text_states)
    own, (weights,) = engine.ensemble, _base(engine).read_texts()
    split = split_weights(weights.tensors, {k: rows for k, rows in clusters.items() if k not in _unet_part(clusters)})
    encoder = members.text_encoder(weights, TensorMover(own.device, own.dtype).move(split))
    return _disagreement(
        engine, unets, functools.partial(encode_prompts, encoders=[encoder], clip_skip=own.spec.clip_skip)
    )


def _unet_part(clusters: Clusters) -> Clusters:
    return {layer: rows for layer, rows in clusters.items() if not layer.startswith("encoder.")}


def _disagreement(
    engine: ScoringEngine, unets: Sequence[UNet2DConditionModel], encode: Callable[[Sequence[str]], TextStates]
) -> Baseline:
    def compute(texts: Sequence[str]) -> np.ndarray:
        found: np.ndarray = relative_disagreement(_features(engine, unets, encode(texts))).double().cpu().numpy()
        return found

    return compute


def _features(engine: ScoringEngine, unets: Sequence[UNet2DConditionModel], states: TextStates) -> Tensor:
    """The mid-blocks of UNets that are the same before the first prompt enters, from the first noise."""
    own = engine.ensemble
    noise = draw_noise(engine.config.seed, 0, own.latent_shape)
    latent, timestep = first_step(own.scheduler, noise, engine.config.num_inference_steps)
    start = prompt_free_start(unets[0], latent.to(own.device, own.dtype), timestep.to(own.device))
    return torch.stack([mid_block_features(unet, start, states) for unet in unets])


def _drawn(name: str, n: int) -> Tensor:
    """Uniform numbers, the same on every machine."""
    digest = hashlib.sha256(f"{SEED}:{name}".encode()).digest()
    return torch.rand(n, generator=torch.Generator().manual_seed(int.from_bytes(digest[:7], "big")))
