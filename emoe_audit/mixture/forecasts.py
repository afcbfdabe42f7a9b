"""Which experts a layer will need: what is foreseen of a route from what was seen of it.

Persistence: the same as at the last step. In drawings of embedded ensembles it reads hardly more bytes than one who
knows the whole route; what was held against it (the last drawing, as eMoE has it in arXiv 2503.06823, how often by
task, and a model that learns) stands in `tests/mixture/keepers.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

from emoe_audit.mixture.places import Asked, Slot

UNKNOWN = 0.5
"""Chance of an expert of which nothing was seen."""
LEAST = 1e-3
"""Chance below which none is foreseen: what nobody expects waits a thousand passes."""


class Forecast(Protocol):
    """How probable it is that an expert is needed when a layer comes again."""

    def seen(self, now: Asked) -> None:
        """Learn from what is needed."""

    def chance(self, now: Asked, slot: Slot) -> float:
        """That a slot is needed at its layer's next turn."""
        ...


class Foreseen:
    """What is expected to be needed latest leaves: turns until its layer comes, and passes until it is its own.

    That time counts with the root of its bytes. Each pass goes through all layers, so with time alone large layers keep
    out as much as several small ones: of emoji-a's drawings with 40% of the bytes in memory 57% of what was asked for
    was there, with the root 93% (and 62% of the bytes, with time alone 64%).
    """

    declines = True

    def __init__(self, forecast: Forecast, sizes: Mapping[Slot, int]) -> None:
        self._forecast, self._n = forecast, 1 + max(slot.layer for slot in sizes)
        self._weight = {slot: math.sqrt(size) for slot, size in sizes.items()}
        self._now: Asked | None = None

    def asked(self, now: Asked) -> None:
        """Look at the moment, and learn from it."""
        self._now = now
        self._forecast.seen(now)

    def wait(self, slot: Slot) -> float:
        """The expected number of layers until then, by weight."""
        assert self._now is not None, "a layer is entered before anything is chosen"
        turns = (slot.layer - self._now.layer - 1) % self._n + 1
        passes = 1 / max(self._forecast.chance(self._now, slot), LEAST) - 1
        return (turns + passes * self._n) * self._weight[slot]


class LastStep:
    """The same as the last time."""

    def __init__(self) -> None:
        self._last: dict[int, frozenset[int]] = {}

    def seen(self, now: Asked) -> None:
        """Remember it."""
        self._last[now.layer] = now.needed

    def chance(self, now: Asked, slot: Slot) -> float:
        """1 for what was needed then, 0 for what was not."""
        return float(slot.expert in self._last[slot.layer]) if slot.layer in self._last else UNKNOWN
