"""What each way to experts claims, and whether it held: rows of `reports/benchmarks/experts.json`, nulls included.

A row is that of `claim_row`; the interval of a comparison is that of the paired difference.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import UNet2DConditionModel

from emoe_audit.analysis.bootstrap import percentile_interval
from emoe_audit.analysis.expert_use import ALL_LANGUAGES, expert_use_divergence
from emoe_audit.experts.checkpoint import read_base
from emoe_audit.experts.clustering import (
    find_clusters,
    merge_weights,
    most_clusters,
    split_weights,
)
from emoe_audit.experts.emergent import ExpertGate, install_gates
from emoe_audit.experts.emergent_recipe import KEPT_SHARE, make_emergent_ensemble
from emoe_audit.experts.spec import load_spec
from emoe_audit.ground.baselines import BASELINES
from emoe_audit.ground.figures import FIGURES, Ground, replicates
from emoe_audit.ground.members import LowestGate, base_unet, random_clusters, reconstruction_errors
from emoe_audit.ground.verify import known_coverage, lay_ground
from emoe_audit.prompts.emoji import caption_matrix, default_prompts, is_plain
from emoe_audit.scoring.calibration import calibrate, calibration_captions
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.scoring.expert_use import measure_use
from emoe_audit.scoring.loading import load_engine
from emoe_audit.types import EnsembleSpec, Prompt, ScoringConfig
from emoe_audit.validity.check import check
from tests.benchmarks.record import Row, Verdict, claim_row, merge_record, paired_ratio
from tests.benchmarks.sd15 import all_cores, true_size_folder

METHOD = "emergent"
_row = partial(claim_row, METHOD)
MEMBERS = ("emergent_members", "emergent_text_members")
CONTROLS = ("random_members", "dropout_members", "relative_disagreement")
COMPARED = ("auroc_starved", "language_rho")
"""The first is better high, the second low."""
N_BOOT, CONFIDENCE = 500, 0.95
N_CONCEPTS = 50
MINUTES, MOST_RATIO = 10, 1.25


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_emergent_experts_on_the_verified_ensemble(tmp_path: Path) -> None:
    rows = measure_emergent(load_spec("emoji-b"), "emoji-b", tmp_path, n_concepts=N_CONCEPTS)
    merge_record("experts", METHOD, _figures(rows), rows)
    by_claim = {row["claim"]: row["verdict"] for row in rows}
    assert by_claim["with all experts kept a member is the dense model"] == "held"
    assert by_claim["merged weights differ from the checkpoint's in no bit"] == "held"
    assert by_claim["parameters added"] == "held"


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_emergent_experts_at_true_size(tmp_path: Path) -> None:
    with all_cores():
        rows = measure_at_true_size(true_size_folder() / "independent", tmp_path / "emergent")
    names = ("emergent_seconds_at_true_size", "emergent_score_ratio_at_true_size")
    figures = {name: row["value"] for name, row in zip(names, rows, strict=True)}
    merge_record("experts", f"{METHOD} at true size", figures, rows)
    assert {row["verdict"] for row in rows} == {"held"}


@pytest.mark.benchmark
def test_the_measurement_runs_on_the_tiny_ensemble(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    coverage = tmp_path / "coverage.csv"
    coverage.write_text("by,group,coverage\nlanguage,en,0.9\nlanguage,de,0.0995\nlanguage,hi,0.0005\nlanguage,ja,0\n")
    known = EnsembleSpec(**{**tiny_spec.__dict__, "training_coverage": str(coverage)})
    checkpoint = str(Path(tiny_spec.base.source).parent)
    rows = measure_emergent(known, checkpoint, tmp_path / "emergent", n_concepts=3, n_boot=20)
    assert {row["verdict"] for row in rows} <= {"held", "not_held", "inconclusive"}
    assert all(row.keys() == rows[0].keys() for row in rows)
    errors = [row for row in rows if row["claim"].startswith("reconstruction error")]
    assert len(errors) == 2 * 4, "two controls in four layers"


def measure_emergent(
    spec: EnsembleSpec, checkpoint: str, folder: Path, *, n_concepts: int, n_boot: int = N_BOOT
) -> list[Row]:
    """Every claim of emergent experts on the base of an ensemble whose training coverage is known."""
    engine = load_engine(spec, ScoringConfig(device="cpu"))
    prompts = default_prompts(spec, n_concepts=n_concepts).frame
    prompts = prompts[is_plain(prompts)].reset_index(drop=True)
    started = time.perf_counter()
    emergent = make_emergent_ensemble(checkpoint, folder, what="unet")
    took = time.perf_counter() - started
    own = load_engine(emergent, ScoringConfig(device="cpu"))
    with_text = make_emergent_ensemble(checkpoint, folder / "with-text", what="unet+text")
    limit = 60 * 5
    return [
        *_same_model(engine, prompts["prompt"].tolist()[:32]),
        *_reconstruction(engine, prompts, n_boot),
        *_use(own, prompts),
        *_rankings(engine, spec, prompts, n_boot),
        *_checked(own, "members"),
        *_checked(load_engine(with_text, ScoringConfig(device="cpu")), "text members"),
        _row("seconds to make an ensemble of the embedded checkpoint", took, limit, _verdict(took <= limit)),
    ]


def measure_at_true_size(ensemble: Path, folder: Path) -> list[Row]:
    """How long an ensemble of one checkpoint of true size takes to make, and to score beside one of checkpoints."""
    started = time.perf_counter()
    emergent = make_emergent_ensemble(str(ensemble), folder)
    took = time.perf_counter() - started
    made, dense = (load_engine(own, ScoringConfig(device="cpu")) for own in (emergent, load_spec(str(ensemble))))
    prompts = [Prompt(prompt_id=str(place), prompt=f"{place} dogs on a sofa") for place in range(2)]
    ratio, _ = paired_ratio(lambda: made.score(prompts), lambda: dense.score(prompts), repeats=3)
    making = "seconds to make an ensemble of one checkpoint of true size"
    scoring = "time to score as a share of that of four checkpoints of true size"
    return [
        _row(making, took, 60.0 * MINUTES, _verdict(took <= 60 * MINUTES)),
        _row(scoring, ratio, MOST_RATIO, _verdict(ratio <= MOST_RATIO)),
    ]


def _same_model(engine: ScoringEngine, texts: list[str]) -> list[Row]:
    tensors = read_base(engine.ensemble.spec.base).unet.tensors
    n_clusters = most_clusters(tensors)
    clusters = find_clusters(tensors, n_clusters)
    split = split_weights(tensors, clusters)
    merged, added = merge_weights(split, clusters), sum(own.numel() for own in split.values())
    differing = sum(not torch.equal(merged[key], tensors[key]) for key in tensors)
    added -= sum(own.numel() for own in tensors.values())
    dense, whole = base_unet(engine), base_unet(engine, clusters)
    install_gates(whole, clusters, n_clusters)
    single, member = _mid_block(engine, dense, texts), _mid_block(engine, whole, texts)
    double, exact = _mid_block(engine, dense.double(), texts), _mid_block(engine, whole.double(), texts)
    gap, largest = float((single - member).norm() / single.norm()), _largest(member, single)
    rounding, own_rounding = _largest(member, double), _largest(single, double)
    in_double = float((double - exact).norm() / double.norm())
    return [
        _row("with all experts kept a member is the dense model", gap, 1e-5, _verdict(gap <= 1e-5)),
        _row("the same by the largest element", largest, 1e-5, _verdict(largest <= 1e-5)),
        _row(
            "by the largest element its float32 lies as near to the dense model in float64 as the dense float32 does",
            rounding,
            own_rounding,
            _verdict(rounding <= 1.5 * own_rounding),
        ),
        _row("the same in float64", in_double, 1e-12, _verdict(in_double <= 1e-12)),
        _row("parameters added", float(added), 0.0, _verdict(added == 0)),
        _row("merged weights differ from the checkpoint's in no bit", float(differing), 0.0, _verdict(differing == 0)),
    ]


def _largest(own: torch.Tensor, reference: torch.Tensor) -> float:
    """The largest difference over the largest element of the reference."""
    return float((own - reference).abs().max() / reference.abs().max())


def _mid_block(engine: ScoringEngine, unet: UNet2DConditionModel, texts: list[str]) -> torch.Tensor:
    """By diffusers' own way through the UNet."""
    latent, timestep = engine._steps[0]
    kept: list[torch.Tensor] = []
    hook = unet.mid_block.register_forward_hook(lambda *call: kept.append(call[2]))
    embeds = engine.text_states(texts).embeds.to(unet.dtype, copy=True)
    with torch.no_grad():
        unet(latent.to(unet.dtype).expand(len(texts), -1, -1, -1), timestep, encoder_hidden_states=embeds)
    hook.remove()
    return kept[0]


