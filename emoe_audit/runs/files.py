"""Files of a run: those that lie in its folder and nowhere else, and such as are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from emoe_audit.errors import StoreError, WriteError
from emoe_audit.readers.pictures import inside


def own_file(run: Path, name: str) -> Path | None:
    """A file of a run folder by its name there; None where there is none.

    Raises:
        StoreError: a link leads out of the folder.
    """
    path = inside(run, name, StoreError)
    return path if path.is_file() else None


def no_link(path: str, flags: int) -> int:
    """Open a file for `open(..., opener=)`; an `OSError` where a link or a pipe is in its place."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


@contextlib.contextmanager
def written(path: Path) -> Iterator[None]:
    """Make of what the system refuses an error that says where.

    Raises:
        WriteError: there is no room, no permission, or something else in the way.
    """
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"{path}: cannot be written: {error.strerror or error}; make room, or write elsewhere"
        ) from error


def unasked(written: Path) -> None:
    """Let a file take its place, whatever it holds."""


@contextlib.contextmanager
def in_place_of(path: Path, before: Callable[[Path], None] = unasked) -> Iterator[Path]:
    """A file to write, which takes this one's place once it lies on the disk whole and `before` has seen it.

    A kill, an interrupt or a full disk leaves what was there before. No link can lie in wait where it is written.

    Raises:
        WriteError: it cannot be written there.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    with written(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            before(temporary)
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()


def write_whole(path: Path, content: bytes) -> None:
    """Write some bytes. Raises `WriteError`."""
    with in_place_of(path) as temporary:
        temporary.write_bytes(content)


def replace_file(path: Path, parts: Iterable[str], before: Callable[[Path], None] = unasked) -> Path:
    """Write a text as UTF-8, part by part.

    Raises:
        WriteError: it cannot be written there.
    """
    with in_place_of(path, before) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.writelines(parts)
    return path
