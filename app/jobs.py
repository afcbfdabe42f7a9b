"""Audits that the dashboard starts: each is the command line's own `run` in a process that outlives the page.

What was uploaded, the command and what the process said lie beside the runs, under `.uploads` and `.jobs`, so that an
audit is found again, cancelled and resumed after the dashboard itself was closed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from emoe_audit.errors import AuditError, PromptTableError, StoreError
from emoe_audit.prompts.read import read_prompts
from emoe_audit.prompts.table import PromptTable
from emoe_audit.runs.store import RunStore

State = Literal["running", "finished", "stopped"]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
FORMATS = (".csv", ".jsonl", ".parquet")
STARTED: dict[int, subprocess.Popen[bytes]] = {}
"""The processes of this dashboard, which has to take leave of them when they end."""
MAIN = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from emoe_audit.cli.main import main; main()"
)
"""An audit that can be cancelled where the dashboard itself runs in the background, whose children ignore Ctrl+C."""
PROGRESS = re.compile(r"(\w+): ([\d,]+) of ([\d,]+)")


@dataclass(frozen=True, kw_only=True)
class Job:
    """An audit that was started here."""

    name: str
    arguments: tuple[str, ...]
    """Of `emoe-audit`."""
    pid: int


def check_name(root: Path, name: str) -> str:
    """The name. Raises `AuditError` for one that is no plain file name, or that is taken."""
    if not NAME.fullmatch(name):
        raise AuditError(f"{name[:60]!r} is no name for a run: use letters, digits, dots, dashes and underscores")
    if (root / name).exists():
        raise AuditError(f"there is a run of the name {name!r} already; choose another")
    return name


def check_upload(file_name: str, content: bytes) -> PromptTable:
    """The rows of an uploaded table, and what is wrong with the others, by line and column.

    Raises `PromptTableError` where nothing can be used.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = keep_upload(Path(folder), "table", file_name, content)
        try:
            table = read_prompts(path)
        except PromptTableError as error:
            raise PromptTableError(_named(str(error), path)) from None
        faults = tuple(replace(fault, message=_named(fault.message, path)) for fault in table.row_errors)
        return replace(table, row_errors=faults)


def keep_upload(root: Path, name: str, file_name: str, content: bytes) -> Path:
    """Write an uploaded table beside the runs. Raises `PromptTableError` for a format that is not read."""
    suffix = Path(file_name).suffix.lower()
    if suffix not in FORMATS:
        raise PromptTableError(f"{suffix or 'no ending'!r} is not read; use {', '.join(FORMATS)}")
    path = root / ".uploads" / f"{name}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _named(message: str, path: Path) -> str:
    """A message that speaks of lines of the table, not of a file on this machine."""
    return message.replace(f"{path}:", "line ").replace(str(path), "the table")


def start(root: Path, name: str, arguments: tuple[str, ...]) -> None:
    """Start `emoe-audit` with these arguments, or start it again to go on."""
    folder = root / ".jobs"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", MAIN, *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    STARTED[process.pid] = process
    job = Job(name=name, arguments=arguments, pid=process.pid)
    (folder / f"{name}.json").write_text(json.dumps(asdict(job)), encoding="utf-8")


def cancel(job: Job) -> None:
    """Interrupt an audit as Ctrl+C does: nothing computed is lost."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(job.pid, signal.SIGINT)


def jobs(root: Path) -> list[Job]:
    """The audits that were started here, the newest first; a file that is none is passed over."""
    found = []
    for file in sorted((root / ".jobs").glob("*.json"), key=lambda file: -file.stat().st_mtime):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            data = json.loads(file.read_text(encoding="utf-8"))
            job = Job(**{**data, "arguments": tuple(data["arguments"])})
            found += [job] if NAME.fullmatch(job.name) and job.name == file.stem else []
    return found


def state(root: Path, job: Job) -> State:
    """Whether it runs, has finished, or stopped before the end."""
    if _is_alive(job.pid):
        return "running"
    with contextlib.suppress(StoreError):
        return "finished" if RunStore.open(root / job.name).is_complete else "stopped"
    return "stopped"


def last_words(root: Path, job: Job) -> str:
    """The last line that the process said."""
    file = root / ".jobs" / f"{job.name}.log"
    lines = file.read_bytes()[-4000:].decode("utf-8", "replace").split("\n") if file.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def share_done(words: str) -> float | None:
    """How much of its stage a line of progress says is done."""
    match = PROGRESS.match(words)
    if match is None:
        return None
    done, total = (int(number.replace(",", "")) for number in match.groups()[1:])
    return done / total if total else None


def _is_alive(pid: int) -> bool:
    """Whether the process is there and has not ended."""
    if pid in STARTED:
        return STARTED[pid].poll() is None
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
