"""What an installation has: versions, devices and how fast they are, embedded ensembles, offline or not."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

import click

from emoe_audit.cli.console import print_result
from emoe_audit.cli.options import output_options

PACKAGES = ("emoe-audit", "torch", "diffusers", "transformers", "open_clip_torch", "pandas", "duckdb", "streamlit")


@click.command()
@output_options
def doctor(as_json: bool, quiet: bool) -> int:
    """Versions, devices, embedded ensembles: what this installation has."""
    print_result(examine(), as_json)
    return 0


def examine() -> dict[str, Any]:
    """Names to values, for people and for JSON."""
    import torch

    from emoe_audit.experts.devices import available_devices, resolve_device
    from emoe_audit.experts.fastest import fastest_dtype, speeds_of
    from emoe_audit.experts.spec import embedded_names

    device = resolve_device("auto")
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "devices": ", ".join(available_devices()),
        "auto_device": str(device),
        "auto_dtype": fastest_dtype(device),
        "gflop_per_second": ", ".join(f"{dtype} {speed:.0f}" for dtype, speed in speeds_of(device).items()),
        "threads": torch.get_num_threads(),
        "embedded_ensembles": ", ".join(embedded_names()),
        "hub_offline": os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"),
    }
