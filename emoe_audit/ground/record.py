"""What was measured about the project itself, as `reports/benchmarks/NAME.json`: with machine, versions and date."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

VERSIONS_OF = ("torch", "diffusers", "transformers", "duckdb", "pandas")


def write_record(file: Path, figures: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write figures and rows."""
    record = {
        "figures": figures,
        "rows": rows,
        "machine": {"processor": _processor(), "cores": os.cpu_count()},
        "versions": {"python": platform.python_version(), **_versions()},
        "date": datetime.now(UTC).date().isoformat(),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _versions() -> dict[str, str]:
    """Of the packages that are installed: a machine that only measures has not all."""
    installed = {str(own.name).lower(): own.version for own in importlib.metadata.distributions()}
    return {name: installed[name] for name in VERSIONS_OF if name in installed}


def _processor() -> str:
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cpuinfo() -> list[str]:
    file = Path("/proc/cpuinfo")
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []
