"""Processes that are known again: by number, by when they started, and by a token among their own words.

A file only says which process is meant. Whether it is ours is asked of the system.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

PROC = Path("/proc")
STARTED_AT = 19
"""The place of the start in a process's `stat`, counted from behind its name: field 22 of proc(5)."""
LSTART = 24
"""How long the date is that `ps` gives."""
MAIN = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); del sys.argv[1]; "
    "from emoe_audit.cli.main import main; main()"
)
"""An audit that can be cancelled where the dashboard itself runs in the background, whose children ignore Ctrl+C.
Its first word is the token."""
STARTED: dict[int, subprocess.Popen[bytes]] = {}
"""The processes of this dashboard, which has to take leave of them when they end."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """A command of `emoe-audit` that was started here."""

    pid: Annotated[int, Field(gt=1)]
    started: str
    """When, as the system tells it."""
    token: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


def start(arguments: Sequence[str], log: Path) -> Process:
    """Start `emoe-audit` with these arguments; what it says is added to the log."""
    token = secrets.token_hex(16)
    words = [sys.executable, "-P", "-c", MAIN, token, *arguments]
    with log.open("ab") as file:
        own = subprocess.Popen(words, stdout=file, stderr=file, stdin=subprocess.DEVNULL, start_new_session=True)
    STARTED[own.pid] = own
    while token not in _look(own.pid)[1] and own.poll() is None:
        time.sleep(0.01)  # its words are there a moment after it is
    return Process(pid=own.pid, started=_look(own.pid)[0], token=token)


def is_running(process: Process) -> bool:
    """Whether the process is there, and is the one that was started."""
    if process.pid in STARTED:
        STARTED[process.pid].poll()
    started, words = _look(process.pid)
    return started == process.started and f" -c {MAIN} {process.token} " in words


def interrupt(process: Process) -> None:
    """What Ctrl+C does, to a process that is known again and to no other."""
    if is_running(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGINT)


def _look(pid: int) -> tuple[str, str]:
    """When a process started, and its words; both are empty where there is none."""
    if not PROC.is_dir():
        return _ask_ps(pid)
    try:
        about = (PROC / str(pid) / "stat").read_text(errors="replace")
        words = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return "", ""
    return about.rpartition(")")[2].split()[STARTED_AT], words.decode(errors="replace").replace("\0", " ")


def _ask_ps(pid: int) -> tuple[str, str]:
    """The same where the system has no `/proc`."""
    command = ["ps", "-ww", "-o", "lstart=", "-o", "args=", "-p", str(pid)]
    said = subprocess.run(command, env={**os.environ, "LC_ALL": "C"}, capture_output=True, check=False).stdout
    line = said.decode(errors="replace").rstrip("\n")
    return line[:LSTART], f"{line[LSTART:]} "