def _reconstruction(engine: ScoringEngine, prompts: pd.DataFrame, n_boot: int) -> list[Row]:
    """Emergent clusters against the controls in every layer; captions are resampled."""
    tensors = read_base(engine.ensemble.spec.base).unet.tensors
    n_clusters = most_clusters(tensors)
    clusters = find_clusters(tensors, n_clusters)
    ways = {
        "emergent": (clusters, ExpertGate),
        "random clusters": (random_clusters(tensors, n_clusters), ExpertGate),
        "bottom-k": (clusters, LowestGate),
    }
    sample = prompts.iloc[:: max(1, len(prompts) // 160)].reset_index(drop=True)
    errors = reconstruction_errors(engine, sample["prompt"].tolist(), ways, n_clusters // KEPT_SHARE)
    table = errors.pivot(index=["layer", "prompt"], columns="way", values="error")
    captions, rows = sample["source_id"].to_numpy(), []
    for layer, own in table.groupby("layer"):
        for control in ("random clusters", "bottom-k"):
            difference = _interval_of_mean((own["emergent"] - own[control]).to_numpy(), captions, n_boot)
            claim = f"reconstruction error below that of {control}: {layer}"
            value, at = float(own["emergent"].mean()), float(own[control].mean())
            rows.append(_row(claim, value, at, _below_zero(*difference), difference))
    return rows


def _use(engine: ScoringEngine, prompts: pd.DataFrame) -> list[Row]:
    table = expert_use_divergence(measure_use(engine, prompts))
    whole = table[table["language"] == ALL_LANGUAGES]
    return [
        _row(
            f"languages use other experts, divergence in bits above that of permuted languages: {own['layer']}",
            own["divergence"],
            own["expected"],
            "held" if own["p_by"] < 0.05 else "inconclusive",
            p=own["p_by"],
        )
        for own in whole.to_dict("records")
    ]


def _rankings(engine: ScoringEngine, spec: EnsembleSpec, prompts: pd.DataFrame, n_boot: int) -> list[Row]:
    """Whether members tell starved languages from covered ones, and better than the controls do."""
    results = prompts.merge(engine.score(_as_prompts(prompts)), on="prompt_id")
    results = results.assign(source_rank=np.nan, clip_cosine_source=np.nan)
    texts, size = results["prompt"].tolist(), engine.batch_size
    for name in (*MEMBERS, *CONTROLS[:2]):
        compute = BASELINES[name](engine)
        found = [compute(texts[start : start + size]) for start in range(0, len(texts), size)]
        results[name] = np.concatenate(found)
    ground = lay_ground(results, known_coverage(spec), caption_matrix(spec))
    grids = {
        name: results.pivot(index="language", columns="source_id", values=name).to_numpy()
        for name in (*MEMBERS, *CONTROLS)
    }
    return _compared(ground, grids, n_boot)


def _compared(ground: Ground, grids: Mapping[str, np.ndarray], n_boot: int) -> list[Row]:
    drawn, rows = replicates(ground, grids, n_boot=n_boot, seed=0), []
    for figure, sign in zip(COMPARED, (1, -1), strict=True):
        value = {name: FIGURES[figure](ground, grid) for name, grid in grids.items()}
        chance = 0.5 if figure == "auroc_starved" else 0.0
        ends = {name: _interval(drawn[name][figure]) for name in grids}
        for name in grids:
            above = (ends[name][0] - chance, ends[name][1] - chance)
            verdict = _below_zero(*sorted(-sign * end for end in above))
            rows.append(_row(f"{figure} of {name} is better than chance", value[name], chance, verdict, above))
        for name in MEMBERS:
            for control in CONTROLS:
                difference = _interval(drawn[name][figure] - drawn[control][figure])
                verdict = _below_zero(*sorted(-sign * end for end in difference))
                claim = f"{figure} of {name} is better than that of {control}"
                rows.append(_row(claim, value[name], value[control], verdict, difference))
    return rows


def _checked(engine: ScoringEngine, kind: str) -> list[Row]:
    """What `ensemble check` says, which knows nothing of the training."""
    captions = calibration_captions(engine.ensemble.spec)
    found = check(engine, captions, calibrate(engine, captions))
    signs = {score.name: score for score in found.scores}
    own = signs["relative_disagreement"]
    verdicts: dict[str, Verdict] = {"holds": "held", "turned": "not_held", "unclear": "inconclusive"}
    return [
        _row(f"relative disagreement of {kind} passes the validity check", own.strength, 0.0, verdicts[own.sign]),
        _row(f"{kind} are comparable", found.alignment, 0.5, _verdict(found.comparable)),
    ]


def _figures(rows: list[Row]) -> dict[str, float]:
    """How many claims came out how."""
    return {f"{METHOD}_{verdict}": sum(row["verdict"] == verdict for row in rows) for verdict in get_args(Verdict)}


def _as_prompts(frame: pd.DataFrame) -> list[Prompt]:
    pairs = zip(frame["prompt_id"], frame["prompt"], strict=True)
    return [Prompt(prompt_id=prompt_id, prompt=prompt) for prompt_id, prompt in pairs]


def _interval_of_mean(values: np.ndarray, clusters: np.ndarray, n_boot: int) -> tuple[float, float]:
    codes, names = pd.factorize(clusters)
    sums, counts = np.bincount(codes, weights=values), np.bincount(codes)
    drawn = np.random.default_rng(0).integers(len(names), size=(n_boot, len(names)))
    return _interval(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))


def _interval(replicate_values: np.ndarray) -> tuple[float, float]:
    low, high = percentile_interval(replicate_values, CONFIDENCE)
    return float(low[0]), float(high[0])


def _below_zero(low: float, high: float) -> Verdict:
    if high < 0:
        return "held"
    return "not_held" if low > 0 else "inconclusive"


def _verdict(holds: bool) -> Verdict:
    return "held" if holds else "not_held"
