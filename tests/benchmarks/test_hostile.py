"""Twenty thousand hostile files against every reader of what comes from outside."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.benchmarks.record import merge_record
from tests.hostile.campaign import count, wage

N_INPUTS = 20_000


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_every_hostile_file_ends_in_a_value_or_a_message(tmp_path: Path) -> None:
    told = wage(tmp_path, N_INPUTS)
    by_reader = Counter((own["reader"], own["outcome"]) for own in told)
    rows = [{"reader": name, "outcome": outcome, "n": n} for (name, outcome), n in sorted(by_reader.items())]
    figures = count(told)
    merge_record("hostile", "readers", figures, rows)
    assert figures["wrong"] == figures["silent"] == 0
    assert figures["inputs"] >= N_INPUTS and figures["peak_gb"] <= 2
