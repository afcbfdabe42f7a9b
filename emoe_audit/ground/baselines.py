"""Baselines that a score has to beat: cheaper or better known measures of the same prompts, one function each.

Every baseline is made for one engine and then maps prompts to one number each; high is meant as uncertain. Token counts
and feature power need no function: the engine counts them for every prompt.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor, nn

from emoe_audit.errors import AuditError
from emoe_audit.progress import chunks
from emoe_audit.quality.pipelines import load_pipeline
from emoe_audit.scoring.conditioning import TEXTS, TextStates
from emoe_audit.scoring.disagreement import feature_power
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.scoring.expert_path import PathStart, mid_block_features
from emoe_audit.scoring.first_step import draw_noise, first_step

Baseline = Callable[[Sequence[str]], np.ndarray]
MakeBaseline = Callable[[ScoringEngine], Baseline]
DROPOUT, DROPOUT_SAMPLES = 0.1, 4
BASELINES: dict[str, MakeBaseline] = {}
"""Every baseline by name, as a function that makes it for an engine."""
WHOLE_UNETS = ("latent_variance", "decu")
"""Those that need whole UNets of the experts."""


def register_baseline(make: MakeBaseline) -> MakeBaseline:
    """Decorator: add a baseline to the bench, under the name of its function. Raises `AuditError` if it is taken."""
    if make.__name__ in BASELINES:
        raise AuditError(f"a baseline named {make.__name__!r} is registered already; choose another name")
    BASELINES[make.__name__] = make
    return make


@register_baseline
def noise_variance(engine: ScoringEngine) -> Baseline:
    """One expert, several noises: variance of its mid-block over the noises, over its mean square."""

    def compute(texts: Sequence[str]) -> np.ndarray:
        states = engine.text_states(texts).of(0)
        unet = engine.ensemble.unets[0]
        over_noises = torch.stack([mid_block_features(unet, starts[0], states) for starts in engine.starts])
        return _relative_variance(over_noises)

    return compute


@register_baseline
def mc_dropout(engine: ScoringEngine) -> Baseline:
    """One expert with dropout behind every feed-forward (Gal and Ghahramani 2016), over its mean square.

    A sample is one mask for all prompts, so a prompt's number does not depend on its neighbours.
    """

    def compute(texts: Sequence[str]) -> np.ndarray:
        states = engine.text_states(texts).of(0)
        unet, start = engine.ensemble.unets[0], engine.starts[0][0]
        samples = []
        for number in range(DROPOUT_SAMPLES):
            with _dropout(unet, torch.Generator().manual_seed(number)):
                samples.append(mid_block_features(unet, start, states))
        return _relative_variance(torch.stack(samples))

    return compute


@register_baseline
def latent_variance(engine: ScoringEngine) -> Baseline:
    """Variance over the experts of what the whole UNet predicts in the first step, over its mean square."""
    predict = _whole_unets(engine)
    return lambda texts: _relative_variance(predict(engine.text_states(texts)))


@register_baseline
def decu(engine: ScoringEngine) -> Baseline:
    """DECU's estimator of epistemic uncertainty from pairwise distances (Berry et al., arXiv 2406.18580).

    -log(1/M) - (1/M) sum_i log sum_j exp(-d_ij), with d_ij the mean squared distance of the predictions of experts i
    and j over the mean square of all; 0 for equal experts, log M for experts far apart.
    """
    predict = _whole_unets(engine)

    def compute(texts: Sequence[str]) -> np.ndarray:
        predicted = predict(engine.text_states(texts)).flatten(2).transpose(0, 1)
        power = predicted.square().sum(dim=-1).mean(dim=-1)
        distance = torch.cdist(predicted, predicted).square() / power[:, None, None]
        return _numbers(np.log(predicted.shape[1]) - torch.logsumexp(-distance, dim=-1).mean(dim=-1))

    return compute


@register_baseline
def router_entropy(engine: ScoringEngine) -> Baseline:
    """Mean entropy of the experts' gates over the layers of the down blocks, in nats.

    A gate is built as SegMoE builds it (segmind/segmoe), from the layer's input under prompts of the expert's own; here
    the empty prompt stands for them, so that no prompt is favoured: the gate of an expert is its own path's input to
    the layer, averaged over tokens and normalised. A prompt's logits are the mean inputs of the first path times gates.
    """
    unets, starts = engine.ensemble.unets, engine.starts[0]
    nothing = engine.text_states([""])
    empty = [_feed_forward_inputs(unets[i], start, nothing.of(i)) for i, start in enumerate(starts)]
    gates = {layer: F.normalize(torch.cat([own[layer] for own in empty]), dim=-1) for layer in empty[0]}

    def compute(texts: Sequence[str]) -> np.ndarray:
        inputs = _feed_forward_inputs(unets[0], starts[0], engine.text_states(texts).of(0))
        shares = torch.stack([F.softmax(inputs[layer] @ gate.T, dim=-1) for layer, gate in gates.items()])
        return _numbers(torch.special.entr(shares).sum(dim=-1).mean(dim=0))

    return compute


def text_distance(engine: ScoringEngine, captions: Sequence[str]) -> Baseline:
    """Mahalanobis distance of the text state to training captions (Lee et al. 2018), where these are known.

    The text state is the mean over tokens, padding included; the covariance is shrunk by a tenth towards its mean
    variance.
    """
    pooled = _pooled(engine, captions)
    mean, covariance = pooled.mean(dim=0), torch.cov(pooled.T)
    shrunk = 0.9 * covariance + 0.1 * covariance.diagonal().mean() * torch.eye(len(covariance), device=pooled.device)
    factor = torch.linalg.cholesky(shrunk)

    def compute(texts: Sequence[str]) -> np.ndarray:
        centred = _pooled(engine, texts) - mean
        return _numbers(torch.linalg.solve_triangular(factor, centred.T, upper=False).norm(dim=0))

    return compute


def _pooled(engine: ScoringEngine, texts: Sequence[str]) -> Float[Tensor, "text state"]:
    parts = chunks(texts, TEXTS)
    return torch.cat([engine.text_states(part).embeds.float().mean(dim=1) for part in parts])


def _relative_variance(samples: Float[Tensor, "sample batch channel height width"]) -> np.ndarray:
    return _numbers(samples.float().var(dim=0).mean(dim=(1, 2, 3)) / feature_power(samples))


def _numbers(values: Float[Tensor, " batch"]) -> np.ndarray:
    numbers: np.ndarray = values.double().cpu().numpy()
    return numbers


@functools.lru_cache(maxsize=1)
def _whole_unets(engine: ScoringEngine) -> Callable[[TextStates], Tensor]:
    """What every expert's whole UNet predicts in the first step from the first noise, `[expert, batch, ...]`."""
    own, spec = engine.ensemble, engine.ensemble.spec
    unets = [load_pipeline(spec, name).unet.to(own.device).eval() for name in own.experts]
    noise = draw_noise(engine.config.seed, 0, own.latent_shape)
    latent, timestep = first_step(own.scheduler, noise, engine.config.num_inference_steps)

    @torch.inference_mode()
    def predict(states: TextStates) -> Tensor:
        latents = latent.to(own.device).expand(len(states), -1, -1, -1)
        given = [(latents, timestep.to(own.device), states.of(place).embeds.float()) for place in range(len(unets))]
        return torch.stack([unet(*of).sample for unet, of in zip(unets, given, strict=True)])

    return predict


