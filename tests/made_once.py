"""Folders that many tests start from are written once a process, and copied for each test."""

from __future__ import annotations

import pickle
import shutil
import tempfile
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Any

from emoe_audit.runs.store import RunStore

Write = Callable[..., RunStore]


def made_once(write: Write) -> Write:
    """A function `write(path, *args)` of a run that writes each run, by its other arguments, only the first time."""
    made: dict[bytes, Path] = {}

    @wraps(write)
    def make(path: Path, *args: Any, **kwargs: Any) -> RunStore:
        if path.exists():
            return write(path, *args, **kwargs)
        named = pickle.dumps((args, sorted(kwargs.items())))
        if named not in made:
            made[named] = write(_room() / f"{write.__name__}-{len(made)}", *args, **kwargs).path
        shutil.copytree(made[named], path)
        return RunStore.open(path)

    return make


def _room() -> Path:
    return Path(_kept().name)


@cache
def _kept() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="made-once-")
