"""How many prompts pass an expert at once: bounded by the memory budget, found while prompts are scored."""

from __future__ import annotations

import logging

import torch

from emoe_audit.errors import EnsembleError
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


class BatchSize:
    """Doubles while prompts go through faster for it, and halves where memory runs out."""

    def __init__(self, first: int, most: int) -> None:
        """Of `first` prompts, of `most` at most; where both are the same, that many."""
        self.size, self._most = first, most
        self._pace = float("inf")

    def took(self, n_prompts: int, seconds: float) -> None:
        """Learn from what a batch took."""
        if n_prompts < self.size or self.size >= self._most:
            return
        pace = seconds / n_prompts
        if pace * GAIN < self._pace:
            self._pace, self.size = pace, min(2 * self.size, self._most)
        else:
            self.size = self._most = max(1, self.size // 2)

    def ran_out_of_memory(self, where: str) -> None:
        """Go on with half as many. Raises `EnsembleError` where one prompt alone is too many."""
        if self.size == 1:
            raise EnsembleError(
                f"{where}: out of memory with one prompt; give a --memory-budget, so that experts are streamed, "
                "or a --dtype of fewer bytes"
            )
        self.size = self._most = self.size // 2
        log.warning("%s: out of memory; going on with %d prompts at once", where, self.size)


def batch_sizes(ensemble: Ensemble, config: ScoringConfig) -> tuple[BatchSize, int | None]:
    """Prompts that pass an expert at once; where experts are streamed, how many wait for the next one, else None.

    Raises `EnsembleError` where the memory budget leaves no room for one prompt.
    """
    own = ensemble.footprint
    most, first = config.batch_size or MOST, config.batch_size or max(1, min(MOST, FIRST_BYTES // own.activations))
    if ensemble.memory_budget is None:
        return BatchSize(first, most), None
    weights = own.weights(ensemble.residency)
    room = ensemble.memory_budget - weights - config.n_noise * own.n_experts * own.start
    a_prompt = own.states + config.n_noise * own.n_experts * own.features
    most = max(1, min(most, room // (2 * (own.activations + a_prompt))))
    waiting = (room - most * own.activations) // a_prompt
    if waiting < 1:
        raise EnsembleError(
            f"{ensemble.spec.name}: a memory budget of {gib(ensemble.memory_budget)} leaves no room for a prompt under "
            f"{config.n_noise} noises; give {gib(config.n_noise * own.n_experts * (own.start + own.features))} more"
        )
    most = min(most, waiting)
    if ensemble.residency != "all":
        return BatchSize(most, most), waiting
    return BatchSize(min(first, most), most), None


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch raised it for want of memory; CPU and MPS have no class of their own for that."""
    words = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in words or "can't allocate memory" in words
