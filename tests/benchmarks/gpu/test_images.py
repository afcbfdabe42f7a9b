"""The check of images: the CPU's against the CPU's, and faults planted in one of the ways."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from PIL import Image

from emoe_audit.types import EnsembleSpec
from tests.benchmarks.gpu.images import DRAWN, check_images, draw_on, judge_on

LEVELS = np.random.default_rng(0).integers(0, 250, size=(len(DRAWN), 16, 16, 3), dtype=np.uint8)


def failed(
    change: Callable[[str, int, np.ndarray], np.ndarray] = lambda device, size, levels: levels, cosine: float = 0.0
) -> set[str]:
    """What the check finds where images, or a cosine of the device's judge, are changed."""

    def draw(device: str, batch_size: int) -> list[Image.Image]:
        return [Image.fromarray(own) for own in change(device, batch_size, LEVELS.copy())]

    def judge(device: str, images: list[Image.Image]) -> np.ndarray:
        return np.array([np.asarray(own).mean() / 255 for own in images]) + cosine * (device == "other")

    return {finding.what for finding in check_images(draw, judge, "other") if not finding.holds}


def test_images_that_are_alike_hold() -> None:
    assert failed() == set()


def test_images_from_another_noise_are_found() -> None:
    def turned(device: str, size: int, levels: np.ndarray) -> np.ndarray:
        return levels[:, ::-1].copy() if device == "other" else levels

    assert {"images_float32", "images_as_they_come", "images_worst_pixel"} <= failed(turned)


def test_one_wrong_pixel_is_found() -> None:
    def spotted(device: str, size: int, levels: np.ndarray) -> np.ndarray:
        levels[5, 2, 2, 0] += 3 * (device == "other")
        return levels

    assert failed(spotted) == {"images_worst_pixel"}


def test_one_image_that_hangs_on_the_batch_is_found() -> None:
    def paler(device: str, size: int, levels: np.ndarray) -> np.ndarray:
        levels[-1] += size == 3
        return levels

    assert failed(paler) == {"images_batch_of_3"}


def test_a_judge_that_differs_is_found() -> None:
    assert failed(cosine=0.002) == {"judge_cosine"}


@pytest.mark.slow
def test_the_cpu_draws_and_judges_as_the_cpu_does(tiny_spec: EnsembleSpec) -> None:
    found = check_images(partial(draw_on, tiny_spec), partial(judge_on, tiny_spec), "cpu")
    assert all(finding.holds for finding in found)
