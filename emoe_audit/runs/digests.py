"""What lies in a folder, as it lies there: size and SHA-256 of plain files, and no link is followed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from emoe_audit.errors import StoreError


@dataclass(frozen=True, kw_only=True)
class State:
    """What a file holds."""

    bytes: int
    sha256: str


def state_of(file: Path) -> State | None:
    """Size and SHA-256 of a file; None where there is none, or what is there is a link or no plain file.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        number = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if size_of(file) is None:
            return None
        raise StoreError(f"{file}: cannot be read: {error.strerror}") from error
    with os.fdopen(number, "rb", buffering=0) as opened:
        about = os.fstat(number)
        if not stat.S_ISREG(about.st_mode):
            return None
        return State(bytes=about.st_size, sha256=hashlib.file_digest(opened, "sha256").hexdigest())


def size_of(file: Path | str) -> int | None:
    """Bytes of a file; None where there is none, or what is there is a link or no plain file."""
    try:
        about = os.lstat(file)
    except (OSError, ValueError):
        return None
    return about.st_size if stat.S_ISREG(about.st_mode) else None


def files_in(folder: Path) -> Iterator[tuple[str, bool]]:
    """Everything in a folder that is no folder, by path from it, and whether it is a plain file.

    Raises:
        StoreError: a folder cannot be read.
    """
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            with os.scandir(folder / below) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(f"{below}{entry.name}/")
                    else:
                        yield f"{below}{entry.name}", entry.is_file(follow_symlinks=False)
        except OSError as error:
            raise StoreError(f"{folder / below}: cannot be read: {error.strerror}") from error
