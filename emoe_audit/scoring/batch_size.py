"""How many prompts pass an expert at once: bounded by memory, found while prompts are scored."""

from __future__ import annotations

import logging
from dataclasses import replace

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.devices import free_bytes
from emoe_audit.experts.ensemble import Ensemble
from emoe_audit.experts.residency import gib
from emoe_audit.types import ScoringConfig

log = logging.getLogger(__name__)
MOST = 64
"""More at once was never faster; a run loses no more than a batch when it is stopped."""
FIRST_BYTES = 8 << 20
"""Activations of the first batch that is tried: what the caches of one core hold."""
GAIN = 1.05
"""How many times as fast a batch of twice the size has to be to be worth its memory."""
TRIALS = 2
"""Batches of each size, of which the faster counts: the first of all also pays for what is done once."""


class BatchSize:
    """Doubles while prompts go through faster for it, and halves where memory runs out."""

    def __init__(self, first: int, most: int, waiting: int | None = None) -> None:
        """Of `first` prompts, of `most` at most; `waiting` prompts wait for the next expert where it is streamed."""
        self.size, self._most, self._waiting = first, most, waiting
        self._before, self._best = first, float("inf")
        self._paces: list[float] = []
        self._is_settled = first == most

    @property
    def chunk(self) -> int:
        """Prompts that are kept until all experts have seen them."""
        return self._waiting or self.size

    def took(self, n_prompts: int, seconds: float) -> None:
        """Learn from what a chunk took."""
        if self._is_settled or n_prompts < self.size:
            return
        self._paces.append(seconds / n_prompts)
        if len(self._paces) < TRIALS:
            return
        pace, self._paces = min(self._paces), []
        if pace * GAIN > self._best:
            self.size, self._is_settled = self._before, True
            return
        self._before, self._best = self.size, pace
        self._is_settled = self.size == self._most
        self.size = min(2 * self.size, self._most)

    def ran_out_of_memory(self, n_prompts: int, where: str) -> None:
        """Go on with half of `n_prompts`. Raises `EnsembleError` where one prompt alone is too many."""
        if n_prompts == 1:
            raise EnsembleError(
                f"{where}: out of memory with one prompt; give a smaller --memory-budget, so that experts are "
                "streamed, or a --dtype of fewer bytes"
            )
        self.size, self._is_settled = min(self.size, n_prompts // 2), True
        self._waiting = None if self._waiting is None else n_prompts // 2
        log.warning("%s: out of memory; going on with %d prompts at once", where, self.chunk)


def batch_sizes(ensemble: Ensemble, config: ScoringConfig) -> BatchSize:
    """What the budget, or where there is none the memory that is free, has room for.

    Raises `EnsembleError` where the memory budget leaves no room for one prompt.
    """
    own, budget = replace(ensemble.footprint, n_noise=config.n_noise), ensemble.memory_budget
    most, first = config.batch_size or MOST, config.batch_size or max(1, min(MOST, FIRST_BYTES // own.activations))
    if budget is None:
        free = free_bytes(ensemble.device)
        if config.batch_size is None and free is not None:
            most = max(1, min(most, free // (2 * (own.activations + own.a_prompt))))
        return BatchSize(min(first, most), most)
    room = own.room(budget, ensemble.residency)
    most = max(1, min(most, room // (2 * (own.activations + own.a_prompt))))
    waiting = (room - most * own.activations) // own.a_prompt
    if waiting < 1:
        raise EnsembleError(
            f"{ensemble.spec.name}: a memory budget of {gib(budget)} leaves no room for a prompt under "
            f"{config.n_noise} noises; give {gib(own.activations + own.a_prompt - room)} more"
        )
    most = min(most, waiting)
    return BatchSize(min(first, most), most) if ensemble.residency == "all" else BatchSize(most, most, waiting)
