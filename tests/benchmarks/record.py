"""What a benchmark measured, as `reports/benchmarks/NAME.json`."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

FOLDER = Path(__file__).parents[2] / "reports" / "benchmarks"
VERSIONS_OF = ("torch", "diffusers", "transformers", "duckdb", "pandas")


def paired_ratio(slow: Callable[[], object], fast: Callable[[], object], repeats: int = 5) -> tuple[float, list[float]]:
    """How many times as long `slow` takes as `fast`: the median of pairs run one after the other, and each pair's."""
    for warm_up in (slow, fast):
        warm_up()
    ratios = [_seconds(slow) / _seconds(fast) for _ in range(repeats)]
    return float(np.median(ratios)), ratios


def write_record(name: str, figures: dict[str, float], rows: list[dict[str, Any]]) -> None:
    """Write figures and rows with the machine, the versions and the date."""
    record = {
        "figures": figures,
        "rows": rows,
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "torch_threads": torch.get_num_threads()},
        "versions": {"python": platform.python_version()} | {n: importlib.metadata.version(n) for n in VERSIONS_OF},
        "date": datetime.now(UTC).date().isoformat(),
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _processor() -> str:
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cpuinfo() -> list[str]:
    file = Path("/proc/cpuinfo")
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []
