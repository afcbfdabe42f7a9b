"""Weights that cannot be written, in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from emoe_audit.errors import EnsembleError, told


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Raise `EnsembleError` with the place where something inside cannot be written, also by safetensors itself."""
    try:
        yield
    except (SafetensorError, OSError) as error:
        raise EnsembleError(f"{place}: cannot be written: {told(error)}; make room, or write elsewhere") from error
