"""Audits that the dashboard starts: each is the command line's own `run` in a process that outlives the page.

What the form asked for, the process and what it said lie beside the runs under `.jobs`, so that an audit is found
again, cancelled and resumed after the dashboard itself was closed. A folder can come from anybody: the command is made
anew from what was asked for, and only a process that is known again is interrupted.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import processes
from processes import Process
from pydantic import Field
from uploads import keep_upload, kept_upload, own_folder

from emoe_audit.errors import AuditError, StoreError
from emoe_audit.experts.spec import embedded_names
from emoe_audit.line.order import expected
from emoe_audit.line.tickets import line
from emoe_audit.progress import in_words
from emoe_audit.readers.documents import read_json
from emoe_audit.readers.typed import typed
from emoe_audit.runs.files import write_whole
from emoe_audit.runs.store import RunStore

State = Literal["running", "finished", "stopped"]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
MOST_IMAGES, MOST_NOISES = 100_000, 64
LAST_BYTES = 4000
PROGRESS = re.compile(r"(\w+): (\d[\d,]*) of (\d[\d,]*)")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the form asks for."""

    ensemble: str
    """One of `ensembles`."""
    n_images: Annotated[int, Field(ge=0, le=MOST_IMAGES)]
    n_noise: Annotated[int, Field(ge=0, le=MOST_NOISES)]


@dataclass(frozen=True, kw_only=True)
class Job:
    """An audit that was started here."""

    name: str
    suffix: Literal[".csv", ".jsonl", ".parquet"]
    """Of the uploaded table."""
    wish: Wish
    process: Process


def check_name(root: Path, name: str) -> str:
    """The name. Raises `AuditError` for one that is no plain file name, or that is taken."""
    if not NAME.fullmatch(name):
        raise AuditError(f"{name[:60]!r} is no name for a run: use letters, digits, dots, dashes and underscores")
    if os.path.lexists(root / name) or os.path.lexists(root / ".jobs" / f"{name}.json"):
        raise AuditError(f"there is a run of the name {name!r} already; choose another")
    return name


def ensembles(root: Path) -> list[str]:
    """The embedded ensembles, and those that lie in the folder `ensembles` beside the runs."""
    own = [file.parent.name for file in sorted((root / "ensembles").glob("*/ensemble.yaml"))]
    return [*embedded_names(), *own]


def begin(root: Path, name: str, wish: Wish, file_name: str, content: bytes) -> None:
    """Keep an uploaded table and start its audit. Raises `AuditError` for a name that cannot be taken."""
    check_name(root, name)
    suffix = keep_upload(root, name, file_name, content).suffix
    _start(root, name, suffix, wish)


def resume(root: Path, job: Job) -> None:
    """Start an audit again to go on. Raises `AuditError` where its table or its ensemble is gone."""
    _start(root, job.name, job.suffix, job.wish)


def cancel(job: Job) -> None:
    """Interrupt an audit as Ctrl+C does: nothing computed is lost."""
    processes.interrupt(job.process)


def jobs(root: Path) -> list[Job]:
    """The audits that were started here, the newest first; a file that is none is passed over."""
    folder, found = root / ".jobs", []
    files = [] if folder.is_symlink() else [file for file in folder.glob("*.json") if _is_plain(file)]
    for file in sorted(files, key=lambda file: -file.stat().st_mtime):
        with contextlib.suppress(AuditError):
            job = typed(read_json(file, AuditError), Job, str(file), AuditError)
            found += [job] if NAME.fullmatch(job.name) and job.name == file.stem else []
    return found


def state(root: Path, job: Job) -> State:
    """Whether it runs or waits, has finished, or stopped before the end."""
    if processes.is_running(job.process):
        return "running"
    with contextlib.suppress(StoreError):
        return "finished" if RunStore.open(root / job.name).is_complete else "stopped"
    return "stopped"


def in_line(root: Path) -> dict[str, str]:
    """What is said of each audit of this folder that waits for a turn, by its name."""
    found: dict[str, str] = {}
    try:
        tickets, now = line(), time.time()
    except (AuditError, OSError):  # nobody can be seen there
        return found
    for before, own in enumerate(expected(tickets, now)):
        ticket = tickets[own.name]
        if ticket.state != "works" and ticket.kind != "try" and Path(ticket.what).parent == root.resolve():
            begins = "" if own.start is None else f", begins in about {in_words(max(0.0, own.start - now))}"
            ends = "" if own.end is None else f", ends in about {in_words(max(0.0, own.end - now))}"
            found[Path(ticket.what).name] = f"{ticket.state}: {before} before it{begins}{ends}"
    return found


def last_words(root: Path, job: Job) -> str:
    """The last line that the process said."""
    file = root / ".jobs" / f"{job.name}.log"
    if not _is_plain(file):
        return ""
    with file.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - LAST_BYTES))
        lines = log.read(LAST_BYTES).decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def share_done(words: str) -> float | None:
    """How much of its stage a line of progress says is done, from 0 to 1; None for any other line."""
    match = PROGRESS.match(words)
    if match is None:
        return None
    done, total = (int(number.replace(",", "")) for number in match.groups()[1:])
    return done / total if done <= total and total else None


def _start(root: Path, name: str, suffix: str, wish: Wish) -> None:
    words = _command(root, name, suffix, wish)
    folder = own_folder(root, ".jobs")
    log = folder / f"{name}.log"
    if os.path.lexists(log) and not _is_plain(log):
        raise AuditError(f"{log}: a link or no file, where the audit writes what it says; remove it")
    process = processes.start(words, log)
    job = {"name": name, "suffix": suffix, "wish": asdict(wish), "process": asdict(process)}
    write_whole(folder / f"{name}.json", json.dumps(job).encode())


def _command(root: Path, name: str, suffix: str, wish: Wish) -> tuple[str, ...]:
    """The words of `emoe-audit`, each made here."""
    if wish.ensemble not in ensembles(root):
        raise AuditError(f"there is no ensemble {wish.ensemble[:60]!r} here; there are {', '.join(ensembles(root))}")
    if (root / name).is_symlink():
        raise AuditError(f"{root / name}: a link, which is not followed; resume the run where it lies")
    own = wish.ensemble not in embedded_names()
    ensemble = str(root / "ensembles" / wish.ensemble) if own else wish.ensemble
    numbers = ("--n-images", str(wish.n_images), "--n-noise", str(wish.n_noise))
    table = kept_upload(root, name, suffix)
    return ("run", str(table), "--ensemble", ensemble, "--out", str(root / name), "--queued", *numbers)


def _is_plain(file: Path) -> bool:
    return file.is_file() and not file.is_symlink()
