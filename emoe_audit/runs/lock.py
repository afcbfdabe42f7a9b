"""Who writes to a run: one process, or one for each share of it. Locks in its folder, freed when a process dies."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from emoe_audit.errors import StoreError
from emoe_audit.readers.text import shown
from emoe_audit.runs.database import SPILLED
from emoe_audit.runs.files import no_link, written
from emoe_audit.runs.ledger import LOCK, WRITER
from emoe_audit.runs.shares import SHARES, place_of_shares, share_folders

PATIENCE = 600.0
"""Seconds that a process waits for another that prepares the run."""
PAUSE, TRIES = 0.1, 3
LONGEST_NAME = 200
"""Bytes that are read of who holds a lock."""


@contextmanager
def only_writer(run: Path) -> Iterator[None]:
    """Be the only process that writes to a run, rid of what a killed one left.

    Raises:
        StoreError: another process writes to this run, or something else than a lock is in its place.
    """
    with _opened_lock(run / LOCK) as lock:
        _take(lock, fcntl.LOCK_EX, run)
        with _signed(run):
            _remove_torn(run)
            yield


@contextmanager
def one_of_several(run: Path) -> Iterator[None]:
    """Be one of several processes that write to shares of a run, and keep out who would write to the run itself.

    Raises:
        StoreError: a process writes to the run itself.
    """
    with _opened_lock(run / LOCK) as lock:
        _take(lock, fcntl.LOCK_SH, run)
        _forget_writer(run)
        yield


@contextmanager
def prepares(run: Path) -> Iterator[None]:
    """Be the only one of several that writes what all shares need; waits for one that does.

    Raises:
        StoreError: another takes longer than `PATIENCE`.
    """
    place = place_of_shares(run)
    with written(place):
        place.mkdir(parents=True, exist_ok=True)
    with _opened_lock(place / LOCK) as lock:
        end = time.monotonic() + PATIENCE
        while not _is_taken(lock, fcntl.LOCK_EX):
            if time.monotonic() > end:
                raise StoreError(f"{run}: {_holder(place)} has been preparing this run for {PATIENCE:.0f} s; stop it")
            time.sleep(PAUSE)
        with _signed(place):
            yield


def _take(lock: BinaryIO, kind: int, run: Path) -> None:
    for _ in range(TRIES):
        if _is_taken(lock, kind):
            return
        time.sleep(PAUSE)  # somebody who asks for the holder holds it for a moment
    raise StoreError(f"{run}: {_holders(run)} is writing to this run; wait for it, or stop it")


def _is_taken(lock: BinaryIO, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StoreError(f"{lock.name}: cannot be locked here: {error.strerror}; choose another folder") from error
    return True


@contextmanager
def _signed(folder: Path) -> Iterator[None]:
    """Leave word of who holds the lock of a folder; not in the lock, which may have been somebody's file."""
    temporary = folder / f"{WRITER}.{secrets.token_hex(8)}.tmp"
    try:
        with suppress(OSError):
            temporary.write_text(f"{os.getpid()} on {socket.gethostname()}", encoding="utf-8")
            temporary.replace(folder / WRITER)
        yield
    finally:
        _forget_writer(folder)


def _forget_writer(folder: Path) -> None:
    """Remove the word of one that writes no more, or was killed."""
    with suppress(OSError):
        (folder / WRITER).unlink()


def _holders(run: Path) -> str:
    """Who holds the lock of a run, or those of its shares."""
    writing = [folder for folder in share_folders(run) if is_held(folder)]
    return " and ".join(_holder(folder) for folder in writing) or _holder(run)


def _holder(folder: Path) -> str:
    """Another process, and which, where it has left word."""
    try:
        with open(folder / WRITER, "rb", opener=no_link) as file:
            said = file.read(LONGEST_NAME).decode(errors="replace")
    except OSError:
        said = ""
    return f"another process ({shown(said)})" if said else "another process"


def is_held(folder: Path) -> bool:
    """Whether a process holds the lock of a folder."""
    try:
        lock = open(folder / LOCK, "rb", opener=no_link)  # noqa: SIM115 - closed below
    except OSError:
        return False
    with lock:
        return not _is_taken(lock, fcntl.LOCK_SH)


@contextmanager
def _opened_lock(file: Path) -> Iterator[BinaryIO]:
    if file.is_symlink() or (file.exists() and not file.is_file()):
        raise StoreError(f"{file}: a link or a folder, where a lock belongs; remove it")
    with written(file):
        lock = open(file, "a+b", opener=no_link)  # noqa: SIM115 - closed below, outside of `written`
    with lock:
        yield lock


def _remove_torn(run: Path) -> None:
    """Remove what a killed writer left, in this folder and no other; shares and crews have locks of their own."""
    for name in os.listdir(run):
        if SPILLED.fullmatch(name) and not (run / name).is_symlink() and (run / name).is_dir():
            with written(run / name):
                shutil.rmtree(run / name)
    for folder, below, names in os.walk(run):
        if folder == str(run):
            below[:] = [name for name in below if name != SHARES]
        for name in names:
            file = Path(folder, name)
            if name.endswith(".tmp") and _is_plain(file):
                with written(file):
                    file.unlink(missing_ok=True)


def _is_plain(file: Path) -> bool:
    """Whether a file is there and no link."""
    try:
        return stat.S_ISREG(file.lstat().st_mode)
    except FileNotFoundError:
        return False
