"""Experts that bring text encoders of their own, held against separate pipelines of diffusers."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.ensemble import load_ensemble
from emoe_audit.experts.spec import load_spec, save_spec
from emoe_audit.quality.images import ImageMaker, image_seed, let_layers_be_left_out
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.scoring.first_step import draw_noise
from emoe_audit.scoring.loading import load_engine
from emoe_audit.scoring.sketch import sketch
from emoe_audit.types import EnsembleSpec, ExpertSpec, ImageConfig, Prompt, ScoringConfig

TEXTS = ["a dog", "ein roter Apfel", "犬"]
CONFIG = ScoringConfig(n_noise=2, batch_size=2, device="cpu", check_pairs=0)
PROMPTS = [Prompt(prompt_id=text, prompt=text, source_id=text) for text in TEXTS]


@pytest.fixture(scope="module")
def spec(tiny_spec: EnsembleSpec, tmp_path_factory: pytest.TempPathFactory) -> EnsembleSpec:
    """Two whole checkpoints; the first has the text encoder of the base, the second another one."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for number, name in enumerate(("same", "other")):
        shutil.copytree(tiny_spec.base.source, folder / name)
        _changed(folder / name / "unet" / "diffusion_pytorch_model.safetensors", seed=number)
    _changed(folder / "other" / "text_encoder" / "model.safetensors", seed=9)
    experts = tuple(ExpertSpec(name=name, source=str(folder / name)) for name in ("same", "other"))
    return replace(tiny_spec, name="checkpoints", experts=experts, assembly="independent", text_encoders="own")


