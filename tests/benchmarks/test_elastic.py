"""What a part of an ensemble is worth, on captions that no order was made on, what growing costs, and the true size.

`cost_at_95` is the share of the work at which the score that ranks agrees with the whole's by 0.95 at the lower end;
`cost_at_95_experts` the same for the worst of the experts' scores.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from emoe_audit.analysis.rank_correlation import spearman
from emoe_audit.analysis.readings import FEATURES, NOISES
from emoe_audit.audit import start_run
from emoe_audit.elastic.choose import find_elastic
from emoe_audit.elastic.make import Costs, lots_of, rows_of, split_captions
from emoe_audit.elastic.manifest import Elastic, Prefix
from emoe_audit.elastic.measured import Measured
from emoe_audit.elastic.order import Part, at_cost
from emoe_audit.elastic.worth import Agreement
from emoe_audit.experts.ensemble import footprint_of
from emoe_audit.experts.spec import load_spec
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.runs.store import RunStore
from emoe_audit.scoring.begun import Begun
from emoe_audit.scoring.disagreement import SCORES
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.scoring.loading import load_engine
from emoe_audit.types import EnsembleSpec, ImageConfig, Prompt, ScoringConfig
from tests.benchmarks.record import merge_record
from tests.benchmarks.sd15 import all_cores, true_size_folder

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(0)]
WORLDS, OTHERS = ("emoji-a", "emoji-b"), ("emoji-c", "emoji-d")
"""Those by which the number of noises was chosen, and those that confirm it."""
CHOSEN = 24
"""Captions on each side of a manifest that ships; twice as many are held out."""
FAITHFUL = 0.95
GROWN_CONCEPTS, REPEATS = 6, 2
SIZED = ["a dog", "ein roter Apfel"]


def test_what_a_manifest_says_holds_on_other_captions() -> None:
    figures: dict[str, float] = {}
    rows: list[dict[str, Any]] = []
    with all_cores():
        for world in WORLDS:
            spec = load_spec(world)
            found = _held_out(spec, find_elastic(spec))
            rows += [{"world": world, **row} for row in found]
            elastic = find_elastic(spec)
            figures[f"inside_{world}"] = float(np.mean([row["is_inside"] for row in found]))
            figures[f"greedy_over_lot_{world}"] = float(np.mean([row["held_out"] - row["by_lot"] for row in found]))
            figures[f"cost_at_95_{world}"] = elastic.reaching(FAITHFUL).cost
            figures[f"cost_at_95_experts_{world}"] = max(elastic.reaching(FAITHFUL, name).cost for name in SCORES)
            figures |= {f"{name}_{world}": own for name, own in _noises(rows, world).items()}
            figures[f"other_half_{world}"] = _other_half(spec)
    figures["inside"] = float(np.mean([figures[f"inside_{world}"] for world in WORLDS]))
    for name in ("cost_at_95", "cost_at_95_experts"):
        figures[name] = max(figures[f"{name}_{world}"] for world in WORLDS)
    figures["greedy_over_lot"] = min(figures[f"greedy_over_lot_{world}"] for world in WORLDS)
    merge_record("elastic", "fidelity", figures, rows)
    assert figures["inside"] >= 0.9
    assert figures["cost_at_95"] <= 0.15


def _held_out(spec: EnsembleSpec, elastic: Elastic) -> list[dict[str, Any]]:
    """The fidelity of every prefix on captions that its manifest has never seen, beside what that says."""
    assert elastic.n_captions == CHOSEN
    _, _, *others = split_captions(spec, CHOSEN, elastic.seed, n_parts=4)
    measured = Measured(load_engine(spec, ScoringConfig(n_noise=elastic.prefixes[-1].n_noise)))
    texts = rows_of(pd.concat(others))["prompt"].to_list()
    agreement, lots = Agreement(measured, texts), lots_of(measured.whole, elastic.seed + 1)
    rows = []
    for prefix in elastic.prefixes[1:-1]:
        part = _part(spec, prefix)
        for name in SCORES:
            own = prefix.scores[name]
            held_out, low, high = agreement.by_score(part)[name], own.fidelity.low, own.fidelity.high
            lot = [agreement.by_score(at_that)[name] for order in lots if (at_that := at_cost(order, part)) is not None]
            rows.append(
                {
                    "prefix": prefix.name,
                    "score": name,
                    "cost": prefix.cost,
                    "fidelity": own.fidelity.rho,
                    "fidelity_low": low,
                    "fidelity_high": high,
                    "held_out": held_out,
                    "is_inside": low is not None and high is not None and low <= held_out <= high,
                    "by_lot": float(np.mean(lot)),
                    "within_language": own.within_language.rho,
                    "by_language": own.by_language.rho,
                    "coverage": None if own.coverage is None else own.coverage.rho,
                    "default_score": prefix.default_score,
                }
            )
    return rows


def _other_half(spec: EnsembleSpec) -> float:
    """How all experts agree under two noises with themselves under the two others, of which neither is a part."""
    measured = Measured(load_engine(spec, ScoringConfig(n_noise=4)))
    texts = rows_of(split_captions(spec, CHOSEN, 0)[0])["prompt"].to_list()
    half = measured.scores(texts, replace(measured.whole, n_noise=2))
    other = 2 * measured.scores(texts, measured.whole) - half
    return min(spearman(half[name].to_numpy(), other[name].to_numpy()) for name in SCORES)


def _part(spec: EnsembleSpec, prefix: Prefix) -> Part:
    names = [expert.name for expert in spec.experts]
    return Part(experts=tuple(sorted(names.index(own) for own in prefix.experts)), n_noise=prefix.n_noise)


def _noises(rows: Sequence[dict[str, Any]], world: str) -> dict[str, float]:
    """How all experts agree under fewer noises with themselves under all: the worse of their scores."""
    found: dict[str, float] = {}
    for row in rows:
        if row["world"] == world and row["prefix"].startswith("4 experts x "):
            name = f"noises_{row['prefix'].split()[3]}"
            found[name] = min(found.get(name, 1.0), row["held_out"])
    return found


def test_the_default_number_of_noises_holds_where_it_was_not_chosen() -> None:
    figures: dict[str, float] = {}
    with all_cores():
        for world in OTHERS:
            spec = load_spec(world)
            measured = Measured(load_engine(spec, ScoringConfig(n_noise=4)))
            agreement = Agreement(measured, rows_of(split_captions(spec, CHOSEN, 0)[0])["prompt"].to_list())
            for n_noise in (1, 2, 3):
                part = Part(experts=measured.whole.experts, n_noise=n_noise)
                figures[f"noises_{n_noise}_{world}"] = agreement(part)
    merge_record("elastic", "noises", figures, [])
    assert min(figures[f"noises_{ScoringConfig().n_noise}_{world}"] for world in OTHERS) >= FAITHFUL


def test_a_run_that_grew_is_one_that_was_large_from_the_start() -> None:
    """By the time of all cores together, loading included; the text encoder reads again, here as much as one path."""
    errors, ratios, from_text = [], [], []
    with all_cores(), tempfile.TemporaryDirectory() as place:
        spec = load_spec("emoji-a")
        table = default_prompts(spec, n_concepts=GROWN_CONCEPTS)
        scoring = ScoringConfig(n_noise=4, check_pairs=0, batch_size=32)

        def run(name: str, *noises: int) -> float:
            started = time.process_time()
            for n_noise in noises:
                start_run(table, spec, Path(place) / name, replace(scoring, n_noise=n_noise), ImageConfig(n_images=0))
            return time.process_time() - started

        run("warm-up", 1)
        for repeat in range(REPEATS):
            large = run(f"large-{repeat}", 4)
            ratios.append(run(f"grown-{repeat}", 1, 4) / large)
            from_text.append(run(f"text-{repeat}", 0, 4) / large)
            errors += [_error(Path(place), f"{name}-{repeat}", f"large-{repeat}") for name in ("grown", "text")]
    figures = {
        "grown_cost_embedded": float(np.median(ratios)),
        "grown_cost_embedded_from_text": float(np.median(from_text)),
        "grown_error": max(errors),
    }
    merge_record("elastic", "growth", figures, [{"ratios": ratios, "from_text": from_text}])
    assert figures["grown_error"] <= 1e-6


def _error(place: Path, own: str, other: str) -> float:
    """The largest relative difference of a score, key by key."""
    ours, theirs = (
        RunStore(place / name).query("SELECT * FROM scores ORDER BY key").set_index("key") for name in (own, other)
    )
    assert ours.index.equals(theirs.index)
    numbers = ours.select_dtypes("number").columns
    a, b = ours[numbers].to_numpy(dtype=float), theirs[numbers].to_numpy(dtype=float)
    return float(np.nanmax(np.abs(a - b) / np.maximum(np.abs(b), 1e-12)))


def test_what_a_part_takes_at_true_size() -> None:
    spec = load_spec(true_size_folder() / "shared_trunk")
    with all_cores():
        engine = load_engine(spec, ScoringConfig(n_noise=1, batch_size=2, device="cpu"))
        prompts = [Prompt(prompt_id=text, prompt=text) for text in SIZED]
        costs = Costs.of(engine, SIZED)
        names = [expert.name for expert in spec.experts]
        full = Part(experts=(0, 1, 2, 3), n_noise=4)
        parts = [Part(), Part(experts=(0, 1), n_noise=1), Part(experts=(0, 1, 2, 3), n_noise=2), full]
        rows = [
            {
                "experts": len(part.experts),
                "noises": part.n_noise,
                "gflop": costs.gflop(part),
                "cost": costs.gflop(part) / costs.gflop(full),
                "seconds": costs.seconds(part),
                "bytes": footprint_of(spec, [names[own] for own in part.experts]).weights("all"),
            }
            for part in parts
        ]
        large = _seconds(lambda: _engine(engine, 4).score(prompts))
        first = _engine(engine, 1)
        one = first.score(prompts)
        noises = {name: np.stack(one[f"{name}{NOISES}"].to_list()) for name in (*SCORES, "feature_power")}
        begun = Begun(noises=noises, features=np.stack(one[FEATURES].to_list()))
        grown = _seconds(lambda: first.score(prompts)) + _seconds(lambda: _engine(engine, 4).score(prompts, begun))
    figures = {
        "grown_cost": grown / large,
        "sd15_text_cost": rows[0]["cost"],
        "sd15_text_seconds_share": rows[0]["seconds"] / rows[-1]["seconds"],
        "sd15_text_bytes_share": rows[0]["bytes"] / rows[-1]["bytes"],
    }
    merge_record("elastic", "size", figures, rows)
    assert figures["grown_cost"] <= 1.05


def _engine(engine: ScoringEngine, n_noise: int) -> ScoringEngine:
    """The same ensemble under another number of noises, whose prompt-free starts are made."""
    own = ScoringEngine(engine.ensemble, replace(engine.config, n_noise=n_noise))
    _ = own.starts
    return own


def _seconds(work: Callable[[], object]) -> float:
    """Of all cores together, which other processes change little."""
    started = time.process_time()
    work()
    return time.process_time() - started
