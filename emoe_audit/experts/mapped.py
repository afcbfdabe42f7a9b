"""Weights that are mapped from files: their pages are let go of, or fetched before they are needed."""

from __future__ import annotations

import ctypes
import mmap
import sys
from bisect import bisect_right
from functools import cache
from pathlib import Path

from torch import Tensor

MAPS = Path("/proc/self/maps")


class MappedFiles:
    """Where files are mapped into this process, as of now; on Linux, elsewhere nothing is known of it."""

    def __init__(self) -> None:
        lines = MAPS.read_bytes().splitlines() if sys.platform == "linux" else []
        mapped = [fields for fields in (line.split() for line in lines) if fields[4] != b"0"]  # the file's inode
        spans = (fields[0].split(b"-") for fields in mapped)
        self._spans = sorted((int(start, 16), int(end, 16)) for start, end in spans)

    def release(self, tensor: Tensor) -> None:
        """Let go of the pages of a tensor that lies in a file; where it is read again, so are they."""
        if sys.platform == "linux":
            self._advise(tensor, mmap.MADV_DONTNEED)

    def fetch(self, tensor: Tensor) -> None:
        """Have the pages of a tensor that lies in a file read from disk, without waiting for them."""
        if sys.platform == "linux":
            self._advise(tensor, mmap.MADV_WILLNEED)

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor lies in a file."""
        return self._spans_over(tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes)

    def _advise(self, tensor: Tensor, advice: int) -> None:
        """For the pages that hold nothing else."""
        start = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
        if start < end and self._spans_over(start, end):
            _libc().madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), advice)

    def _spans_over(self, start: int, end: int) -> bool:
        place = bisect_right(self._spans, (start, sys.maxsize)) - 1
        return place >= 0 and end <= self._spans[place][1]


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
