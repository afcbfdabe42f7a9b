"""What a score costs at Stable Diffusion 1.5's true size, against the naive ways to the same features.

All sides run in one process on the same weights, number type, threads and kernels, each at its best batch size, in
pairs one after the other. Figures are ratios; see `FIGURES`.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emoe_audit.experts.devices import resolve_dtype
from emoe_audit.experts.ensemble import load_ensemble
from emoe_audit.experts.spec import load_spec
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.types import EnsembleSpec, Prompt, ScoringConfig
from tests.benchmarks.gemm import count_gflop, gemm_rate, layer_gemms, path_cost, time_shares
from tests.benchmarks.sd15 import (
    SMALL,
    STEPS,
    TRUE,
    NaiveSd15,
    Size,
    all_cores,
    merge_record,
    true_size_folder,
    unet_config,
    write_ensemble,
)

BATCH_SIZES = (1, 2, 4)
REPEATS = 5
IMAGE_STEPS_RUN = 2
WAYS = {
    "naive_cfg": "every expert's whole UNet with classifier-free guidance",
    "naive": "every expert's whole UNet",
    "midblock_forward": "every expert's UNet, stopped after the mid-block",
    "image": f"an image of {STEPS} steps with guidance, extrapolated from {IMAGE_STEPS_RUN}; no text encoder, no VAE",
}
FIGURES = {
    **{f"speedup_vs_{way}": f"how many times as long as a score this takes: {what}" for way, what in WAYS.items()},
    "prompts_per_second": "scored, of one noise",
    "gflop_per_prompt": "of a score, text encoder included",
    "gflop_allowed": "the experts' paths from the first cross-attention to the mid-block",
    "gemm_peak_share": "rate of operations of a score over that of the fastest product of a layer's size",
    "gemm_layers_share": "the same over the rate at which plain products of all layers' sizes take their turns",
    "difference_from_naive": "of the disagreements, relative",
}
Run = Callable[[list[str]], object]


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_what_a_score_costs_at_true_size() -> None:
    figures, rows = measure_speed(true_size_folder(), TRUE, BATCH_SIZES, REPEATS)
    merge_record("speed", figures, rows)
    assert figures["difference_from_naive"] < (1e-4 if rows[0]["dtype"] == "float32" else 0.1)
    assert figures["gflop_per_prompt"] <= 1.05 * figures["gflop_allowed"]
    assert figures["speedup_vs_naive_cfg"] >= 6.5
    assert figures["speedup_vs_naive"] >= 3
    assert figures["speedup_vs_midblock_forward"] > 1


@pytest.mark.benchmark
def test_the_measurement_runs_at_a_small_size(tmp_path: Path) -> None:
    figures, rows = measure_speed(write_ensemble(tmp_path, SMALL), SMALL, (1, 2), repeats=2)
    assert figures.keys() == FIGURES.keys()
    assert all(np.isfinite(figure) and figure >= 0 for figure in figures.values())
    assert figures["difference_from_naive"] < (1e-4 if rows[0]["dtype"] == "float32" else 0.1)
    assert figures["speedup_vs_image"] > figures["speedup_vs_naive"]
    groups = [row for row in rows if "group" in row]
    assert sum(row["share_of_time"] for row in groups) == pytest.approx(1)
    assert sum(row["gflop"] for row in groups) == pytest.approx(figures["gflop_per_prompt"])
    assert sum(row["share_at_gemm_peak"] for row in groups) == pytest.approx(figures["gemm_peak_share"])
    assert {row["group"] for row in groups if row["gflop"]} == {"attention", "convolution", "gemm"}


def measure_speed(
    folder: Path, size: Size, batch_sizes: Sequence[int], repeats: int
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """`FIGURES`, and rows on number types, batch sizes, pairs, groups of operators and products of matrices."""
    with all_cores():
        spec, texts = load_spec(folder / "shared_trunk"), FreshTexts()
        seconds = {dtype: _seconds_in(spec, dtype, texts) for dtype in ("float32", "bfloat16")}
        dtype = min(seconds, key=seconds.__getitem__)
        rows: list[dict[str, Any]] = [
            {"dtype": dtype, "slowest_over_this": max(seconds.values()) / seconds[dtype], "seconds": seconds}
        ]
        ours, naive = Ours(spec, dtype), NaiveSd15(folder, resolve_dtype(dtype))
        batch, runs, batch_rows = _best_runs(ours, naive, texts, batch_sizes)
        figures, pair_rows = _pairs(partial(ours.score, batch), batch, runs, texts, repeats)
        cost_figures, cost_rows = _costs(ours, size, batch, figures["prompts_per_second"], texts)
        figures |= cost_figures | {"difference_from_naive": _difference(ours, naive, texts(1))}
        return figures, [*rows, *batch_rows, *pair_rows, *cost_rows]


class FreshTexts:
    """English captions of which none comes twice, so that nothing can be remembered from the call before."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def __call__(self, n: int) -> list[str]:
        return [
            f"a photograph of {number} dogs on a red sofa in the sun" for number in itertools.islice(self._numbers, n)
        ]


class Ours:
    """The engine at several batch sizes."""

    def __init__(self, spec: EnsembleSpec, dtype: str) -> None:
        self.dtype = dtype
        self.ensemble = load_ensemble(spec, device="cpu", dtype=dtype)
        self._engines: dict[int, ScoringEngine] = {}

    def score(self, batch: int, texts: list[str]) -> Any:
        config = ScoringConfig(n_noise=1, batch_size=batch, dtype=self.dtype, device="cpu")  # type: ignore[arg-type]
        engine = self._engines.setdefault(batch, ScoringEngine(self.ensemble, config))
        return engine.score([Prompt(prompt_id=text, prompt=text) for text in texts])


