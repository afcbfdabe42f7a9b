"""The memory of a device: what work takes of it at most, and a device that has only so much."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from tests.benchmarks.live_bytes import LiveBytes


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """What work takes at most over what was taken before."""
    if device.type != "cuda":
        with LiveBytes() as live:
            work()
        return live.most
    gc.collect()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    return torch.cuda.max_memory_allocated(device) - before


@contextmanager
def capped(device: torch.device, n_bytes: int) -> Iterator[None]:
    """This process may take so many bytes over what it holds; then memory has run out for it."""
    if device.type != "cuda":
        with LiveBytes(limit=n_bytes):
            yield
        return
    gc.collect()
    torch.cuda.empty_cache()
    allowed = torch.cuda.memory_reserved(device) + n_bytes
    torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.mem_get_info(device)[1], device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
