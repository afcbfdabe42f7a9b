"""What the store costs a run that grows tenfold, from prompt file to report, with an engine that answers at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from emoe_audit.experts.tiny import make_tiny_ensemble
from tests.benchmarks.record import merge_record

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(0)]
FEW, MANY = 100_000, 1_000_000
STEPS = ("read", "score", "summarize", "finish", "report")


def measured(n: int, ensemble: Path, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.scale", str(n), str(ensemble), str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-2000:]
    row: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {"prompts": n, **row, "seconds": sum(row[f"{step}_seconds"] for step in STEPS)}


def test_ten_times_the_prompts_cost_ten_times_as_much(tmp_path: Path) -> None:
    make_tiny_ensemble(tmp_path / "tiny")
    few, many = (measured(n, tmp_path / "tiny", tmp_path) for n in (FEW, MANY))
    figures = {
        "store_seconds_ratio": many["seconds"] / few["seconds"],
        "last_over_first_chunk": many["last_over_first"],
        "rss_gb": many["report_gb"],
        "rss_ratio_1m": many["report_gb"] / few["report_gb"],
        "report_seconds_1m": many["report_seconds"],
        "report_mb_1m": many["report_mb"],
    }
    merge_record("scale", "one machine", figures, [few, many])
    assert figures["store_seconds_ratio"] <= 11
    assert figures["last_over_first_chunk"] <= 1.2
    assert figures["report_seconds_1m"] < 60 and figures["report_mb_1m"] < 5
