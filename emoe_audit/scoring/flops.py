"""Floating-point operations, counted by PyTorch."""

from __future__ import annotations

from collections.abc import Callable

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def gflop(work: Callable[[], object]) -> float:
    """Billions of floating-point operations that some work takes; attention is counted as its products."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9
