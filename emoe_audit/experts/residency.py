"""Where weights are while prompts are scored: all in memory, or one expert after another under a budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args, overload

import torch
from torch import Tensor

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.mapped import MappedFiles
from emoe_audit.experts.sharing import OnceForShared

T = TypeVar("T")
Residency = Literal["all", "two", "one"]
"""Experts in memory at a time: all, one while the next one is read, or one."""
GIB = 1 << 30
WAITING = 64
"""Prompts that wait for the next expert for which it is worth reading that one ahead, not more of them."""
LIVE_HIDDEN_STATES = 21
"""What one prompt holds at most on its path, in hidden states of the first level: a feed-forward takes 16 of them."""


class Streamed(Sequence[T]):
    """Things that are loaded each time they are asked for, and not kept; let go of one before asking for the next.

    With `reads_ahead` the one that follows is loaded while one is used, after the last the first again, and kept until
    any is asked for.
    """

    def __init__(self, loaders: Sequence[Callable[[], T]], *, reads_ahead: bool = False) -> None:
        self._loaders = loaders
        self._reader = ThreadPoolExecutor(max_workers=1) if reads_ahead else None
        self._coming: tuple[int, Future[T]] | None = None

    def __len__(self) -> int:
        return len(self._loaders)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Streamed[T]: ...
    def __getitem__(self, index: int | slice) -> T | Streamed[T]:
        """The thing, loaded now unless it was loaded ahead."""
        if isinstance(index, slice):
            return Streamed(self._loaders[index], reads_ahead=self._reader is not None)
        if self._reader is None:
            return self._loaders[index]()
        place = range(len(self))[index]
        load = self._ahead(place) or self._loaders[place]
        thing, following = load(), (place + 1) % len(self)
        self._coming = following, self._reader.submit(self._loaders[following])
        return thing

    def _ahead(self, place: int) -> Callable[[], T] | None:
        """What gives the thing that was loaded ahead; None where it is another or none. The other is let go of."""
        if self._coming is None:
            return None
        (at, future), self._coming = self._coming, None
        wait([future])
        return future.result if at == place else None


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes of an ensemble in memory, in the number type in which it is scored."""

    texts: int
    """The text encoders of the base, or of the expert whose own take most."""
    own_texts: int = 0
    """Those of all experts that bring others, beside the base's."""
    all_paths: int
    """Every expert's path, what they share counted once."""
    largest_path: int
    activations: int
    """Of one prompt on its path."""
    states: int
    """Of one prompt: what the text encoders say of it."""
    features: int
    """Of one prompt, one noise and one expert."""
    start: int
    """Of one noise and one expert, before any prompt."""
    n_experts: int
    n_noise: int

    def weights(self, residency: Residency) -> int:
        """What is in memory at a time; the text encoders take the place of an expert that is streamed."""
        match residency:
            case "all":
                return self.texts + self.own_texts + self.all_paths
            case "two":
                return self.largest_path + max(self.texts, self.largest_path)
            case "one":
                return max(self.texts, self.largest_path)

    @property
    def a_prompt(self) -> int:
        """What is kept of one prompt until all experts have seen it."""
        return self.states + self.n_noise * self.n_experts * self.features

    def room(self, budget: int, residency: Residency) -> int:
        """What a budget leaves to prompts."""
        return budget - self.weights(residency) - self.n_noise * self.n_experts * self.start

    def needed(self, residency: Residency) -> int:
        """For the weights and one prompt; with two experts in memory for as many as make reading ahead worth it."""
        n_prompts = WAITING if residency == "two" else 1
        return -self.room(0, residency) + self.activations + n_prompts * self.a_prompt


def choose_residency(footprint: Footprint, budget: int | None, name: str) -> Residency:
    """The most that fits into the budget.

    Raises:
        EnsembleError: the budget is too small even for one expert at a time.
    """
    ways: tuple[Residency, ...] = get_args(Residency)
    fitting = [way for way in ways if budget is None or footprint.needed(way) <= budget]
    if budget is not None and not fitting:
        raise EnsembleError(
            f"{name}: a memory budget of {gib(budget)} is too small; it takes {gib(footprint.needed('one'))} with one "
            f"expert at a time, {gib(footprint.needed('all'))} with all, besides what Python and its libraries take"
        )
    return fitting[0]


def gib(n_bytes: int) -> str:
    """For people: in GiB, rounded up to hundredths."""
    return f"{-(-n_bytes * 100 // GIB) / 100:.2f} GiB"


class Survey:
    """Counts the bytes of an ensemble, one path after the other; weights need not have been read from disk."""

    def __init__(self, shared: dict[str, Tensor], itemsize: int) -> None:
        """`shared` holds the weights that several paths may take as they are; `itemsize` is the bytes of a number."""
        self._shared = {id(tensor): tensor.numel() for tensor in shared.values()}
        self._taken: set[int] = set()
        self._itemsize = itemsize
        self._own: list[int] = []
        self._largest = 0

    def add(self, path: dict[str, Tensor]) -> None:
        """Count the weights of one expert's path."""
        own = {id(tensor): tensor.numel() for tensor in path.values()}
        self._taken |= own.keys() & self._shared.keys()
        self._own.append(sum(size for tensor, size in own.items() if tensor not in self._shared))
        self._largest = max(self._largest, sum(own.values()))

    def footprint(
        self,
        texts: Sequence[dict[str, Tensor]],
        *,
        states: int,
        channels: Sequence[int],
        n_latent: int,
        n_noise: int,
    ) -> Footprint:
        """The bytes of all that was added, and of one prompt.

        Args:
            texts: Weights of each text encoder.
            states: Numbers that the text encoders give of a prompt.
            channels: Of the UNet's levels, each of half the size of the one before.
            n_latent: Height times width of a latent.
            n_noise: Noises under which the features of a prompt are kept.
        """
        n_deepest = n_latent // 4 ** (len(channels) - 1)
        n_shared = sum(self._shared[tensor] for tensor in self._taken)
        return Footprint(
            texts=self._itemsize * sum(tensor.numel() for text in texts for tensor in text.values()),
            all_paths=self._itemsize * (n_shared + sum(self._own)),
            largest_path=self._itemsize * self._largest,
            activations=self._itemsize * LIVE_HIDDEN_STATES * channels[0] * n_latent,
            states=self._itemsize * states,
            features=self._itemsize * channels[-1] * n_deepest,
            start=self._itemsize * 2 * channels[0] * n_latent,
            n_experts=len(self._own),
            n_noise=n_noise,
        )


class TensorMover:
    """Brings weights to a device in a number type; those of `shared`, which several models hold, once for all."""

    def __init__(self, device: torch.device, dtype: torch.dtype, shared: dict[str, Tensor] | None = None) -> None:
        self._place = device, dtype
        self._move = OnceForShared(self._moved, shared or {})

    def move(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The same weights, where they are needed: what was copied there leaves memory as part of a file.

        What can be used as part of the file is read from disk meanwhile.
        """
        self._files = MappedFiles()
        return {key: self._move(tensor) for key, tensor in tensors.items()}

    def _moved(self, tensor: Tensor) -> Tensor:
        is_cuda = self._place[0].type == "cuda"  # from pinned memory a copy goes on while the next weights are read
        moved = (tensor.pin_memory() if is_cuda else tensor).to(*self._place, non_blocking=is_cuda)
        if moved is tensor:
            self._files.fetch(tensor)
        else:
            self._files.release(tensor)
        return moved
