"""Who stands in line on this machine: a ticket each, which lasts as long as the process that holds it.

A ticket is a locked file in `$XDG_STATE_HOME/emoe-audit/line/HOST`, by default under `~/.local/state`, and what it says
lies beside it. Nobody serves the line: a lock is free once its process is gone, however it went, and whoever finds such
a ticket takes it away. So the line outlives every process, the dashboard among them.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import Field

from emoe_audit.errors import AuditError, told
from emoe_audit.readers.documents import read_json
from emoe_audit.readers.paths import user_state
from emoe_audit.readers.typed import typed
from emoe_audit.runs.files import no_link

Kind = Literal["try", "audit", "scores", "images"]
LATEST = 1e11
"""Seconds since 1970: in the year 5138."""
Moment = Annotated[float, Field(ge=0, le=LATEST)]
State = Literal["waits", "works", "paused"]
WORKING = "working.lock"
TICKET = ".ticket"


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """What somebody who stands in line says of himself."""

    kind: Kind
    """A `try` is waited for by a person, and goes before all others."""
    what: str
    """The run folder."""
    joined: Moment
    """Seconds since 1970."""
    seconds: Moment | None = None
    """Of work that is left, as far as that is known."""
    deadline: Moment | None = None
    """When it is to be done, in seconds since 1970; None where that does not matter."""
    state: State = "waits"


def line_folder() -> Path:
    """Where the tickets of this machine lie. Raises `AuditError` where there is no home."""
    try:
        state = user_state()
    except RuntimeError as error:
        raise AuditError("there is no home folder to stand in line in; set XDG_STATE_HOME") from error
    return state / "line" / socket.gethostname()


class Place:
    """A place in line, held by this process."""

    def __init__(self, file: Path, ticket: Ticket) -> None:
        self._file, self.ticket = file, ticket
        self._write()

    @property
    def name(self) -> str:
        """By which the ticket is known; names are in the order in which tickets were taken."""
        return self._file.stem

    def say(self, **changes: Any) -> None:
        """Change what the ticket says; where it cannot be written, others go on by what it said."""
        self.ticket = replace(self.ticket, **changes)
        with contextlib.suppress(OSError):
            self._write()

    def _write(self) -> None:
        temporary = self._file.with_suffix(f".{secrets.token_hex(4)}.tmp")
        temporary.write_text(json.dumps(asdict(self.ticket)), encoding="utf-8")
        temporary.replace(self._file.with_suffix(".json"))


@contextmanager
def place_in_line(
    kind: Kind, what: str, seconds: float | None = None, deadline: float | None = None
) -> Iterator[Place]:
    """Stand in line; leave it at the end. Raises `AuditError` where no ticket can be written."""
    folder = line_folder()
    ticket = Ticket(kind=kind, what=what, joined=time.time(), seconds=seconds, deadline=deadline)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file, lock = _taken(folder)
        place = Place(file, ticket)
    except OSError as error:
        raise AuditError(f"{folder}: cannot stand in line there: {told(error)}; set XDG_STATE_HOME") from error
    try:
        yield place
    finally:
        _remove(file)
        lock.close()


def line() -> dict[str, Ticket]:
    """All that stand in line now, by the names of their tickets, in the order in which they came."""
    found: dict[str, Ticket] = {}
    for file in sorted(line_folder().glob(f"*{TICKET}")):
        if _is_left(file):
            continue
        with contextlib.suppress(AuditError):  # one is just being written, or is no ticket
            about = read_json(file.with_suffix(".json"), AuditError)
            found[file.stem] = typed(about, Ticket, str(file), AuditError)
    return found


def opened_lock(name: str) -> BinaryIO:
    """A lock in the folder of the line, not yet taken."""
    folder = line_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / name).open("ab")


def is_taken(lock: BinaryIO) -> bool:
    """Take a lock that nobody holds; False where somebody does."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def let_go(lock: BinaryIO) -> None:
    """Let go of a lock."""
    fcntl.flock(lock, fcntl.LOCK_UN)


def _taken(folder: Path) -> tuple[Path, BinaryIO]:
    """A ticket of a new name, locked; another where somebody found it before it was locked, and removed it."""
    while True:
        file = folder / f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}{TICKET}"
        lock = file.open("xb")
        fcntl.flock(lock, fcntl.LOCK_EX)
        if file.exists():
            return file, lock
        lock.close()


def _is_left(file: Path) -> bool:
    """Whether nobody holds a ticket any more, which is removed then; not where that cannot be seen."""
    try:
        with open(file, "rb", opener=no_link) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            _remove(file)
    except OSError:
        return False
    return True


def _remove(file: Path) -> None:
    for own in (*file.parent.glob(f"{file.stem}.*.tmp"), file.with_suffix(".json"), file):
        with contextlib.suppress(OSError):
            own.unlink()
