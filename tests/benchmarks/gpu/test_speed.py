"""What a score costs, measured at a small size: the figures that come out, and a path that is too slow."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from emoe_audit.scoring import engine
from emoe_audit.scoring.expert_path import mid_block_features
from emoe_audit.types import Dtype
from tests.benchmarks.gemm import Gemm
from tests.benchmarks.gpu import speed
from tests.benchmarks.gpu.drawn import SMALL
from tests.benchmarks.gpu.findings import Finding
from tests.benchmarks.gpu.speed import FreshTexts, check_speed, held_against_operations

NEEDED, SAVED = 880.0, 7.3


def failed(gflop: float, speedup: float) -> set[str]:
    return {own.what for own in held_against_operations(gflop, NEEDED, speedup, SAVED) if not own.holds}


def test_operations_that_are_saved_have_to_be_seen_in_the_time() -> None:
    assert failed(NEEDED, SAVED) == set()
    assert failed(NEEDED, 0.45 * SAVED) == {"speedup_over_operations_saved"}


def test_operations_beyond_the_needed_ones_are_found() -> None:
    assert failed(1.02 * NEEDED, SAVED) == set()
    assert failed(1.2 * NEEDED, SAVED) == {"gflop_over_needed"}


def test_no_text_comes_twice() -> None:
    texts = FreshTexts()
    assert len({*texts(3), *texts(4)}) == 7


def measured(*dtypes: Dtype) -> dict[str, Finding]:
    design = replace(SMALL[1], unet={**SMALL[1].unet, "sample_size": 8})
    product = Gemm(rows=64, inner=64, columns=64)
    return {own.what: own for own in check_speed(design, torch.device("cpu"), dtypes, product)}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.benchmark
def test_a_path_that_is_slow_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TURN": 0.0, "REPEATS": 3, "NAIVE_BATCHES": (4,)}.items():
        monkeypatch.setattr(speed, name, value)
    monkeypatch.setattr("emoe_audit.scoring.batch_size.MOST", 8)
    found = measured("float32", "float16")
    assert {f"sdxl_prompts_per_second_{dtype}" for dtype in ("float32", "float16")} < found.keys()
    assert all(own.value > 0 for own in found.values())
    assert found["sdxl_difference_from_naive"].holds
    assert found["sdxl_gflop_over_needed"].holds
    assert found["sdxl_gemm_peak_share"].value < 1
    monkeypatch.setattr(engine, "mid_block_features", slowed(mid_block_features))
    assert not measured("float32")["sdxl_speedup_over_operations_saved"].holds


def slowed(path: Callable[..., Any]) -> Callable[..., Any]:
    """By far more than a path of that size takes."""

    def slow(unet: Any, start: Any, states: Any) -> Any:
        time.sleep(0.01 * len(states))
        return path(unet, start, states)

    return slow
