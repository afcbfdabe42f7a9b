"""The house itself: how many modules stand in the lobby, how large the wheel is, how long the checks take.

`check_seconds` and `test_seconds` are medians of two runs of `make check` and `make test`, nothing beside them.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.benchmarks.record import write_record
from tests.test_floors import lint

ROOT = Path(__file__).parents[2]
RUNS = 2


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_the_house_is_small_enough_to_live_in(tmp_path: Path) -> None:
    seconds = {target: [_seconds("make", target) for _ in range(RUNS)] for target in ("check", "test")}
    figures = {
        "root_modules": len(list((ROOT / "emoe_audit").glob("*.py"))),
        "wheel_mb": _wheel_bytes(tmp_path) / 1e6,
        "readme_lines": len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()),
        "upward_imports": _upward_imports(),
        **{f"{target}_seconds": statistics.median(own) for target, own in seconds.items()},
    }
    rows = [{"target": target, "seconds": own} for target, all_runs in seconds.items() for own in all_runs]
    write_record("house", figures, rows)
    assert figures["root_modules"] <= 6
    assert figures["wheel_mb"] <= 70
    assert figures["readme_lines"] <= 180
    assert figures["upward_imports"] == 0


def _seconds(*command: str) -> float:
    started = time.monotonic()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return time.monotonic() - started


def _wheel_bytes(folder: Path) -> int:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl")).stat().st_size


def _upward_imports() -> int:
    """Imports that break a contract, each of which import-linter names in a line of its own."""
    return len(re.findall(r"^-?\s*emoe_audit\.\S+ -> emoe_audit\.\S+ \(l\.", lint(ROOT).stdout, re.MULTILINE))
