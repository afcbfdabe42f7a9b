"""SDXL against diffusers' own pipeline: two text encoders, the pooled text and the size ids in the time embedding."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.ensemble import load_ensemble
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.scoring.first_step import draw_noise
from emoe_audit.types import EnsembleSpec, Prompt, ScoringConfig
from tests.experts.sdxl import make_tiny_sdxl

TEXTS = ["a dog", "कुत्ता", ""]
CONFIG = ScoringConfig(n_noise=1, batch_size=2, device="cpu")


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> EnsembleSpec:
    return make_tiny_sdxl(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def engine(spec: EnsembleSpec) -> ScoringEngine:
    return ScoringEngine(load_ensemble(spec, device="cpu"), CONFIG)


@pytest.fixture(scope="module")
def pipeline(spec: EnsembleSpec) -> StableDiffusionXLPipeline:
    return StableDiffusionXLPipeline.from_pretrained(spec.base.source)


def test_text_states_are_those_of_the_pipeline(engine: ScoringEngine, pipeline: StableDiffusionXLPipeline) -> None:
    embeds, _, pooled, _ = pipeline.encode_prompt(TEXTS, device="cpu", do_classifier_free_guidance=False)
    states = engine.text_states(TEXTS)
    assert states.pooled is not None
    torch.testing.assert_close(states.embeds, embeds)
    torch.testing.assert_close(states.pooled, pooled)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_scores_equal_those_of_whole_unets(
    engine: ScoringEngine, pipeline: StableDiffusionXLPipeline, spec: EnsembleSpec
) -> None:
    """The pipeline itself draws the first step: its latents, its timestep, its size ids; a hook keeps the mid-block."""
    features = []
    for expert in spec.experts:
        pipeline.unet = UNet2DConditionModel.from_pretrained(expert.source, subfolder="unet")
        pipeline.unet.mid_block.register_forward_hook(lambda module, args, output: features.append(output.double()))
        with pytest.raises(StopAfterFirstStep):
            pipeline(
                TEXTS,
                latents=draw_noise(0, 0, (4, 8, 8)).expand(len(TEXTS), -1, -1, -1),
                guidance_scale=1.0,
                height=64,
                width=64,
                callback_on_step_end=stop,
            )
    variance = np.var(torch.stack(features).numpy(), axis=0, ddof=1).mean(axis=(1, 2, 3))
    scored = engine.score([Prompt(prompt_id=text, prompt=text) for text in TEXTS])
    np.testing.assert_allclose(scored["disagreement"], variance, rtol=1e-4)
    assert scored["disagreement"].nunique() == len(TEXTS)


def test_a_base_without_the_projection_of_the_pooled_text_is_refused(spec: EnsembleSpec, tmp_path: Path) -> None:
    base = tmp_path / "base"
    StableDiffusionXLPipeline.from_pretrained(spec.base.source).save_pretrained(base)
    weights = base / "text_encoder_2" / "model.safetensors"
    tensors = load_file(weights)
    del tensors["text_projection.weight"]
    save_file(tensors, weights)
    lame = dataclasses.replace(spec, base=dataclasses.replace(spec.base, source=str(base)))
    with pytest.raises(EnsembleError, match=r"text_encoder_2: no text_projection.weight"):
        load_ensemble(lame, device="cpu")


class StopAfterFirstStep(Exception):
    """Nothing after the first step is needed."""


def stop(*_args: object) -> dict[str, torch.Tensor]:
    raise StopAfterFirstStep
