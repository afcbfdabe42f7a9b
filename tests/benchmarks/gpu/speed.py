"""What a score costs with random weights, and against every expert's whole UNet with guidance."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from emoe_audit.experts.devices import is_out_of_memory, resolve_dtype
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.types import Dtype
from tests.benchmarks.gemm import Gemm, count_gflop, gemm_rate, layer_gemms, path_cost
from tests.benchmarks.gpu.drawn import Design, Drawn, draw
from tests.benchmarks.gpu.findings import TOLERANCES, Finding
from tests.benchmarks.gpu.naive import Naive
from tests.benchmarks.gpu.scores import engine_of, prompts_of
from tests.benchmarks.stopwatch import seconds

LARGE = Gemm(rows=8192, inner=8192, columns=8192)
"""A product of a size by which peaks are told."""
LAYERS_BATCH = 8
"""Prompts whose layers' products are tried beside it."""
AT_ONCE = 10
"""Products timed together, so that none waits for the host."""
REPEATS = 5
TURN = 1.0
"""Seconds of work in each repeat, where a batch takes less."""
NAIVE_BATCHES = (4, 16, 32)
SEEN = 0.5
"""Share of the operations saved that is to be seen in the time."""
SPARED = 1.05
"""Operations of a score over those that it cannot do without: from the first cross-attention to the mid-block."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """A way to go through prompts, so many at once."""

    run: Callable[[list[str]], object]
    batch: int
    device: torch.device

    def seconds(self, texts: FreshTexts, n_batches: int = 1) -> float:
        """A prompt."""
        own = texts(n_batches * self.batch)
        return seconds(lambda: self.run(own), self.device) / len(own)

    def turn(self, texts: FreshTexts) -> int:
        """Batches for about `TURN` seconds."""
        return max(1, round(TURN / (self.batch * self.seconds(texts))))


class FreshTexts:
    """Texts of which none comes twice, so that nothing can be remembered from the call before."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def __call__(self, n: int) -> list[str]:
        return [f"a photograph of {number} dogs in the sun" for number in itertools.islice(self._numbers, n)]


def check_speed(design: Design, device: torch.device, dtypes: Sequence[Dtype], large: Gemm = LARGE) -> list[Finding]:
    """In the first number type all there is to tell, in the others prompts a second. Raises what scoring raises."""
    drawn, texts = draw(design, device, torch.bfloat16), FreshTexts()
    figures = _in_detail(drawn, device, dtypes[0], large, texts)
    for dtype in dtypes[1:]:
        pace = _pace(_scoring(engine_of(drawn.load(device, resolve_dtype(dtype)), None), texts), texts)
        figures.append(Finding(what=f"prompts_per_second_{dtype}", value=1 / pace))
    return [replace(own, what=f"{design.name}_{own.what}") for own in figures]


def _in_detail(drawn: Drawn, device: torch.device, dtype: Dtype, large: Gemm, texts: FreshTexts) -> list[Finding]:
    config, kind = dict(drawn.design.unet), resolve_dtype(dtype)
    engine, naive = engine_of(drawn.load(device, kind), None), Naive(drawn, device, kind)
    ours, other = _scoring(engine, texts), _naively(naive, texts, device)
    speedup, pace = _against(ours, other, texts)
    gflop = _gflop(ours.run, texts(ours.batch))
    needed = drawn.design.n_experts * path_cost(config).least + _gflop(engine.text_states, texts(ours.batch))
    saved = 2 * drawn.design.n_experts * path_cost(config).whole / gflop
    gemms = {*layer_gemms(config, LAYERS_BATCH), large}
    peak = max(gemm_rate(gemm, kind, device, at_once=AT_ONCE) for gemm in gemms)
    return [
        Finding(what=f"prompts_per_second_{dtype}", value=1 / pace),
        Finding(what="batch_size", value=ours.batch),
        Finding(what="naive_batch_size", value=other.batch),
        Finding(what="gemm_peak_gflop_per_second", value=peak),
        Finding(what="gemm_peak_share", value=gflop / pace / peak),
        Finding(what="difference_from_naive", value=_apart(engine, naive, texts(2)), at_most=TOLERANCES[dtype]),
        *held_against_operations(gflop, needed, speedup, saved),
    ]


def held_against_operations(gflop: float, needed: float, speedup: float, saved: float) -> list[Finding]:
    """Of a prompt what is computed and what has to be; and how many times faster it is than operations let expect."""
    return [
        Finding(what="gflop_per_prompt", value=gflop),
        Finding(what="gflop_over_needed", value=gflop / needed, at_most=SPARED),
        Finding(what="speedup_vs_naive_cfg", value=speedup),
        Finding(what="speedup_over_operations_saved", value=speedup / saved, at_least=SEEN),
    ]


def _gflop(run: Callable[[list[str]], object], texts: list[str]) -> float:
    """Of a prompt."""
    return sum(count_gflop(lambda: run(texts)).values()) / len(texts)


def _scoring(engine: ScoringEngine, texts: FreshTexts) -> Work:
    """By the engine, at the batch size that it comes to."""
    size = 0
    while engine.batch_size > size:
        size = engine.batch_size
        engine.score(prompts_of(texts(2 * size)))
    return Work(run=lambda own: engine.score(prompts_of(own)), batch=engine.batch_size, device=engine.ensemble.device)


def _naively(naive: Naive, texts: FreshTexts, device: torch.device) -> Work:
    """At its best batch size, tried with one expert."""
    paces: dict[int, float] = {}
    for batch in NAIVE_BATCHES:
        work = Work(run=partial(naive.mid_blocks, n_experts=1, guided=True), batch=batch, device=device)
        try:
            paces[batch] = min(work.seconds(texts) for _ in range(2))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            break
    best = min(paces, key=paces.__getitem__)
    return Work(run=partial(naive.mid_blocks, guided=True), batch=best, device=device)


def _against(ours: Work, other: Work, texts: FreshTexts) -> tuple[float, float]:
    """How many times as long the other takes, and our seconds a prompt: medians of pairs one after the other."""
    turns = {id(work): work.turn(texts) for work in (ours, other)}
    pairs = []
    for repeat in range(REPEATS):
        sides = (ours, other)[:: 1 if repeat % 2 else -1]
        took = {id(work): work.seconds(texts, turns[id(work)]) for work in sides}
        pairs.append((took[id(ours)], took[id(other)]))
    return float(np.median([slow / fast for fast, slow in pairs])), float(np.median([fast for fast, _ in pairs]))


def _pace(work: Work, texts: FreshTexts) -> float:
    """Seconds a prompt."""
    n_batches = work.turn(texts)
    return float(np.median([work.seconds(texts, n_batches) for _ in range(REPEATS)]))


def _apart(engine: ScoringEngine, naive: Naive, texts: list[str]) -> float:
    found = engine.score(prompts_of(texts))["disagreement"].to_numpy()
    return float(np.max(np.abs(found / naive.disagreement(texts).numpy() - 1)))
