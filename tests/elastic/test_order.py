"""Orders of experts and noises: what may come next, what is chosen, and what is drawn by lot."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from emoe_audit.elastic.order import TEXT, Part, at_cost, by_lot, further, greedy

WHOLE = Part(experts=(0, 1, 2, 3), n_noise=4)


def part(*experts: int, n_noise: int) -> Part:
    return Part(experts=experts, n_noise=n_noise)


def test_after_the_text_come_two_experts_then_one_expert_or_one_noise_at_a_time() -> None:
    assert list(further(TEXT, WHOLE)) == [part(*pair, n_noise=1) for pair in itertools.combinations(range(4), 2)]
    assert list(further(part(0, 2, n_noise=1), WHOLE)) == [
        part(0, 1, 2, n_noise=1),
        part(0, 2, 3, n_noise=1),
        part(0, 2, n_noise=2),
    ]
    assert list(further(part(0, 1, 2, 3, n_noise=3), WHOLE)) == [WHOLE]
    assert list(further(WHOLE, WHOLE)) == []


def test_what_adds_most_for_each_further_path_comes_next() -> None:
    """From the pair, the third expert adds 0.2 for one path, the second noise 0.3 for two."""
    known = {
        part(0, 1, n_noise=1): 0.3,
        part(0, 2, n_noise=1): 0.5,
        part(1, 2, n_noise=1): 0.4,
        part(0, 1, 2, n_noise=1): 0.7,
        part(0, 2, n_noise=2): 0.8,
        part(0, 1, 2, n_noise=2): 1.0,
    }
    order = greedy(part(0, 1, 2, n_noise=2), known.__getitem__)
    assert order == [TEXT, part(0, 2, n_noise=1), part(0, 1, 2, n_noise=1), part(0, 1, 2, n_noise=2)]


@pytest.mark.parametrize("seed", range(5))
def test_every_prefix_is_an_ensemble_that_holds_the_one_before(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for order in (by_lot(WHOLE, rng), greedy(WHOLE, lambda _part: float(rng.random()))):
        assert order[0] == TEXT and order[-1] == WHOLE
        assert len(order) == 2 + (4 - 2) + (4 - 1)
        for before, own in itertools.pairwise(order):
            assert {*before.experts} <= {*own.experts} and before.n_noise <= own.n_noise
            assert before.n_paths < own.n_paths and len(own.experts) != 1


def test_an_agreement_that_is_no_number_loses_and_none_at_all_stops_nothing() -> None:
    pair = part(0, 1, n_noise=1)
    assert greedy(WHOLE, lambda own: 0.9 if own == pair else math.nan)[1] == pair
    assert greedy(WHOLE, lambda _own: math.nan)[-1] == WHOLE


def test_lots_differ_and_every_order_can_be_drawn() -> None:
    whole = part(0, 1, 2, n_noise=2)
    rng = np.random.default_rng(0)
    drawn = {tuple(by_lot(whole, rng)) for _ in range(200)}
    assert len(drawn) == 3 * 2, "three pairs, then the expert or the noise first"


def test_what_an_order_has_at_a_cost_has_as_many_paths_or_is_not_there() -> None:
    order = [TEXT, part(0, 1, n_noise=1), part(0, 1, n_noise=2), part(0, 1, 2, n_noise=2)]
    assert at_cost(order, part(0, 1, 2, 3, n_noise=1)) == order[2]
    assert at_cost(order, part(0, 1, 2, n_noise=1)) is None
