"""One writer at a time: a lock in the run folder, which the kernel frees when a process dies."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from emoe_audit.errors import StoreError
from emoe_audit.runs.files import no_link, written
from emoe_audit.runs.ledger import LOCK


@contextmanager
def only_writer(run: Path) -> Iterator[None]:
    """Be the only process that writes to a run, rid of what a killed one left.

    Raises:
        StoreError: another process writes to this run, or something else than a lock is in its place.
    """
    with _opened_lock(run / LOCK) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(f"{run}: another process is writing to this run; wait for it, or stop it") from error
        _remove_torn(run)
        yield


@contextmanager
def _opened_lock(file: Path) -> Iterator[BinaryIO]:
    if file.is_symlink() or (file.exists() and not file.is_file()):
        raise StoreError(f"{file}: a link or a folder, where a lock belongs; remove it")
    with written(file):
        lock = open(file, "ab", opener=no_link)  # noqa: SIM115 - closed below, outside of `written`
    with lock:
        yield lock


def _remove_torn(run: Path) -> None:
    """Remove what a killed writer left, in this folder and no other."""
    for folder, _, names in os.walk(run):
        for name in names:
            file = Path(folder, name)
            if name.endswith(".tmp") and stat.S_ISREG(file.lstat().st_mode):
                with written(file):
                    file.unlink(missing_ok=True)
