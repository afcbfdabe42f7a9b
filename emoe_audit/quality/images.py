"""Images for the quality measures, seeded by caption.

What a model draws is what is measured, so a pipeline's own safety checker is left out unless it is asked for.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
import transformers
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from emoe_audit.errors import QualityError
from emoe_audit.experts.devices import is_out_of_memory, resolve_device
from emoe_audit.experts.drawer import who_draws
from emoe_audit.mixture.profile import hold_needed
from emoe_audit.mixture.shelf import shelf_of
from emoe_audit.prompts.shipped import some_captions
from emoe_audit.quality.pipelines import SCORE_ONLY, load_pipeline
from emoe_audit.types import EnsembleSpec, ImageConfig, Prompt

log = logging.getLogger(__name__)
PROFILED = 8
"""Captions by which it is learned which experts a mixture needs."""
GUIDED = 1.0
"""Above this guidance scale a pipeline looks at two halves, without the prompts and with them."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """An image, and what the safety checker said of it."""

    image: Image.Image
    flagged: bool | None = None
    """None where no safety checker ran."""


class ImageMaker:
    """Makes one image a prompt."""

    def __init__(self, spec: EnsembleSpec, config: ImageConfig) -> None:
        """Load the pipeline.

        Raises:
            QualityError: the base holds no pipeline that draws, `config.expert` is none of the experts, or there is no
                safety checker to run.
        """
        self.config = config
        self._name, self._at_once = spec.name, config.batch_size
        is_guided = config.guidance_scale > GUIDED
        self._pipeline = load_pipeline(
            spec,
            config.expert,
            config.safety_checker,
            is_guided=is_guided,
            device=resolve_device(config.device),
            memory_budget=config.memory_budget,
        )
        self._text_options = {} if spec.clip_skip is None else {"clip_skip": spec.clip_skip}
        if spec.clip_skip is not None:
            let_layers_be_left_out(self._pipeline.text_encoder)
        self._pipeline.set_progress_bar_config(disable=True)
        self._shelf = shelf_of(self._pipeline.unet)
        if config.lossy:
            self._draw_by_some()
        self._checker = None if config.safety_checker == "off" else SafetyChecker(self._pipeline)

    def _draw_by_some(self) -> None:
        """Let those experts of the mixture draw that there is room for."""
        if self._shelf is None:
            raise QualityError(f"{self._name}: only a mixture under a memory budget draws by a part of its experts")
        try:
            hold_needed(self._pipeline, self._shelf, some_captions(PROFILED), self.config.guidance_scale)
        except ValueError as error:
            raise QualityError(
                f"{self._name}: the memory budget is too small for a part of the experts: {error}"
            ) from error

    def make(self, prompts: Sequence[Prompt]) -> list[Image.Image]:
        """The images of `draw`."""
        return [drawing.image for drawing in self.draw(prompts)]

    def draw(self, prompts: Sequence[Prompt], number: int = 0) -> list[Drawing]:
        """One image a prompt, in order. Translations of one caption start from the same noise.

        `config.batch_size` are drawn at once, and from the first time that memory runs out half as many.

        Args:
            prompts: What is drawn.
            number: Which image of each prompt it is; another one starts from another noise.

        Raises:
            QualityError: memory does not last for one image.
        """
        done: list[Drawing] = []
        while len(done) < len(prompts):
            done += self._draw_if_memory_lasts(prompts[len(done) : len(done) + self._at_once], number)
        return done

    def _draw_if_memory_lasts(self, prompts: Sequence[Prompt], number: int) -> list[Drawing]:
        """Nothing where it did not; what a failed attempt held is free again after it."""
        try:
            return self._checked(self._drawn(prompts, number))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(prompts) == 1:
                raise QualityError(
                    f"{self._name}: out of memory with one image; give --device cpu, or {SCORE_ONLY}"
                ) from error
        self._at_once = len(prompts) // 2
        log.warning("%s: out of memory; going on with %d images at once", self._name, self._at_once)
        return []

    def _drawn(self, prompts: Sequence[Prompt], number: int) -> list[Image.Image]:
        if self._shelf is not None:
            languages = {prompt.language for prompt in prompts}
            self._shelf.begin(languages.pop() if len(languages) == 1 else "")
        seeds = [image_seed(self.config.seed, prompt.source_id, number) for prompt in prompts]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        with _without_warnings():
            images: list[Image.Image] = self._pipeline(
                [prompt.prompt for prompt in prompts],
                generator=generators,
                num_inference_steps=self.config.num_inference_steps,
                guidance_scale=self.config.guidance_scale,
                **self._text_options,
            ).images
        return images

    def _checked(self, images: list[Image.Image]) -> list[Drawing]:
        if self._checker is None:
            return [Drawing(image=image) for image in images]
        flags, blanks = self._checker.flags(images), self.config.safety_checker == "blank"
        return [
            Drawing(image=Image.new("RGB", image.size) if flag and blanks else image, flagged=flag)
            for image, flag in zip(images, flags, strict=True)
        ]


def let_layers_be_left_out(text_encoder: Any) -> None:
    """Let diffusers find the last layer norm, which it looks for in a part that transformers 5 has no more."""
    if not hasattr(text_encoder, "text_model"):
        text_encoder.__dict__["text_model"] = text_encoder  # as a module of its own it would be in itself


class SafetyChecker:
    """A pipeline's own safety checker, taken out of it: there it would blank what it flags."""

    def __init__(self, pipeline: Any) -> None:
        """Take it; from now on the pipeline draws without."""
        self._model, self._preprocess = pipeline.safety_checker, pipeline.feature_extractor
        pipeline.safety_checker = None

    @torch.no_grad()
    def flags(self, images: Sequence[Image.Image]) -> list[bool]:
        """Whether each image is flagged."""
        pixels = self._preprocess(list(images), return_tensors="pt").pixel_values.to(self._model.device)
        with _without_warnings():
            _, flagged = self._model(images=torch.zeros(len(images), 1), clip_input=pixels)
        return [bool(flag) for flag in flagged]


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Prompts that are cut are counted and reported; the pipeline need not print each of them too."""
    levels = [(own, own.get_verbosity()) for own in (diffusers.utils.logging, transformers.utils.logging)]
    try:
        for own, _ in levels:
            own.set_verbosity_error()
        yield
    finally:
        for own, level in levels:
            own.set_verbosity(level)


def image_seed(seed: int, source_id: str, number: int = 0) -> int:
    """The seed of an image, by its number: the same for all translations of a caption, on every machine."""
    named = f"{seed}:{source_id}:{number}" if number else f"{seed}:{source_id}"
    return int.from_bytes(hashlib.sha256(named.encode()).digest()[:4], "big")


def made_from(
    prompt: Prompt, spec: EnsembleSpec, config: ImageConfig, ensemble_hash: str, number: int = 0
) -> dict[str, str]:
    """What an image was made from, for `png`: enough to make it again. The expert of an image of the base is `base`."""
    return {
        "prompt": prompt.prompt,
        "prompt_id": prompt.prompt_id,
        "language": prompt.language,
        "seed": str(image_seed(config.seed, prompt.source_id, number)),
        "num_inference_steps": str(config.num_inference_steps),
        "guidance_scale": str(config.guidance_scale),
        "ensemble": spec.name,
        "ensemble_hash": ensemble_hash,
        "expert": who_draws(spec, config.expert) or "base",
        **({"lossy_memory_budget": str(config.memory_budget)} if config.lossy else {}),
        "Software": f"emoe-audit {importlib.metadata.version('emoe-audit')}",
    }


def png(image: Image.Image, texts: Mapping[str, str]) -> bytes:
    """The image as PNG with texts in UTF-8 by keyword (iTXt chunks; `PIL.Image.open(...).text` reads them again)."""
    about, content = PngInfo(), io.BytesIO()
    for keyword, text in texts.items():
        about.add_itxt(keyword, text)
    image.save(content, "PNG", pnginfo=about)
    return content.getvalue()
