"""A long run on the embedded ensemble: the last prompts cost what the first ones did, in time and in memory."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from emoe_audit.audit import start_run
from emoe_audit.experts.spec import load_spec
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.prompts.table import PromptTable, check_rows
from emoe_audit.types import ImageConfig, ScoringConfig
from tests.benchmarks.process import status_bytes
from tests.benchmarks.record import write_record
from tests.benchmarks.sd15 import all_cores

N_PROMPTS = 10_000
THOUSAND = 1000


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_ten_thousand_prompts_cost_as_much_at_the_end_as_at_the_start(tmp_path: Path) -> None:
    seen: list[tuple[int, float, int]] = []

    def progress(stage: str, done: int, _total: int, _beside: str = "", /) -> None:
        if stage == "scoring":
            seen.append((done, time.perf_counter(), status_bytes("VmRSS")))

    scoring = ScoringConfig(n_noise=1, check_pairs=0, device="cpu")
    with all_cores():
        start_run(
            ten_thousand(), load_spec("emoji-a"), tmp_path / "run", scoring, ImageConfig(n_images=0), progress=progress
        )
    done, seconds, n_bytes = (np.array(column) for column in zip(*seen, strict=True))
    pace = np.diff(seconds) / np.diff(done)
    parts, after = np.diff(done), int(np.flatnonzero(done >= THOUSAND)[0])
    first = slice(1, after)  # the first of all loads what the others have
    last = slice(int(np.flatnonzero(done <= done[-1] - THOUSAND)[-1]), None)
    paces = [np.average(pace[own], weights=parts[own]) for own in (last, first)]
    figures = {
        "last_over_first_thousand": float(paces[0] / paces[1]),
        "memory_at_the_end_over_after_a_thousand": float(n_bytes[-1] / n_bytes[after]),
    }
    rows = [{"prompts": int(d), "bytes": int(b)} for d, b in zip(done, n_bytes, strict=True)]
    write_record("long_run", figures, rows)
    assert done[-1] == N_PROMPTS
    assert figures["last_over_first_thousand"] <= 1.1
    assert figures["memory_at_the_end_over_after_a_thousand"] <= 1.05


def ten_thousand() -> PromptTable:
    """The ensemble's captions with a number behind them, the next number when all have been taken."""
    frame = default_prompts(load_spec("emoji-a"), n_concepts=100).frame
    repeats = -(-N_PROMPTS // len(frame))
    rows = [
        row | {"prompt": f"{row['prompt']} {number}", "prompt_id": f"{row['prompt_id']}-{number}"}
        for number in range(repeats)
        for row in frame.to_dict("records")
    ]
    return check_rows(enumerate(rows[:N_PROMPTS]), "ten thousand")
