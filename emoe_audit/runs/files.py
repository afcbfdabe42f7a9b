"""Files that are written whole or not at all: a kill, an interrupt or a full disk leaves what was there before."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from emoe_audit.errors import AuditError


@contextlib.contextmanager
def in_place_of(path: Path) -> Iterator[Path]:
    """A file to write, which takes this one's place once it lies on the disk whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_whole(path: Path, content: bytes) -> None:
    """Write some bytes."""
    with in_place_of(path) as temporary:
        temporary.write_bytes(content)


def replace_file(path: Path, parts: Iterable[str]) -> Path:
    """Write a text as UTF-8, part by part, for a user who named the file.

    Raises:
        AuditError: it cannot be written there.
    """
    try:
        with in_place_of(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            file.writelines(parts)
    except OSError as error:
        raise AuditError(f"{path}: cannot be written: {error.strerror}; make room, or write elsewhere") from error
    return path