def _changed(file: Path, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights = load_file(file)
    changed = {
        key: own + 0.2 * own.float().std().nan_to_num() * torch.randn(own.shape, generator=generator).to(own.dtype)
        if own.is_floating_point()
        else own
        for key, own in weights.items()
    }
    save_file(changed, file)


def mid_block(pipeline: StableDiffusionPipeline, noise_index: int, clip_skip: int | None = None) -> np.ndarray:
    """What a pipeline has behind its mid-block in the first step, as diffusers itself runs it."""
    seen: list[torch.Tensor] = []
    handle = pipeline.unet.mid_block.register_forward_hook(lambda _module, _args, output: seen.append(output))
    pipeline.scheduler.set_timesteps(CONFIG.num_inference_steps)
    states, _ = pipeline.encode_prompt(TEXTS, "cpu", 1, do_classifier_free_guidance=False, clip_skip=clip_skip)
    shape = (pipeline.unet.config.in_channels, *[pipeline.unet.config.sample_size] * 2)
    noise, timestep = draw_noise(CONFIG.seed, noise_index, shape), pipeline.scheduler.timesteps[0]
    latent = pipeline.scheduler.scale_model_input(noise * pipeline.scheduler.init_noise_sigma, timestep)
    with torch.no_grad():
        pipeline.unet(latent.expand(len(TEXTS), -1, -1, -1), timestep, encoder_hidden_states=states)
    handle.remove()
    return seen[0].double().numpy()


def pipeline_of(source: str) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(source, vae=None)
    for part in (pipeline.unet, pipeline.text_encoder):
        part.float()
    let_layers_be_left_out(pipeline.text_encoder)
    return pipeline


@pytest.mark.parametrize("clip_skip", [None, 1])
def test_each_expert_reads_as_the_pipeline_that_it_comes_from(spec: EnsembleSpec, clip_skip: int | None) -> None:
    engine = load_engine(replace(spec, clip_skip=clip_skip), CONFIG)
    for noise_index in range(CONFIG.n_noise):
        features = engine.features(engine.text_states(TEXTS), noise_index).double().numpy()
        for place, expert in enumerate(spec.experts):
            expected = mid_block(pipeline_of(expert.source), noise_index, clip_skip)
            np.testing.assert_allclose(features[place], expected, atol=1e-5, rtol=0)


def test_scores_are_those_of_the_separate_pipelines(spec: EnsembleSpec) -> None:
    scored = load_engine(spec, CONFIG).score(PROMPTS)
    pipelines = [pipeline_of(expert.source) for expert in spec.experts]
    by_noise = [np.stack([mid_block(own, number) for own in pipelines]) for number in range(CONFIG.n_noise)]
    expected = np.mean([own.var(axis=0, ddof=1).mean(axis=(1, 2, 3)) for own in by_noise], axis=0)
    np.testing.assert_allclose(scored["disagreement"], expected, rtol=1e-4)


def test_with_the_base_s_text_encoder_everything_is_as_it_was(spec: EnsembleSpec) -> None:
    with pytest.warns(UserWarning, match=r"`text_encoders: own` gives each expert"):
        engine = load_engine(replace(spec, text_encoders="base"), CONFIG)
    base = pipeline_of(spec.base.source)
    features = engine.features(engine.text_states(TEXTS), 0).double().numpy()
    for place, expert in enumerate(spec.experts):
        pipeline = pipeline_of(expert.source)
        pipeline.text_encoder = base.text_encoder
        np.testing.assert_allclose(features[place], mid_block(pipeline, 0), atol=1e-5, rtol=0)


def test_nothing_is_warned_of_where_own_text_encoders_are_used(spec: EnsembleSpec) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        ensemble = load_ensemble(spec, device="cpu")
    assert list(ensemble.own_texts) == [1], "the first has that of the base, which is not held twice"


def test_readings_are_the_mean_of_what_the_encoders_make_of_a_prompt(spec: EnsembleSpec) -> None:
    reading = np.stack(load_engine(spec, CONFIG).score(PROMPTS)["reading"])
    states = []
    for expert in spec.experts:
        pipeline = pipeline_of(expert.source)
        tokens = pipeline.tokenizer(
            TEXTS, padding="max_length", max_length=pipeline.tokenizer.model_max_length, return_tensors="pt"
        )
        with torch.no_grad():
            states.append(pipeline.text_encoder(tokens.input_ids).pooler_output)
    expected = sketch(torch.stack(states).mean(dim=0)).numpy()
    np.testing.assert_allclose(reading[:, : expected.shape[1]], expected, atol=1e-5)


def test_under_a_budget_encoders_are_read_one_at_a_time_and_scores_stay(spec: EnsembleSpec) -> None:
    whole = load_ensemble(spec, device="cpu", n_noise=CONFIG.n_noise)
    needed = whole.footprint.needed("all")
    budget = whole.footprint.needed("one") + 1000
    assert budget < needed
    streamed = load_ensemble(spec, device="cpu", memory_budget=budget, n_noise=CONFIG.n_noise)
    assert streamed.residency == "one"
    assert streamed.ensemble_hash == whole.ensemble_hash
    ours, theirs = (ScoringEngine(own, CONFIG).score(PROMPTS) for own in (whole, streamed))
    np.testing.assert_allclose(ours["disagreement"], theirs["disagreement"], rtol=1e-5)


def test_the_hash_says_whose_text_encoder_conditions_and_how_much_of_it(spec: EnsembleSpec, tmp_path: Path) -> None:
    def digest(**changes: object) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return load_ensemble(replace(spec, **changes), device="cpu").ensemble_hash  # type: ignore[arg-type]

    found = {digest(), digest(text_encoders="base"), digest(clip_skip=1), digest(text_encoders="base", clip_skip=1)}
    assert len(found) == 4
    alike = tuple(replace(own, source=spec.experts[0].source) for own in spec.experts)
    assert digest(experts=alike) == digest(experts=alike, text_encoders="base"), "all are those of the base"
    save_spec(replace(spec, clip_skip=1), tmp_path)
    assert load_spec(tmp_path) == replace(spec, clip_skip=1)


def test_an_expert_draws_by_its_own_text_encoder(spec: EnsembleSpec) -> None:
    images = ImageConfig(num_inference_steps=2, device="cpu", expert="other")

    def drawn(**changes: Any) -> np.ndarray:
        (image,) = ImageMaker(replace(spec, **changes), images).make(PROMPTS[:1])
        return np.asarray(image, dtype=np.float64)

    pipeline = StableDiffusionPipeline.from_pretrained(spec.experts[1].source, safety_checker=None).to(torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        TEXTS[0],
        num_inference_steps=2,
        guidance_scale=images.guidance_scale,
        generator=torch.Generator().manual_seed(image_seed(0, TEXTS[0])),
    ).images[0]
    by_own = drawn()
    assert np.abs(by_own - np.asarray(expected, dtype=np.float64)).max() <= 1
    assert np.abs(by_own - drawn(text_encoders="base")).max() > 0
    assert np.abs(by_own - drawn(clip_skip=1)).max() > 0


def test_text_encoders_of_another_shape_are_refused(spec: EnsembleSpec, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(spec.experts[1].source, tmp_path / "wide"))
    config = folder / "text_encoder" / "config.json"
    config.write_text(config.read_text().replace('"max_position_embeddings": 32', '"max_position_embeddings": 16'))
    key = "text_model.embeddings.position_embedding.weight"
    file = folder / "text_encoder" / "model.safetensors"
    weights = load_file(file)
    found = next(name for name in weights if name.endswith(key.removeprefix("text_model.")))
    save_file(weights | {found: weights[found][:16].clone()}, file)
    broken = replace(spec, experts=(spec.experts[0], ExpertSpec(name="wide", source=str(folder))))
    with pytest.raises(EnsembleError, match=r"wide.*reads 16 tokens, and the base's 32"):
        load_ensemble(broken, device="cpu")
