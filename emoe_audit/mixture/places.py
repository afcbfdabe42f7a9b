"""Which experts' layers are in memory where there is room for some: what is asked for, what stays, what leaves.

Nothing here holds a weight, so that what a way to choose would have cost is found from a recorded route alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Slot(NamedTuple):
    """The layers of one expert at one place of a pass through the UNet."""

    layer: int
    """By its place in a pass."""
    expert: int


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What one layer needs of its experts at one step of a drawing."""

    drawing: int
    task: str
    step: int
    layer: int
    needed: frozenset[int]


class Keeper(Protocol):
    """A way to choose what stays."""

    declines: bool
    """Whether what was just read may be the first to leave."""

    def asked(self, now: Asked) -> None:
        """Be told what is needed, before any of it is used."""

    def wait(self, slot: Slot) -> float:
        """How long it will not be needed; what waits longest leaves first."""
        ...


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What becomes of a slot that is needed."""

    is_here: bool
    stays: bool
    """Whether it lies in memory after it was used."""
    leaving: tuple[Slot, ...] = ()
    """What has to leave before it is read."""


@dataclass(kw_only=True)
class Counts:
    """What was asked for, and what it cost."""

    asked: int = 0
    hits: int = 0
    bytes_read: int = 0

    @property
    def hit_rate(self) -> float:
        """Share of what was asked for that was in memory."""
        return self.hits / self.asked if self.asked else float("nan")


class Places:
    """The slots in memory under a budget.

    Beside those that stay there is always room for the largest, which is that in use, so that one may be read without
    another having to leave for it.
    """

    def __init__(self, sizes: Mapping[Slot, int], budget: int, keeper: Keeper) -> None:
        """`sizes` are the bytes of every slot. Raises `ValueError` for a budget below the largest."""
        self._sizes, self._keeper, self.budget = sizes, keeper, budget
        self._room = budget - max(sizes.values())
        if self._room < 0:
            raise ValueError(f"{budget} bytes, the largest takes {max(sizes.values())}")
        self._here: set[Slot] = set()
        self._to_come: set[Slot] = set()
        self._used = 0
        self.counts = Counts()

    def enter(self, now: Asked) -> None:
        """A layer is entered, and needs some of its experts."""
        self._keeper.asked(now)
        self._to_come = {Slot(now.layer, expert) for expert in now.needed}

    def ask(self, slot: Slot) -> Answer:
        """One of these is used."""
        self._to_come.discard(slot)
        self.counts.asked += 1
        if slot in self._here:
            self.counts.hits += 1
            return Answer(is_here=True, stays=True)
        self.counts.bytes_read += self._sizes[slot]
        leaving = self._make_room(slot)
        if leaving is None:
            return Answer(is_here=False, stays=False)
        self._here -= set(leaving)
        self._here.add(slot)
        self._used += self._sizes[slot] - sum(self._sizes[own] for own in leaving)
        return Answer(is_here=False, stays=True, leaving=tuple(leaving))

    def _make_room(self, slot: Slot) -> list[Slot] | None:
        """What leaves for a slot; None where it had better not stay itself."""
        free, leaving = self._room - self._used, []
        if free >= self._sizes[slot]:
            return []
        own = self._keeper.wait(slot)
        for other in sorted(self._here, key=self._leaves_before, reverse=True):
            if self._keeper.declines and self._wait(other) <= own:
                return None
            leaving.append(other)
            free += self._sizes[other]
            if free >= self._sizes[slot]:
                return leaving
        return None

    def _wait(self, slot: Slot) -> float:
        return -1.0 if slot in self._to_come else self._keeper.wait(slot)

    def _leaves_before(self, slot: Slot) -> tuple[float, int, int]:
        return self._wait(slot), -slot.layer, -slot.expert
