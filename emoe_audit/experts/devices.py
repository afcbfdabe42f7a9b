"""Device and number type by name, and how much memory of a device is free."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.spec_reader import nearest

MEMORY = Path("/proc/meminfo")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one, then MPS, then the CPU. Raises `EnsembleError` for a device not there."""
    available = available_devices()
    if name == "auto":
        return torch.device(available[0])
    kind, _, index = name.partition(":")
    if kind not in available or (index and not _exists(kind, index)):
        raise EnsembleError(f"device {name!r} is not here{nearest(name, ['auto', *available])}")
    return torch.device(name)


def available_devices() -> list[str]:
    """The kinds of device of this machine, best first."""
    found = [("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available()), ("cpu", True)]
    return [kind for kind, is_here in found if is_here]


def resolve_dtype(name: str) -> torch.dtype:
    """The torch type of that name. Raises `EnsembleError`."""
    if name not in DTYPES:
        raise EnsembleError(f"dtype {name!r} is not one of {', '.join(DTYPES)}{nearest(name, DTYPES)}")
    return DTYPES[name]


def free_bytes(device: torch.device) -> int | None:
    """Memory that is free; None where that is not known. A CPU's runs out without an error: the process is ended."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "cpu" and MEMORY.is_file():
        found = re.search(r"^MemAvailable:\s+(\d+) kB", MEMORY.read_text(encoding="utf-8"), re.MULTILINE)
        return 1024 * int(found[1]) if found else None
    return None


def _exists(kind: str, index: str) -> bool:
    count = torch.cuda.device_count() if kind == "cuda" else 1
    return index.isdecimal() and int(index) < count


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch raised it for want of memory; CPU and MPS have no class of their own for that."""
    words = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in words or "can't allocate memory" in words
