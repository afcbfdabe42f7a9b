"""Every baseline against a plain computation of what it says it is."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file
from scipy.spatial.distance import mahalanobis
from scipy.stats import entropy

from emoe_audit.experts.ensemble import load_ensemble
from emoe_audit.ground.baselines import (
    BASELINES,
    decu,
    latent_variance,
    mc_dropout,
    noise_variance,
    router_entropy,
    text_distance,
)
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.scoring.first_step import draw_noise
from emoe_audit.types import EnsembleSpec, ScoringConfig
from tests.naive import NaiveEnsemble

pytestmark = pytest.mark.slow

TEXTS = ["a dog", "ein roter Apfel", "犬", ""]
CONFIG = ScoringConfig(n_noise=3, batch_size=2, device="cpu")


@pytest.fixture(scope="module")
def engine(tiny_spec: EnsembleSpec) -> ScoringEngine:
    return ScoringEngine(load_ensemble(tiny_spec, device="cpu"), CONFIG)


@pytest.fixture(scope="module")
def twins(tiny_spec: EnsembleSpec) -> ScoringEngine:
    """An engine of three equal experts."""
    experts = tuple(dataclasses.replace(tiny_spec.experts[0], name=name) for name in "abc")
    return ScoringEngine(load_ensemble(dataclasses.replace(tiny_spec, experts=experts), device="cpu"), CONFIG)


@pytest.fixture(scope="module")
def predictions(tiny_spec: EnsembleSpec, engine: ScoringEngine) -> np.ndarray:
    """What each expert's whole UNet, up blocks of its own included, predicts: `[expert, batch, element]`."""
    latent, states = draw_noise(0, 0, (4, 8, 8)).expand(len(TEXTS), -1, -1, -1), engine.text_states(TEXTS).embeds
    scheduler = DDIMScheduler.from_pretrained(tiny_spec.base.source, subfolder="scheduler")
    scheduler.set_timesteps(50)
    timestep = scheduler.timesteps[0]
    found = []
    for expert in tiny_spec.experts:
        unet = UNet2DConditionModel.from_pretrained(tiny_spec.base.source, subfolder="unet")
        unet.load_state_dict(unet.state_dict() | load_file(Path(expert.source) / "unet_delta.safetensors"))
        with torch.no_grad():
            found.append(unet(latent, timestep, encoder_hidden_states=states).sample)
    return torch.stack(found).flatten(2).double().numpy()


def test_noise_variance_is_taken_over_the_noises_of_one_expert(tiny_spec: EnsembleSpec, engine: ScoringEngine) -> None:
    naive = NaiveEnsemble(tiny_spec)
    features = np.stack([naive.features(TEXTS, seed=0, noise_index=i)[0] for i in range(3)])
    expected = features.var(axis=0, ddof=1).mean(axis=(1, 2, 3)) / np.square(features).mean(axis=(0, 2, 3, 4))
    np.testing.assert_allclose(noise_variance(engine)(TEXTS), expected, rtol=1e-4)


def test_latent_variance_is_taken_over_whole_unets(engine: ScoringEngine, predictions: np.ndarray) -> None:
    expected = predictions.var(axis=0, ddof=1).mean(axis=1) / np.square(predictions).mean(axis=(0, 2))
    np.testing.assert_allclose(latent_variance(engine)(TEXTS), expected, rtol=1e-4)


def test_decu_follows_its_formula(engine: ScoringEngine, predictions: np.ndarray) -> None:
    expected = []
    for own in predictions.transpose(1, 0, 2):
        power = np.square(own).sum(axis=1).mean()
        inner = [math.log(sum(math.exp(-np.square(a - b).sum() / power) for b in own)) for a in own]
        expected.append(-(math.log(1 / 3) + sum(inner) / 3))
    np.testing.assert_allclose(decu(engine)(TEXTS), expected, rtol=1e-3)


def test_equal_experts_have_no_variance_and_a_router_that_cannot_choose(twins: ScoringEngine) -> None:
    np.testing.assert_allclose(latent_variance(twins)(TEXTS), 0, atol=1e-12)
    np.testing.assert_allclose(decu(twins)(TEXTS), 0, atol=1e-6)
    np.testing.assert_allclose(router_entropy(twins)(TEXTS), math.log(3), rtol=1e-6)


