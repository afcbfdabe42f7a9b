"""The number type in which a device multiplies fastest, by measurement."""

from __future__ import annotations

import time
from functools import cache

import torch

from emoe_audit.experts.devices import DTYPES
from emoe_audit.types import Dtype

ROWS, INNER, COLUMNS = 4096, 320, 1280
"""A feed-forward of Stable Diffusion 1.5's first level: pixels, channels, and channels of half its hidden layer."""
REPEATS = 3
TRIED_ROWS, TRIED_SECONDS = 32, 0.02
"""Of a first, small product; where it takes longer, the type is emulated, and its speed is that of this product."""
GAIN = 1.3
"""How many times as fast as a wider number type a narrower one has to be."""
PREFERRED: tuple[Dtype, ...] = ("float32", "float16", "bfloat16")
"""The most exact first. A score that overflows float16 is missing, never wrong."""


def fastest_dtype(device: torch.device) -> Dtype:
    """The most exact number type than which no other is `GAIN` times as fast."""
    speeds = speeds_of(device)
    return next(dtype for dtype in PREFERRED if GAIN * speeds[dtype] >= max(speeds.values()))


@cache
def speeds_of(device: torch.device) -> dict[Dtype, float]:
    """Billions of floating-point operations a second in each number type; 0 where the device has no such product."""
    return {dtype: _speed(device, DTYPES[dtype]) for dtype in PREFERRED}


def _speed(device: torch.device, dtype: torch.dtype) -> float:
    try:
        left, right = torch.rand(ROWS, INNER).to(device, dtype), torch.rand(INNER, COLUMNS).to(device, dtype)
        tried = _seconds(left[:TRIED_ROWS], right)
        if tried > TRIED_SECONDS:
            return _gflop(TRIED_ROWS) / tried
        return _gflop(ROWS) / min(_seconds(left, right) for _ in range(REPEATS))
    except RuntimeError:
        return 0.0


def _gflop(rows: int) -> float:
    return 2 * rows * INNER * COLUMNS / 1e9


def _seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    """Of one product after a first one; reading a number of it waits until it is there."""
    float((left @ right)[0, 0])
    started = time.perf_counter()
    float((left @ right)[0, 0])
    return time.perf_counter() - started
