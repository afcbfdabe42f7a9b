"""Images: seeded per caption, drawn by the base or an expert, hashed with everything that draws and judges."""

from __future__ import annotations

import io
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from emoe_audit.audit import run_audit
from emoe_audit.errors import QualityError
from emoe_audit.experts.spec import load_spec
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.quality.hashes import quality_hash
from emoe_audit.quality.images import ImageMaker, SafetyChecker, image_seed, made_from, png
from emoe_audit.quality.pipelines import check_source
from emoe_audit.types import EnsembleSpec, ImageConfig, Prompt, SafetyPolicy
from tests.quality.safety_checker import ALWAYS, NEVER, write_safety_checker

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
    copy = load_spec(tiny_copy)
    assert quality_hash(copy, CONFIG) == quality_hash(tiny_spec, CONFIG)
    (tiny_copy / "judge" / "note.txt").write_text("changed")
    assert quality_hash(copy, CONFIG) != quality_hash(tiny_spec, CONFIG)
    assert quality_hash(copy, replace(CONFIG, n_images=0)) == ""


def test_the_hash_follows_the_weights_that_a_judge_names(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    spec = replace(tiny_spec, judge=f"ViT-B-32/{tmp_path / 'judge.safetensors'}")
    hashes = []
    for content in (b"one", b"other"):
        (tmp_path / "judge.safetensors").write_bytes(content)
        hashes.append(quality_hash(spec, CONFIG))
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize(
    ("base", "expert", "told"),
    [
        ({"source": __file__}, None, "not a readable safetensors file .*; give --n-images 0"),
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


class SmallMemory:
    """Takes the place of a pipeline: fails as a full device does for more than `room` images at once."""

    def __init__(self, pipeline: Any, room: int, error: type[RuntimeError] = torch.OutOfMemoryError) -> None:
        self.pipeline, self.room, self.error = pipeline, room, error
        self.seen: list[int] = []

    def __call__(self, texts: list[str], **settings: Any) -> Any:
        self.seen.append(len(texts))
        if len(texts) > self.room:
            raise self.error("CUDA out of memory. Tried to allocate 20.00 GiB")
        return self.pipeline(texts, **settings)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_where_memory_runs_out_half_as_many_are_drawn_at_once(
    tiny_spec: EnsembleSpec,
    error: type[RuntimeError],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    prompts = [prompt(f"{place} dogs", str(place)) for place in range(7)]
    maker = ImageMaker(tiny_spec, replace(CONFIG, batch_size=7))
    expected = maker.make(prompts)
    memory = SmallMemory(maker._pipeline, 2, error)
    monkeypatch.setattr(maker, "_pipeline", memory)
    for made, whole in zip(maker.make(prompts), expected, strict=True):
        assert np.abs(np.asarray(made, dtype=int) - np.asarray(whole, dtype=int)).max() <= 1
    assert memory.seen == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    assert [record.message for record in caplog.records if record.name.startswith("emoe_audit")] == [
        f"tiny: out of memory; going on with {size} images at once" for size in (3, 1)
    ]


def test_one_image_that_is_too_much_is_an_error_that_says_what_to_do(
    tiny_spec: EnsembleSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = ImageMaker(tiny_spec, CONFIG)
    monkeypatch.setattr(maker, "_pipeline", SmallMemory(maker._pipeline, 0))
    with pytest.raises(QualityError, match="tiny: out of memory with one image; give --device cpu, or give --n-images"):
        maker.make([prompt("dog", "s"), prompt("cat", "t")])


def test_another_fault_is_not_taken_for_a_full_memory(tiny_spec: EnsembleSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    maker = ImageMaker(tiny_spec, CONFIG)
    monkeypatch.setattr(maker, "_pipeline", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        maker.make([prompt("dog", "s")])


TEXTS = ["a dog", "kutyák és őzek", "眠っている顔 😴", "نام‌های فارسی", "line\nbreak\ttab", "]]><script>", "x" * 20_000]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_a_png_says_what_it_was_made_from(text: str, tiny_spec: EnsembleSpec) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    own = Prompt(prompt_id="p-é", prompt=text, language="hu", source_id="s")
    config = ImageConfig(seed=3, num_inference_steps=7, guidance_scale=2.5, expert="expert-1")
    content = png(Image.fromarray(pixels), made_from(own, tiny_spec, config, "e" * 64))
    with Image.open(io.BytesIO(content)) as image:
        assert (np.asarray(image) == pixels).all()
        found = dict(image.text)  # type: ignore[attr-defined]
    assert found.pop("Software").startswith("emoe-audit ")
    assert found == {
        "prompt": text,
        "prompt_id": "p-é",
        "language": "hu",
        "seed": str(image_seed(3, "s")),
        "num_inference_steps": "7",
        "guidance_scale": "2.5",
        "ensemble": "tiny",
        "ensemble_hash": "e" * 64,
        "expert": "expert-1",
    }


PROMPTS = [prompt(f"{place} dogs", str(place)) for place in range(4)]


@pytest.fixture(scope="module")
def half_flagged(tiny_spec: EnsembleSpec, tmp_path_factory: pytest.TempPathFactory) -> EnsembleSpec:
    """The tiny ensemble with a safety checker whose threshold lies in the middle of what is drawn for `PROMPTS`."""
    import shutil

    folder = Path(shutil.copytree(Path(tiny_spec.base.source).parent, tmp_path_factory.mktemp("checked") / "tiny"))
    write_safety_checker(folder / "base", NEVER)
    pipeline = StableDiffusionPipeline.from_pretrained(folder / "base")
    checker, images = pipeline.safety_checker, ImageMaker(tiny_spec, CONFIG).make(PROMPTS)
    with torch.no_grad():
        pixels = pipeline.feature_extractor(images, return_tensors="pt").pixel_values
        embedded = checker.visual_projection(checker.vision_model(pixels)[1])
        cosines = torch.nn.functional.cosine_similarity(embedded, checker.concept_embeds[:1]).sort().values
    write_safety_checker(folder / "base", float(cosines[1:3].mean()))
    return load_spec(folder)


@pytest.fixture(scope="module")
def own_output(half_flagged: EnsembleSpec) -> Any:
    """What the pipeline itself gives for `PROMPTS`, its checker in place."""
    pipeline = StableDiffusionPipeline.from_pretrained(half_flagged.base.source)
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(image_seed(0, own.source_id)) for own in PROMPTS]
    texts = [own.prompt for own in PROMPTS]
    return pipeline(texts, generator=generators, num_inference_steps=2, guidance_scale=CONFIG.guidance_scale)


def draw(spec: EnsembleSpec, policy: SafetyPolicy) -> tuple[list[np.ndarray], list[bool | None]]:
    drawings = ImageMaker(spec, replace(CONFIG, safety_checker=policy)).draw(PROMPTS)
    return [np.asarray(own.image, dtype=int) for own in drawings], [own.flagged for own in drawings]


def test_the_safety_checker_is_off_unless_it_is_asked_for(half_flagged: EnsembleSpec, tiny_spec: EnsembleSpec) -> None:
    images, flags = draw(half_flagged, "off")
    assert flags == [None] * 4
    for image, expected in zip(images, draw(tiny_spec, "off")[0], strict=True):
        assert (image == expected).all()


def test_flagged_is_what_the_pipeline_itself_flags_and_the_image_is_kept(
    half_flagged: EnsembleSpec, own_output: Any
) -> None:
    images, flags = draw(half_flagged, "flag")
    assert flags == own_output.nsfw_content_detected
    assert sum(map(bool, flags)) == 2
    for image, expected in zip(images, draw(half_flagged, "off")[0], strict=True):
        assert (image == expected).all()


def test_blanked_is_what_the_pipeline_itself_blanks(half_flagged: EnsembleSpec, own_output: Any) -> None:
    images, flags = draw(half_flagged, "blank")
    assert flags == own_output.nsfw_content_detected
    for image, expected in zip(images, own_output.images, strict=True):
        assert np.abs(image - np.asarray(expected, dtype=int)).max() <= 1
    assert [image.max() == 0 for image in images] == flags


@pytest.mark.parametrize(("threshold", "expected"), [(ALWAYS, True), (NEVER, False)])
def test_a_threshold_below_or_above_every_cosine_flags_all_or_nothing(
    threshold: float, expected: bool, tiny_copy: Path
) -> None:
    write_safety_checker(tiny_copy / "base", threshold)
    checker = SafetyChecker(StableDiffusionPipeline.from_pretrained(tiny_copy / "base"))
    images = [Image.new("RGB", (64, 64), colour) for colour in ("black", "white", "red")]
    assert checker.flags(images) == [expected] * 3


@pytest.mark.parametrize("policy", ["flag", "blank"])
def test_an_ensemble_without_a_safety_checker_says_so_beforehand(tiny_spec: EnsembleSpec, policy: SafetyPolicy) -> None:
    with pytest.raises(QualityError, match="base: has no safety checker; give --safety-checker off"):
        check_source(tiny_spec, None, policy)
    with pytest.raises(QualityError, match="base: has no safety checker; give --safety-checker off"):
        ImageMaker(tiny_spec, replace(CONFIG, safety_checker=policy))
