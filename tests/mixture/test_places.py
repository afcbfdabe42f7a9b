"""What stays in memory: as an independent cache keeps it, and as nobody who knows the future could better it."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from emoe_audit.mixture.forecasts import Foreseen, LastStep
from emoe_audit.mixture.places import Asked, Keeper, Places, Slot
from tests.mixture.keepers import Clairvoyant, Frequency, LeastRecentlyUsed, Shuffled, replay

LAYERS, EXPERTS = 3, 3
SLOTS = [Slot(layer, expert) for layer in range(LAYERS) for expert in range(EXPERTS)]
ONE_EACH = dict.fromkeys(SLOTS, 1)


def passes(needs: Sequence[int], steps: int = 10) -> list[Asked]:
    """A route: drawing after drawing, whose layers need the same expert at every step."""
    return [
        Asked(drawing=drawing, task="en", step=step, layer=layer, needed=frozenset([(own + layer) % EXPERTS]))
        for drawing, own in enumerate(needs)
        for step in range(steps)
        for layer in range(LAYERS)
    ]


def ordered(route: Sequence[Asked]) -> list[Slot]:
    return [Slot(now.layer, expert) for now in route for expert in sorted(now.needed)]


routes = st.lists(st.sets(st.integers(0, EXPERTS - 1), min_size=1), min_size=1, max_size=24).map(
    lambda needs: [
        Asked(drawing=0, task="", step=place // LAYERS, layer=place % LAYERS, needed=frozenset(own))
        for place, own in enumerate(needs)
    ]
)


@given(routes, st.integers(1, 6))
def test_the_least_recently_used_leave_as_an_ordered_dictionary_has_it(route: list[Asked], room: int) -> None:
    assume(all(len(now.needed) <= room for now in route))
    kept: OrderedDict[Slot, None] = OrderedDict()
    hits = 0
    for now in route:
        needed = [Slot(now.layer, expert) for expert in sorted(now.needed)]
        present = [slot for slot in needed if slot in kept]
        hits += len(present)
        for slot in present:
            kept.move_to_end(slot)
        for slot in needed:
            if slot not in kept and len(kept) == room:
                kept.popitem(last=False)
            kept[slot] = None
        for slot in needed:
            kept.move_to_end(slot)
    assert replay(route, ONE_EACH, room + 1, LeastRecentlyUsed()).hits == hits


def fewest_reads(asked: Sequence[Slot], room: int) -> int:
    """By trying everything: what was read may stay in the place of any other, or go."""

    @cache
    def reads(place: int, here: frozenset[Slot]) -> int:
        if place == len(asked):
            return 0
        slot = asked[place]
        if slot in here:
            return reads(place + 1, here)
        kept = [frozenset(own) for own in itertools.combinations(here | {slot}, min(room, len(here) + 1))]
        return 1 + min(reads(place + 1, own) for own in {here, *kept})

    return reads(0, frozenset())


@pytest.mark.parametrize("room", [1, 2, 3])
@pytest.mark.parametrize("seed", range(6))
def test_nobody_reads_less_than_who_knows_the_future(seed: int, room: int) -> None:
    rng = np.random.default_rng(seed)
    route = [
        Asked(drawing=0, task="", step=place // LAYERS, layer=place % LAYERS, needed=frozenset([int(rng.integers(3))]))
        for place in range(14)
    ]
    assert replay(route, ONE_EACH, room + 1, Clairvoyant(route)).bytes_read == fewest_reads(ordered(route), room)


@given(routes, st.integers(1, 8))
def test_of_equal_layers_no_way_reads_less_than_the_clairvoyant(route: list[Asked], room: int) -> None:
    best = replay(route, ONE_EACH, room + 1, Clairvoyant(route)).hits
    others: list[Keeper] = [LeastRecentlyUsed(), Foreseen(LastStep(), ONE_EACH), Foreseen(Frequency(), ONE_EACH)]
    assert all(replay(route, ONE_EACH, room + 1, keeper).hits <= best for keeper in others)


@given(routes, st.integers(0, 30), st.randoms(use_true_random=False))
def test_what_lies_there_never_takes_more_than_the_budget(route: list[Asked], more: int, random) -> None:  # type: ignore[no-untyped-def]
    sizes = {slot: random.randint(1, 9) for slot in SLOTS}
    budget, here = max(sizes.values()) + more, set[Slot]()
    places = Places(sizes, budget, Foreseen(LastStep(), sizes))
    for now in route:
        places.enter(now)
        for expert in sorted(now.needed):
            slot = Slot(now.layer, expert)
            answer = places.ask(slot)
            assert answer.is_here == (slot in here)
            here -= set(answer.leaving)
            in_use = 0 if slot in here else sizes[slot]
            assert sum(sizes[own] for own in here) + in_use <= budget
            here |= {slot} if answer.stays else set()


def test_where_passes_do_not_fit_the_least_recently_used_are_never_there_and_a_forecast_keeps_its_share() -> None:
    route = passes([0, 1, 0, 2])
    room, asked = 2, len(route)
    least = replay(route, ONE_EACH, room + 1, LeastRecentlyUsed())
    foreseen = replay(route, ONE_EACH, room + 1, Foreseen(LastStep(), ONE_EACH))
    best = replay(route, ONE_EACH, room + 1, Clairvoyant(route))
    assert least.hits == 0
    assert best.hits - 4 * LAYERS <= foreseen.hits <= best.hits
    assert foreseen.hits > 0.5 * asked


def test_a_shuffled_forecast_does_worse() -> None:
    route = passes([own % 3 for own in range(12)])
    keepers = [Foreseen(own, ONE_EACH) for own in (LastStep(), Shuffled(LastStep(), LAYERS, EXPERTS, seed=2))]
    known, shuffled = (replay(route, ONE_EACH, 3, keeper).hits for keeper in keepers)
    assert shuffled < 0.7 * known


def test_a_budget_below_the_largest_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="3 bytes, the largest takes 4"):
        Places({Slot(0, 0): 4, Slot(0, 1): 1}, 3, LeastRecentlyUsed())
