"""What a batch takes of a device, and what becomes of it where there is too little."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from emoe_audit.experts.ensemble import Ensemble
from tests.benchmarks.gpu.drawn import Design, draw
from tests.benchmarks.gpu.exact import exact_float32
from tests.benchmarks.gpu.findings import TOLERANCES, Finding
from tests.benchmarks.gpu.room import capped, peak_bytes
from tests.benchmarks.gpu.scores import COLUMNS, difference, engine_of, prompts_of

SMALLER, LARGER = 2, 8
"""Batches whose peaks are compared."""
ROOM = 10
"""Prompts for which the device has memory where it is short."""
ASKED = 32
"""Prompts at once that are asked for then."""
RECKONED = 2.0
"""The engine bounds a batch as if each of its prompts took twice what it reckons with."""
BUDGET_KEPT = 1.2
"""What is taken under a memory budget, over the budget: libraries take some for themselves."""
Score = Callable[[Ensemble, list[str], int | None], tuple[np.ndarray, int]]
"""Scores `[prompt, column]`, and the batch size that was come to: of an ensemble, texts, and a batch size or None."""


def check_memory(design: Design, device: torch.device, score: Score | None = None) -> list[Finding]:
    """In float32. Raises what scoring raises."""
    score, drawn = score or scored, draw(design, device)
    with exact_float32():
        whole = drawn.load(device, torch.float32)
        found = [_a_prompt(score, whole, device), *_short(score, whole, device), *_found_size(score, whole)]
        texts, own = _texts(SMALLER), whole.footprint
        expected, _ = score(whole, texts, 1)
        del whole
        budget = own.needed("one") + SMALLER * (own.activations + own.a_prompt)
        streamed: list[np.ndarray] = []

        def stream() -> None:
            ensemble = drawn.load(device, torch.float32, budget)
            assert ensemble.residency == "one", ensemble.residency
            streamed.append(score(ensemble, texts, None)[0])

        peak = peak_bytes(stream, device)
    return [
        *found,
        Finding(what="streamed_peak_over_budget", value=peak / budget, at_most=BUDGET_KEPT),
        _alike("streamed_scores", streamed[0], expected),
    ]


def scored(ensemble: Ensemble, texts: list[str], batch_size: int | None) -> tuple[np.ndarray, int]:
    """By the engine."""
    engine = engine_of(ensemble, batch_size)
    return engine.score(prompts_of(texts))[COLUMNS].to_numpy(), engine.batch_size


def _a_prompt(score: Score, ensemble: Ensemble, device: torch.device) -> Finding:
    """What each further prompt of a batch takes, over what is reckoned for it; 0 if the size of batches is ignored."""
    own, texts = ensemble.footprint, _texts(LARGER)
    small, large = (peak_bytes(lambda n=n: score(ensemble, texts, n), device) for n in (SMALLER, LARGER))  # type: ignore[misc]
    taken = (large - small) / (LARGER - SMALLER) / (own.activations + own.a_prompt)
    return Finding(what="memory_a_prompt_over_reckoned", value=taken, at_least=0.25, at_most=RECKONED)


def _short(score: Score, ensemble: Ensemble, device: torch.device) -> list[Finding]:
    """With memory for some prompts of a batch, as it is where others use the device, too."""
    own, texts = ensemble.footprint, _texts(ASKED)
    expected, _ = score(ensemble, texts, SMALLER)
    room = own.n_experts * own.start + ROOM * (own.activations + own.a_prompt)
    with capped(device, room):
        found, size = score(ensemble, texts, ASKED)
    return [
        Finding(what="batch_size_where_memory_is_short", value=size, at_least=1, at_most=ASKED // 2),
        _alike("scores_where_memory_is_short", found, expected),
    ]


def _found_size(score: Score, ensemble: Ensemble) -> list[Finding]:
    texts = _texts(ASKED)
    expected, _ = score(ensemble, texts, SMALLER)
    found, size = score(ensemble, texts, None)
    return [
        Finding(what="batch_size_auto", value=size, at_least=2),
        _alike("scores_of_batch_size_auto", found, expected),
    ]


def _alike(what: str, found: np.ndarray, expected: np.ndarray) -> Finding:
    return Finding(what=what, value=difference(found, expected), at_most=TOLERANCES["float32"])


def _texts(n: int) -> list[str]:
    return [f"{number} dogs on a red sofa" for number in range(n)]
