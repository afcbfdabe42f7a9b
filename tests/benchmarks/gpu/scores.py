"""Scores of a device against the CPU's: in every number type, at any batch size, streamed or with all experts there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import torch

from emoe_audit.experts.devices import resolve_dtype
from emoe_audit.experts.ensemble import Ensemble, load_ensemble
from emoe_audit.experts.residency import Residency
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.types import Dtype, EnsembleSpec, Prompt, ScoringConfig
from tests.benchmarks.gpu.drawn import Design, Drawn, draw
from tests.benchmarks.gpu.exact import exact_float32
from tests.benchmarks.gpu.findings import AS_IT_COMES, TOLERANCES, Finding

COLUMNS = ["disagreement", "relative_disagreement", "feature_power"]
TEXTS = ["a red apple", "ein Hund", "सेब", "犬", "a sleeping face", "שמש", "the flag of Japan", "zzz qqq", ""]
N_NOISE = 2
TRUE_SIZE_PROMPTS = 3
NARROW: tuple[Dtype, ...] = ("float16", "bfloat16")
N_STREAMED = 8
"""Experts of a small ensemble of which two at a time take less than all."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """How prompts are scored, which must not matter to the scores."""

    device: str = "cpu"
    dtype: Dtype = "float32"
    batch_size: int = 4
    residency: Residency = "all"


Scored = Callable[[Way], np.ndarray]
"""`[prompt, column]`"""


def check_scores(score: Scored, device: str) -> list[Finding]:
    """In every number type and batch size. Raises what scoring raises."""
    expected, here, limit = score(Way()), Way(device=device), TOLERANCES["float32"]
    with exact_float32():
        own, alone, together = (score(replace(here, batch_size=size)) for size in (4, 1, len(TEXTS)))
    return [
        _finding("scores_float32", own, expected, limit),
        _finding("scores_batch_of_1", alone, own, limit),
        _finding("scores_batch_of_all", together, own, limit),
        _finding("scores_float32_as_it_comes", score(here), expected, AS_IT_COMES),
        *(
            _finding(f"scores_{dtype}", score(replace(here, dtype=dtype)), expected, TOLERANCES[dtype])
            for dtype in NARROW
        ),
    ]


def check_streaming(score: Scored, device: str) -> list[Finding]:
    """Of an ensemble so large that fewer than all its experts at a time are worth it. Raises what scoring raises."""
    ways: tuple[Residency, ...] = get_args(Residency)
    with exact_float32():
        found = {way: score(Way(device=device, residency=way)) for way in ways}
    return [
        _finding(f"scores_{way}_at_a_time", found[way], found["all"], TOLERANCES["float32"]) for way in ("two", "one")
    ]


def check_true_size(design: Design, device: torch.device, drawn: Drawn | None = None) -> list[Finding]:
    """The same of a design whose kernels are those of real models, in float32; `drawn` takes the place of its draw."""
    drawn = drawn or draw(design, device)
    texts = [f"{number} dogs on a red sofa" for number in range(TRUE_SIZE_PROMPTS)]
    with exact_float32():
        here = scores(drawn.load(device, torch.float32), texts, 2)
        expected = scores(drawn.load(torch.device("cpu"), torch.float32), texts, 1)
    return [_finding(f"scores_at_{design.name}_size", here, expected, TOLERANCES["float32"])]


def scores_of(spec: EnsembleSpec, way: Way) -> np.ndarray:
    """Of `TEXTS`, of an ensemble on disk."""
    budget = None if way.residency == "all" else _budget(spec, way)
    ensemble = load_ensemble(spec, device=way.device, dtype=way.dtype, memory_budget=budget, n_noise=N_NOISE)
    assert ensemble.residency == way.residency, f"{ensemble.residency} under {budget} bytes"
    return scores(ensemble, TEXTS, way.batch_size, N_NOISE)


def scores(ensemble: Ensemble, texts: list[str], batch_size: int | None, n_noise: int = 1) -> np.ndarray:
    """`[prompt, column]`"""
    return engine_of(ensemble, batch_size, n_noise).score(prompts_of(texts))[COLUMNS].to_numpy()


def engine_of(ensemble: Ensemble, batch_size: int | None, n_noise: int = 1) -> ScoringEngine:
    """`None` has the batch size found."""
    dtype = next(name for name in get_args(Dtype) if resolve_dtype(name) == ensemble.dtype)
    return ScoringEngine(ensemble, ScoringConfig(n_noise=n_noise, batch_size=batch_size, dtype=dtype))


def prompts_of(texts: list[str]) -> list[Prompt]:
    """One for each text."""
    return [Prompt(prompt_id=str(index), prompt=text, source_id=str(index)) for index, text in enumerate(texts)]


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest, relative; NaN where a number is missing."""
    return float(np.max(np.abs(found / expected - 1)))


def _finding(what: str, found: np.ndarray, expected: np.ndarray, tolerance: float) -> Finding:
    return Finding(what=what, value=difference(found, expected), at_most=tolerance)


def _budget(spec: EnsembleSpec, way: Way) -> int:
    """With room for all of `TEXTS` to wait for the next expert."""
    own = load_ensemble(spec, device=way.device, dtype=way.dtype, n_noise=N_NOISE).footprint
    return own.needed(way.residency) + len(TEXTS) * own.a_prompt
