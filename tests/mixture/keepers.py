"""What the forecast that ships is held against: other ways to choose what stays, and what a route would have cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from emoe_audit.mixture.forecasts import UNKNOWN, Forecast
from emoe_audit.mixture.places import Asked, Counts, Keeper, Places, Slot


def replay(route: Iterable[Asked], sizes: Mapping[Slot, int], budget: int, keeper: Keeper) -> Counts:
    """What a route would have cost; the experts of a layer are used in their order."""
    places = Places(sizes, budget, keeper)
    for now in route:
        places.enter(now)
        for expert in sorted(now.needed):
            places.ask(Slot(now.layer, expert))
    return places.counts


class LeastRecentlyUsed:
    """What was not used for longest leaves."""

    declines = False

    def __init__(self) -> None:
        self._now = 0
        self._last: dict[Slot, int] = {}

    def asked(self, now: Asked) -> None:
        """Note the moment."""
        self._now += 1
        self._last |= dict.fromkeys((Slot(now.layer, expert) for expert in now.needed), self._now)

    def wait(self, slot: Slot) -> float:
        """How long it was not used."""
        return self._now - self._last.get(slot, 0)


class Clairvoyant:
    """Knows the whole route: what is needed latest leaves (Belady 1966). No keeper of slots of one size reads less."""

    declines = True

    def __init__(self, route: Sequence[Asked]) -> None:
        self._now = -1
        self._uses: dict[Slot, list[int]] = {}
        for moment in range(len(route) - 1, -1, -1):
            for expert in route[moment].needed:
                self._uses.setdefault(Slot(route[moment].layer, expert), []).append(moment)

    def asked(self, now: Asked) -> None:
        """Go on by one."""
        self._now += 1
        for expert in now.needed:
            self._uses[Slot(now.layer, expert)].pop()

    def wait(self, slot: Slot) -> float:
        """Until it is needed again."""
        uses = self._uses.get(slot)
        return uses[-1] - self._now if uses else float("inf")


class LastDrawing:
    """The same as at that step of the last drawing; of every `every`-th alone, which then stands for the next ones."""

    def __init__(self, every: int = 1) -> None:
        self._every = every
        self._kept: dict[tuple[int, int], frozenset[int]] = {}
        self._coming: dict[tuple[int, int], frozenset[int]] = {}
        self._drawing: int | None = None

    def seen(self, now: Asked) -> None:
        """Remember a drawing once it is over."""
        if now.drawing != self._drawing:
            self._kept, self._coming, self._drawing = self._coming or self._kept, {}, now.drawing
        if now.drawing % self._every == 0:
            self._coming[now.step, now.layer] = now.needed

    def chance(self, now: Asked, slot: Slot) -> float:
        """1 for what was needed then, 0 for what was not."""
        step = now.step + (slot.layer <= now.layer)
        needed = self._kept.get((step, slot.layer), self._kept.get((0, slot.layer)))
        return UNKNOWN if needed is None else float(slot.expert in needed)


class Frequency:
    """How often it was needed at that step of drawings of the same task; at first of all tasks."""

    def __init__(self) -> None:
        self._turns: Counter[tuple[str | None, int, int]] = Counter()
        self._needed: Counter[tuple[str | None, int, Slot]] = Counter()

    def seen(self, now: Asked) -> None:
        """Count it."""
        for task in (now.task, None):
            self._turns[task, now.step, now.layer] += 1
            self._needed.update((task, now.step, Slot(now.layer, expert)) for expert in now.needed)

    def chance(self, now: Asked, slot: Slot) -> float:
        """Laplace's rule of succession, of the task around that of all."""
        step = now.step + (slot.layer <= now.layer)
        if not self._turns[None, step, slot.layer]:
            step = 0
        of_all = (self._needed[None, step, slot] + 1) / (self._turns[None, step, slot.layer] + 2)
        return (self._needed[now.task, step, slot] + of_all) / (self._turns[now.task, step, slot.layer] + 1)


class Shuffled:
    """A forecast that takes experts for others, those of each layer in a fixed way: the control of every forecast."""

    def __init__(self, forecast: Forecast, n_layers: int, n_experts: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self._forecast, self._others = forecast, [rng.permutation(n_experts).tolist() for _ in range(n_layers)]

    def seen(self, now: Asked) -> None:
        """Let it learn."""
        self._forecast.seen(now)

    def chance(self, now: Asked, slot: Slot) -> float:
        """That of another."""
        return self._forecast.chance(now, Slot(slot.layer, self._others[slot.layer][slot.expert]))
