"""Images that a device draws and its judge against the CPU's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL.Image import Image

from emoe_audit.quality.clip_score import ClipJudge, cosines
from emoe_audit.quality.images import ImageMaker
from emoe_audit.types import EnsembleSpec, ImageConfig
from tests.benchmarks.gpu.exact import exact_float32
from tests.benchmarks.gpu.findings import Finding
from tests.benchmarks.gpu.scores import TEXTS, prompts_of

DRAWN = TEXTS[:8]
PIXELS_APART, LEVELS_APART = 0.05, 2.0
"""Of 255 levels: a pixel on average, in the worst of the images, and the worst pixel."""
COSINES_APART = 1e-3
Draw = Callable[[str, int], list[Image]]
"""The images of `DRAWN`, by device and batch size."""
Judge = Callable[[str, list[Image]], np.ndarray]
"""Cosines of images with `DRAWN`, by device."""


def check_images(draw: Draw, judge: Judge, device: str) -> list[Finding]:
    """Raises what drawing raises."""
    expected = draw("cpu", len(DRAWN))
    with exact_float32():
        own, few = draw(device, len(DRAWN)), draw(device, 3)
        judged = judge(device, expected)
    as_it_comes, cosine = draw(device, len(DRAWN)), judge("cpu", expected)
    return [
        Finding(what="images_float32", value=_apart(own, expected), at_most=PIXELS_APART),
        Finding(what="images_worst_pixel", value=_worst(own, expected), at_most=LEVELS_APART),
        Finding(what="images_batch_of_3", value=_apart(few, own), at_most=PIXELS_APART),
        Finding(what="images_as_they_come", value=_apart(as_it_comes, expected), at_most=PIXELS_APART),
        Finding(what="judge_cosine", value=float(np.abs(judged - cosine).max()), at_most=COSINES_APART),
    ]


def draw_on(spec: EnsembleSpec, device: str, batch_size: int) -> list[Image]:
    """As an audit draws them."""
    return ImageMaker(spec, ImageConfig(device=device, batch_size=batch_size)).make(prompts_of(DRAWN))


def judge_on(spec: EnsembleSpec, device: str, images: list[Image]) -> np.ndarray:
    """As an audit judges them. Raises `QualityError` where the ensemble names no judge."""
    judge = ClipJudge(str(spec.judge), device=device)
    return cosines(judge.image_features(images), judge.text_features(DRAWN))


def _apart(found: list[Image], expected: list[Image]) -> float:
    return float(_levels(found, expected).mean(axis=(1, 2, 3)).max())


def _worst(found: list[Image], expected: list[Image]) -> float:
    return float(_levels(found, expected).max())


def _levels(found: list[Image], expected: list[Image]) -> np.ndarray:
    """`[image, row, column, colour]`"""
    own, other = (np.stack([np.asarray(image, dtype=float) for image in side]) for side in (found, expected))
    apart: np.ndarray = np.abs(own - other)
    return apart
