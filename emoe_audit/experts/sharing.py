"""Weights that several models hold are worked on once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from torch import Tensor

T = TypeVar("T")


class OnceForShared(Generic[T]):
    """A function of a tensor that is computed once for each of `shared`, and each time for any other tensor."""

    def __init__(self, function: Callable[[Tensor], T], shared: dict[str, Tensor]) -> None:
        self._function = function
        self._shared = {id(tensor): tensor for tensor in shared.values()}
        self._results: dict[int, T] = {}

    def __call__(self, tensor: Tensor) -> T:
        """The function's result."""
        if id(tensor) not in self._shared:
            return self._function(tensor)
        if id(tensor) not in self._results:
            self._results[id(tensor)] = self._function(tensor)
        return self._results[id(tensor)]
