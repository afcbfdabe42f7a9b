"""What the store costs a run that grows tenfold, from prompt file to report, with an engine that answers at once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from emoe_audit.experts.spec import load_spec
from emoe_audit.experts.tiny import make_tiny_ensemble
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.scoring.loading import load_engine
from emoe_audit.types import ScoringConfig
from tests.benchmarks.record import FOLDER, merge_record

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(0)]
FEW, MANY, MOST = 100_000, 1_000_000, 10_000_000
STEPS = ("read", "score", "summarize", "finish", "report")
PROBED = 512
"""Prompts by which it is known how long the embedded ensemble takes."""


def measured(n: int, folder: Path) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    make_tiny_ensemble(folder / "tiny")
    command = [sys.executable, "-m", "tests.benchmarks.scale", str(n), str(folder / "tiny"), str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-2000:]
    row: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {"prompts": n, **row, "seconds": sum(row[f"{step}_seconds"] for step in STEPS)}


def seconds_a_score() -> float:
    """Of a prompt by the four experts of the embedded ensemble, with one noise."""
    spec = load_spec("emoji-a")
    engine = load_engine(spec, ScoringConfig(n_noise=1, check_pairs=0, device="cpu"))
    prompts = list(default_prompts(spec, n_concepts=PROBED).prompts())[: 2 * PROBED]
    engine.score(prompts[:PROBED])
    started = time.perf_counter()
    engine.score(prompts[PROBED:])
    return (time.perf_counter() - started) / PROBED


def test_ten_times_the_prompts_cost_ten_times_as_much(tmp_path: Path) -> None:
    few, many, a_score = measured(FEW, tmp_path / "few"), measured(MANY, tmp_path / "many"), seconds_a_score()
    figures = {
        "store_seconds_ratio": many["seconds"] / few["seconds"],
        "last_over_first_chunk": many["last_over_first"],
        "store_share": many["seconds"] / (MANY * a_score),
        "rss_gb_1m": many["report_gb"],
        "report_seconds_1m": many["report_seconds"],
        "report_mb_1m": many["report_mb"],
    }
    merge_record("scale", "one machine", figures, [few, many])
    assert figures["store_seconds_ratio"] <= 11
    assert figures["last_over_first_chunk"] <= 1.2
    assert figures["store_share"] <= 0.03
    assert figures["report_seconds_1m"] < 60 and figures["report_mb_1m"] < 5


def test_ten_million_prompts_cost_ten_times_a_million_and_hardly_more_memory(tmp_path: Path) -> None:
    rows = json.loads((FOLDER / "scale.json").read_text())["rows"]
    many, most = next(row for row in rows if row.get("prompts") == MANY), measured(MOST, tmp_path)
    figures = {
        "store_seconds_ratio_10m": most["seconds"] / many["seconds"],
        "rss_gb": most["report_gb"],
        "rss_ratio": most["report_gb"] / many["report_gb"],
    }
    merge_record("scale", "ten million", figures, [most])
    assert figures["store_seconds_ratio_10m"] <= 11
    assert figures["rss_gb"] < 1.5 and figures["rss_ratio"] <= 1.3
