"""What tensors take while they are alive, counted by torch's own operators: from their shapes alone, on any device."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive, each storage once, and keeps the most."""

    def __init__(self, before: Iterable[Tensor] = (), limit: int | None = None) -> None:
        """What was there `before` is not counted, nor are views of it; above the limit memory has run out."""
        super().__init__()
        self.most = 0
        self._limit = limit
        self._before = {tensor.untyped_storage()._cdata for tensor in before}
        self._live: dict[int, int] = {}
        self._tensors: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and not tensor.is_meta:
                self._add(tensor)
        self.most = max(self.most, now := sum(self._live.values()))
        if self._limit is not None and now > self._limit:
            raise torch.OutOfMemoryError(f"out of memory: {now:,} bytes, and {self._limit:,} are allowed")
        return result

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self._before:
            return
        self._live[storage._cdata] = storage.nbytes()
        self._tensors[storage._cdata] += 1
        weakref.finalize(tensor, self._drop, storage._cdata)

    def _drop(self, key: int) -> None:
        self._tensors[key] -= 1
        if not self._tensors[key]:
            del self._live[key]
