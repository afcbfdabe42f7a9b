"""Where a run is to be made: whether it can be."""

from __future__ import annotations

from pathlib import Path

from emoe_audit.errors import StoreError
from emoe_audit.runs.ledger import PLAN
from emoe_audit.runs.shares import SHARES


def check_place(path: Path) -> None:
    """Look whether a run can be made in a folder.

    Raises:
        StoreError: it holds other things, a file is in its way, or nothing can have such a name.
    """
    try:
        there = next(own for own in (path, *path.absolute().parents) if own.exists())
        is_taken = there == path and there.is_dir() and any(not _is_of_a_run(own) for own in there.iterdir())
        is_folder = there.is_dir()
    except (OSError, ValueError) as error:
        raise StoreError(f"{str(path)[:200]!r}: no run can be made here: {error}; choose another --out") from error
    if not is_folder:
        raise StoreError(f"{there}: a file, where the run needs a folder; choose another --out")
    if is_taken:
        raise StoreError(f"{path}: not empty and not a run; choose another --out")


def _is_of_a_run(file: Path) -> bool:
    return file.name == SHARES or (file.name.startswith(PLAN) and file.suffix == ".tmp")
