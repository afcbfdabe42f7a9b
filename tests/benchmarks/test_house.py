"""The house itself: how many modules stand in the lobby, how large the wheel is, how long the checks take.

`check_seconds` and `test_seconds` are medians of two runs of `make check` and `make test`, nothing beside them.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from pathlib import Path

import pytest

from tests.benchmarks.record import write_record
from tests.package.conftest import main_wheel
from tests.test_floors import upward_imports

ROOT = Path(__file__).parents[2]
RUNS = 2


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_the_house_is_small_enough_to_live_in(tmp_path: Path) -> None:
    seconds = {target: [_seconds("make", target) for _ in range(RUNS)] for target in ("check", "test")}
    figures = {
        "root_modules": len(list((ROOT / "emoe_audit").glob("*.py"))),
        "wheel_mb": main_wheel(tmp_path).stat().st_size / 1e6,
        "readme_lines": len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()),
        "upward_imports": len(upward_imports(ROOT)),
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
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:]
    return time.monotonic() - started