def _seconds_in(spec: EnsembleSpec, dtype: str, texts: FreshTexts) -> float:
    """Of one prompt scored by two experts in that number type."""
    ours = Ours(dataclasses.replace(spec, experts=spec.experts[:2]), dtype)
    ours.score(1, texts(1))
    return _seconds(partial(ours.score, 1), texts(1))


def _best_runs(
    ours: Ours, naive: NaiveSd15, texts: FreshTexts, batch_sizes: Sequence[int]
) -> tuple[int, dict[str, tuple[int, Run]], list[dict[str, Any]]]:
    """The best batch size of a score, and of each other way with the way itself, tried there with one expert."""
    ways: dict[str, Callable[..., object]] = {
        "naive_cfg": partial(naive.mid_blocks, guided=True),
        "naive": naive.mid_blocks,
        "midblock_forward": partial(naive.mid_blocks, stop=True),
    }
    tried = {"score": _tried(lambda own: ours.score(len(own), own), texts, batch_sizes)}
    tried |= {way: _tried(partial(run, n_experts=1), texts, batch_sizes) for way, run in ways.items()}
    best = {way: min(seconds, key=seconds.__getitem__) for way, seconds in tried.items()}
    runs: dict[str, tuple[int, Run]] = {way: (best[way], run) for way, run in ways.items()}
    n_image = best["naive_cfg"]  # the same calls of a UNet
    states = naive.states([*[""] * n_image, *texts(n_image)])
    runs["image"] = n_image, lambda _: naive.draw_images(states, IMAGE_STEPS_RUN)
    rows = [
        {"way": way, "batch_size": batch, "slower_than_best": own / min(seconds.values())}
        for way, seconds in tried.items()
        for batch, own in seconds.items()
    ]
    return best["score"], runs, rows


def _tried(run: Run, texts: FreshTexts, batch_sizes: Sequence[int]) -> dict[int, float]:
    """Seconds a prompt by batch size, after one call to warm up."""
    run(texts(batch_sizes[0]))
    return {batch: _seconds(run, texts(batch)) / batch for batch in batch_sizes}


def _pairs(
    score: Run, batch: int, runs: dict[str, tuple[int, Run]], texts: FreshTexts, repeats: int
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Each way and a score one after the other, and the next time the other way round."""
    figures, rows, scored = {}, [], []
    score(texts(batch))
    for way, (n, run) in runs.items():
        times = STEPS / IMAGE_STEPS_RUN if way == "image" else 1
        pairs = []
        for repeat in range(repeats):
            sides = [("way", run, n), ("score", score, batch)]
            pair = {side: _seconds(work, texts(m)) / m for side, work, m in sides[:: 1 if repeat % 2 else -1]}
            pairs.append(times * pair["way"] / pair["score"])
            scored.append(pair["score"])
        figures[f"speedup_vs_{way}"] = float(np.median(pairs))
        rows.append({"way": way, "what": WAYS[way], "batch_size": n, "score_batch_size": batch, "speedups": pairs})
    return figures | {"prompts_per_second": 1 / float(np.median(scored))}, rows


def _costs(
    ours: Ours, size: Size, batch: int, prompts_per_second: float, texts: FreshTexts
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Operations of a score and their rate, against products of matrices and by groups of operators."""
    gflop = {group: own / batch for group, own in count_gflop(lambda: ours.score(batch, texts(batch))).items()}
    total, cost = sum(gflop.values()), path_cost(unet_config(size))
    gemms = layer_gemms(unet_config(size), batch)
    rates = {gemm: gemm_rate(gemm, ours.ensemble.dtype) for gemm in gemms}
    peak = max(rates.values())
    n_gflop = {gemm: n * gemm.gflop for gemm, n in gemms.items()}
    in_turn = sum(n_gflop.values()) / sum(own / rates[gemm] for gemm, own in n_gflop.items())
    figures = {
        "gflop_per_prompt": total,
        "gflop_allowed": len(ours.ensemble.experts) * cost.least,
        "gemm_peak_share": total * prompts_per_second / peak,
        "gemm_layers_share": total * prompts_per_second / in_turn,
    }
    shares = time_shares(lambda: ours.score(batch, texts(batch)))
    groups = [
        {
            "group": group,
            "gflop": gflop[group],
            "share_of_time": share,
            "share_at_gemm_peak": gflop[group] * prompts_per_second / peak,
        }
        for group, share in shares.items()
    ]
    products = [
        {**dataclasses.asdict(gemm), "n": n, "gflop": n_gflop[gemm], "share_of_peak": rates[gemm] / peak}
        for gemm, n in sorted(gemms.items(), key=lambda item: -n_gflop[item[0]])
    ]
    return figures, [{"cost_of_one_path": dataclasses.asdict(cost), "peak_gflop_per_second": peak}, *groups, *products]


def _difference(ours: Ours, naive: NaiveSd15, texts: list[str]) -> float:
    """The largest relative difference of a disagreement from that of the naive features."""
    scores = ours.score(len(texts), texts)["disagreement"].to_numpy()
    expected = naive.mid_blocks(texts).double().var(dim=0).mean(dim=(1, 2, 3)).numpy()
    return float(np.max(np.abs(scores / expected - 1)))


def _seconds(run: Run, texts: list[str]) -> float:
    started = time.perf_counter()
    run(texts)
    return time.perf_counter() - started
