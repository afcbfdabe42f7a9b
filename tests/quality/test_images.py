"""Images: seeded per caption, drawn by the base or an expert, hashed with everything that draws and judges."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from emoe_audit.audit import run_audit
from emoe_audit.errors import QualityError
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.quality.images import ImageMaker, image_seed, quality_hash
from emoe_audit.types import EnsembleSpec, ImageConfig, Prompt

CONFIG = ImageConfig(num_inference_steps=2, device="cpu")


def prompt(text: str, source_id: str) -> Prompt:
    return Prompt(prompt_id=text, prompt=text, source_id=source_id)


@pytest.fixture(scope="module")
def maker(tiny_spec: EnsembleSpec) -> ImageMaker:
    return ImageMaker(tiny_spec, CONFIG)


def test_an_image_is_what_the_plain_pipeline_draws_with_that_seed(maker: ImageMaker, tiny_spec: EnsembleSpec) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_spec.base.source, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        part.float()
    generator = torch.Generator().manual_seed(image_seed(0, "s"))
    expected = pipeline("dog", generator=generator, num_inference_steps=2, guidance_scale=CONFIG.guidance_scale).images[
        0
    ]
    made = maker.make([prompt("cat", "other"), prompt("dog", "s")])[1]
    difference = np.abs(np.asarray(made, dtype=int) - np.asarray(expected, dtype=int))
    assert difference.max() <= 1


def test_translations_of_one_caption_start_from_the_same_noise_and_others_do_not() -> None:
    assert image_seed(0, "dog") == image_seed(0, "dog")
    assert len({image_seed(0, "dog"), image_seed(0, "cat"), image_seed(1, "dog")}) == 3


def test_an_expert_draws_otherwise_than_the_base(maker: ImageMaker, tiny_spec: EnsembleSpec) -> None:
    expert = ImageMaker(tiny_spec, replace(CONFIG, expert=tiny_spec.experts[0].name))
    images = [np.asarray(m.make([prompt("dog", "s")])[0]) for m in (maker, expert)]
    assert (images[0] != images[1]).any()


def test_an_unknown_expert_is_told_the_known_ones(tiny_spec: EnsembleSpec) -> None:
    with pytest.raises(QualityError, match=f"has no expert 'nobody'; it has {tiny_spec.experts[0].name}"):
        ImageMaker(tiny_spec, replace(CONFIG, expert="nobody"))


def test_a_folder_that_cannot_draw_says_how_to_score_only(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    bare = replace(tiny_spec, base=replace(tiny_spec.base, source=str(tmp_path)))
    with pytest.raises(QualityError, match=r"no Stable Diffusion pipeline that can draw.*--n-images 0"):
        ImageMaker(bare, CONFIG)


def test_the_hash_follows_content_and_not_place(tiny_spec: EnsembleSpec, tiny_copy: Path) -> None:
    from emoe_audit.experts.spec import load_spec

    copy = load_spec(tiny_copy)
    assert quality_hash(copy, CONFIG) == quality_hash(tiny_spec, CONFIG)
    (tiny_copy / "judge" / "note.txt").write_text("changed")
    assert quality_hash(copy, CONFIG) != quality_hash(tiny_spec, CONFIG)
    assert quality_hash(copy, replace(CONFIG, n_images=0)) == ""


@pytest.mark.parametrize(
    ("base", "expert", "told"),
    [
        ({"source": __file__}, None, "only a pipeline in a folder or on the hub can draw; give --n-images 0"),
        ({"loras": ("org/detail",)}, None, "only a pipeline in a folder"),
        ({}, "nobody", "has no expert 'nobody'; it has expert-0"),
    ],
)
def test_what_cannot_draw_is_refused_before_anything_is_scored(
    tiny_spec: EnsembleSpec, tmp_path: Path, base: dict[str, Any], expert: str | None, told: str
) -> None:
    spec = replace(tiny_spec, base=replace(tiny_spec.base, **base))
    with pytest.raises(QualityError, match=told):
        run_audit(default_prompts(tiny_spec), spec, tmp_path / "run", images=ImageConfig(n_images=4, expert=expert))
    assert not (tmp_path / "run").exists()


def test_a_prompt_that_is_cut_prints_nothing(maker: ImageMaker, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("diffusers", "transformers"):
        logging.getLogger(name).propagate = True
    maker.make([prompt("a long dog " * 20, "long")])
    assert not caplog.records
