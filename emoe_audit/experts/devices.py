"""Device and number type by name."""

from __future__ import annotations

import torch

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.spec_reader import nearest

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


def _exists(kind: str, index: str) -> bool:
    count = torch.cuda.device_count() if kind == "cuda" else 1
    return index.isdecimal() and int(index) < count
