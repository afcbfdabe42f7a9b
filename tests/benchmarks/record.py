"""What a benchmark measured, as `reports/benchmarks/NAME.json`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from emoe_audit.ground import record

Verdict = Literal["held", "not_held", "inconclusive"]
Row = dict[str, Any]
FOLDER = Path(__file__).parents[2] / "reports" / "benchmarks"


def paired_ratio(slow: Callable[[], object], fast: Callable[[], object], repeats: int = 5) -> tuple[float, list[float]]:
    """How many times as long `slow` takes as `fast`: the median of pairs run one after the other, and each pair's."""
    for warm_up in (slow, fast):
        warm_up()
    ratios = [_seconds(slow) / _seconds(fast) for _ in range(repeats)]
    return float(np.median(ratios)), ratios


def write_record(name: str, figures: dict[str, float], rows: list[dict[str, Any]]) -> None:
    """Write figures and rows under a name."""
    record.write_record(FOLDER / f"{name}.json", figures, rows)


def merge_record(name: str, part: str, figures: dict[str, float], rows: list[dict[str, Any]]) -> None:
    """Write one part of a record that several commands measure; the other parts' figures and rows stay."""
    path = FOLDER / f"{name}.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"figures": {}, "rows": []}
    others = [row for row in kept["rows"] if row["part"] != part]
    write_record(name, kept["figures"] | figures, [*others, *({"part": part, **row} for row in rows)])


def claim_row(
    method: str,
    claim: str,
    value: float,
    control: float,
    verdict: Verdict,
    ends: tuple[float, float] | None = None,
    p: float | None = None,
) -> Row:
    """What a method claims: a figure and the figure that it is held against.

    `low` and `high` are the 95% interval of `value - control`, on which the verdict rests where there is one; `p` is
    that of a test.
    """
    low, high = ends or (None, None)
    figures = {"value": value, "low": low, "high": high, "control": control, "p": p}
    return {"method": method, "claim": claim, **figures, "verdict": verdict}


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