def test_router_entropy_lies_below_that_of_an_even_choice(engine: ScoringEngine) -> None:
    entropy = router_entropy(engine)(TEXTS)
    assert ((entropy > 0) & (entropy < math.log(3))).all()
    assert len(set(entropy.tolist())) == len(TEXTS)


def test_router_entropy_follows_its_definition(tiny_spec: EnsembleSpec, engine: ScoringEngine) -> None:
    naive = NaiveEnsemble(tiny_spec)
    inputs: dict[tuple[int, str], np.ndarray] = {}
    for expert, unet in enumerate(naive.unets):
        for name, layer in unet.down_blocks.named_modules():
            if name.endswith(".ff"):
                layer.register_forward_pre_hook(
                    lambda _, args, key=(expert, name): inputs.update({key: args[0].double().mean(dim=1).numpy()})
                )
    naive.features([""], seed=0, noise_index=0)
    gates = {key: own[0] / np.linalg.norm(own[0]) for key, own in inputs.items()}
    naive.features(TEXTS, seed=0, noise_index=0)
    layers = sorted({name for _, name in gates})
    logits = np.stack([[inputs[0, name] @ gates[expert, name] for expert in range(3)] for name in layers])
    expected = entropy(np.exp(logits), axis=1).mean(axis=0)
    np.testing.assert_allclose(router_entropy(engine)(TEXTS), expected, rtol=1e-4)


def test_dropout_scales_what_it_keeps_behind_every_feed_forward(tiny_spec: EnsembleSpec, engine: ScoringEngine) -> None:
    naive = NaiveEnsemble(tiny_spec)
    samples = []
    for number in range(4):
        generator = torch.Generator().manual_seed(number)

        def drop(_module: object, _args: object, output: torch.Tensor, g: torch.Generator = generator) -> torch.Tensor:
            return output * (torch.rand(1, *output.shape[1:], generator=g) >= 0.1) / 0.9

        unet = naive.unets[0]
        layers = [m for n, m in unet.named_modules() if n.endswith(".ff") and not n.startswith("up_blocks")]
        hooks = [layer.register_forward_hook(drop) for layer in layers]
        samples.append(naive.features(TEXTS, seed=0, noise_index=0)[0])
        for hook in hooks:
            hook.remove()
    drawn = np.stack(samples)
    expected = drawn.var(axis=0, ddof=1).mean(axis=(1, 2, 3)) / np.square(drawn).mean(axis=(0, 2, 3, 4))
    np.testing.assert_allclose(mc_dropout(engine)(TEXTS), expected, rtol=1e-3)


def test_dropout_leaves_the_network_as_it_was(engine: ScoringEngine) -> None:
    before = engine.features(engine.text_states(TEXTS), 0)
    assert (mc_dropout(engine)(TEXTS) > 0).all()
    torch.testing.assert_close(engine.features(engine.text_states(TEXTS), 0), before, rtol=0, atol=0)


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_the_other_prompts_do_not_matter(engine: ScoringEngine, name: str) -> None:
    compute = BASELINES[name](engine)
    alone = [compute([text])[0] for text in TEXTS]
    np.testing.assert_allclose(compute(TEXTS), alone, rtol=1e-3)


def test_text_distance_is_mahalanobis_with_a_shrunk_covariance(engine: ScoringEngine) -> None:
    captions = [f"{a} {b}" for a in ("red", "blue", "old", "new") for b in ("dog", "cat", "house", "tree", "sun")]
    pooled = engine.text_states(captions).embeds.double().mean(dim=1).numpy()
    covariance = np.cov(pooled.T)
    shrunk = 0.9 * covariance + 0.1 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    own = engine.text_states(TEXTS).embeds.double().mean(dim=1).numpy()
    expected = [mahalanobis(row, pooled.mean(axis=0), np.linalg.inv(shrunk)) for row in own]
    np.testing.assert_allclose(text_distance(engine, captions)(TEXTS), expected, rtol=1e-3)
