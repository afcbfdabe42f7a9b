"""What the pages ask of a million prompts: each answer in a second, all in a gigabyte."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.record import merge_record
from tests.synthetic import synthetic_run

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(0)]
ASK = """
import sys, time
from pathlib import Path
from emoe_audit.runs.pages import prompts_page, worst_groups
from emoe_audit.runs.store import RunStore
store = RunStore.open(Path(sys.argv[1]))
for ask in (lambda: worst_groups(store, "language", "relative_disagreement"), lambda: prompts_page(store, 5000, 100)):
    times = []
    for _ in range(3):
        started = time.perf_counter()
        assert len(ask()) in (10, 100)
        times.append(time.perf_counter() - started)
    print(min(times))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) / 1e6)
"""


def test_a_million_prompts_answer_in_a_second_and_a_gigabyte(tmp_path: Path) -> None:
    synthetic_run(tmp_path / "run", 1_000_000, shards=20).finish()
    out = subprocess.run([sys.executable, "-c", ASK, tmp_path / "run"], check=True, capture_output=True, text=True)
    groups, page, gigabytes = map(float, out.stdout.split())
    figures = {"worst_groups_seconds_1m": groups, "page_seconds_1m": page, "queries_peak_gb_1m": gigabytes}
    merge_record("dashboard", "queries", figures, [])
    assert max(groups, page) < 1
    assert gigabytes < 1
