"""Weights that are mapped from files: what has been copied to its place need not stay in memory a second time."""

from __future__ import annotations

import ctypes
import mmap
import sys
from bisect import bisect_right
from pathlib import Path

from torch import Tensor

MAPS = Path("/proc/self/maps")


class MappedFiles:
    """Where the safetensors files of this process are mapped, as of now; on Linux, elsewhere nothing is known of it."""

    def __init__(self) -> None:
        lines = MAPS.read_text(encoding="utf-8").splitlines() if sys.platform == "linux" else []
        spans = [line.split(maxsplit=1)[0].split("-") for line in lines if line.endswith(".safetensors")]
        self._spans = sorted((int(start, 16), int(end, 16)) for start, end in spans)

    def release(self, tensor: Tensor) -> None:
        """Let go of the pages of a tensor that lies in a file; where it is read again, so are they."""
        start = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
        place = bisect_right(self._spans, (start, sys.maxsize)) - 1
        if start < end and place >= 0 and end <= self._spans[place][1]:
            _libc().madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