def _feed_forward_inputs(unet: UNet2DConditionModel, start: PathStart, states: TextStates) -> dict[str, Tensor]:
    """The input of every feed-forward of the down blocks, averaged over tokens, `[batch, width]` by layer."""
    inputs: dict[str, Tensor] = {}

    def keep(layer: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _module, args: inputs.update({layer: args[0].mean(dim=1).float()})

    layers = [(name, layer) for name, layer in _feed_forwards(unet) if name.startswith("down_blocks")]
    hooks = [layer.register_forward_pre_hook(keep(name)) for name, layer in layers]
    try:
        mid_block_features(unet, start, states)
    finally:
        for hook in hooks:
            hook.remove()
    return inputs


@contextmanager
def _dropout(unet: UNet2DConditionModel, generator: torch.Generator) -> Iterator[None]:
    """Drop elements of every feed-forward's output, the same ones for every prompt of a batch."""

    def drop(_module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept = torch.rand((1, *output.shape[1:]), generator=generator) >= DROPOUT
        return output * kept.to(output) / (1 - DROPOUT)

    hooks = [layer.register_forward_hook(drop) for _, layer in _feed_forwards(unet)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _feed_forwards(unet: UNet2DConditionModel) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in unet.named_modules() if name.endswith(".ff")]
