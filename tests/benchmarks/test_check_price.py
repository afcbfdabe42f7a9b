"""What the check costs: texts that go through the experts, and a small run once an ensemble is checked."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emoe_audit.experts.spec import load_spec
from emoe_audit.scoring.calibration import calibrate, calibration_captions
from emoe_audit.scoring.loading import load_engine
from emoe_audit.types import ScoringConfig
from emoe_audit.validity.check import check
from emoe_audit.validity.probes import MOST_TEXTS
from tests.benchmarks.record import merge_record
from tests.validity.asked import texts_asked_for

PROMPTS = "prompt_id,prompt,language,source_id\n1,a red apple,en,1\n2,ein roter Apfel,de,1\n3,une pomme rouge,fr,1\n"
ASKED = 50
"""Pairs of each kind and language: far more than may be."""


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_few_texts_go_through_the_experts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted where the experts are asked, for an ensemble in forty languages."""
    engine = load_engine(load_spec("emoji-a"), ScoringConfig(n_noise=1, device="cpu"))
    passed = texts_asked_for(monkeypatch)
    captions = calibration_captions(engine.ensemble.spec)
    check(engine, captions, calibrate(engine, captions), n_per_language=ASKED)
    merge_record("statistics", "check price", {"check_unet_texts": sum(passed)}, [])
    assert sum(passed) <= MOST_TEXTS


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_a_small_run_on_a_checked_ensemble_pays_for_no_check(tmp_path: Path) -> None:
    (tmp_path / "prompts.csv").write_text(PROMPTS, encoding="utf-8")
    first, later = (seconds_of_a_run(tmp_path, name) for name in ("first", "later"))
    merge_record("statistics", "small run", {"small_run_seconds": later, "first_run_seconds": first}, [])
    assert later < 0.7 * first


def seconds_of_a_run(folder: Path, name: str) -> float:
    """Of the command, on two cores, with a cache of its own."""
    command = [sys.executable, "-m", "emoe_audit", "run", str(folder / "prompts.csv"), "--out", str(folder / name)]
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "2"}
    started = time.perf_counter()
    subprocess.run([*command, "--device", "cpu", "--quiet"], env=environment, check=True, capture_output=True)
    return time.perf_counter() - started
