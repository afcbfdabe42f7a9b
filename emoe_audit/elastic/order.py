"""In which order experts and noises are taken: greedily by what they add to the agreement with the whole, or by lot.

A part of an ensemble is some of its experts under the first noises. Noises are drawn alike, so none is chosen before
another: a run with more of them goes on from one with fewer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some experts under the first noises; without noises the text encoder alone."""

    experts: tuple[int, ...] = ()
    """By their place in the ensemble, sorted."""
    n_noise: int = 0

    @property
    def n_paths(self) -> int:
        """Times that a prompt passes an expert."""
        return len(self.experts) * self.n_noise


TEXT = Part()
"""The text encoder alone, with which every order begins."""
Agreement = Callable[[Part], float]
"""Of a part's scores with those of the whole; 1 where they are the same."""


def further(part: Part, whole: Part) -> Iterator[Part]:
    """The parts that come next: one expert more or one noise more, after the text two experts under one noise."""
    if not part.n_noise:
        for pair in itertools.combinations(whole.experts, 2):
            yield Part(experts=pair, n_noise=1)
        return
    for expert in whole.experts:
        if expert not in part.experts:
            yield Part(experts=tuple(sorted((*part.experts, expert))), n_noise=part.n_noise)
    if part.n_noise < whole.n_noise:
        yield Part(experts=part.experts, n_noise=part.n_noise + 1)


def greedy(whole: Part, agreement: Agreement) -> list[Part]:
    """From the text to the whole: next comes what adds most agreement for each further path of a prompt.

    Args:
        whole: All experts, at least two, under all noises, at least one.
        agreement: Is asked of each part that could come next.
    """
    order, last = [TEXT], 0.0
    while order[-1] != whole:
        coming = list(further(order[-1], whole))
        worth = [agreement(part) for part in coming]
        gains = [(own - last) / (part.n_paths - order[-1].n_paths) for own, part in zip(worth, coming, strict=True)]
        best = int(np.nanargmax(gains)) if not np.isnan(gains).all() else 0
        order.append(coming[best])
        last = worth[best]
    return order


def by_lot(whole: Part, rng: np.random.Generator) -> list[Part]:
    """From the text to the whole, each step drawn among those that could come next."""
    order = [TEXT]
    while order[-1] != whole:
        coming = list(further(order[-1], whole))
        order.append(coming[int(rng.integers(len(coming)))])
    return order


def at_cost(order: Sequence[Part], part: Part) -> Part | None:
    """What an order has at the cost of a part; None where it has nothing of just that cost."""
    return next((own for own in order if own.n_paths == part.n_paths), None)
