"""Is a run what was written? Every file held against the record of the run, or on opening the sizes and a few.

No file that the record names is looked for elsewhere: a link is followed nowhere, and is no file of a run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from emoe_audit.errors import StoreError
from emoe_audit.progress import Progress, silent
from emoe_audit.readers.text import shown
from emoe_audit.runs.database import SPILLED
from emoe_audit.runs.digests import files_in, size_of, state_of
from emoe_audit.runs.ledger import FILES, JOURNAL, LOCK, MANIFEST, PLAN, WRITER, Ledger, Listed
from emoe_audit.runs.shares import SHARES

Kind = Literal["changed", "missing", "unknown"]
SAMPLE = 1024**2
"""Bytes of the smallest files that are hashed when a run is opened; images are left out."""
TRIES = 5
"""Times that a run is looked at which changes meanwhile."""
NOT_LISTED = re.compile(
    rf"{MANIFEST}|{FILES}|{JOURNAL}|{LOCK}|{WRITER}|({SHARES}|{SPILLED.pattern})/.*|.*\.[0-9a-f]{{16}}\.tmp"
)
"""Files of a run that its record does not name: shares have their own, and the next writer removes torn ones."""
SHARD = re.compile(r"(prompts|scores|readings|noises|sights|quality)/part-.*\.parquet")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A file that is not as it was written."""

    path: str
    """From the run folder."""
    kind: Kind
    """`unknown` is a file that the run has not written."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What became of the files of a run."""

    complete: bool
    """Whether the run is finished."""
    n_files: int
    """That the run has written."""
    faults: tuple[Fault, ...]
    """By path."""

    def to_text(self) -> str:
        """A line for each fault, and a sentence."""
        lines = [f"{fault.kind}: {shown(fault.path)}" for fault in self.faults]
        last = f"{len(lines):,} are not as written" if lines else "all as written"
        unfinished = "" if self.complete else "; the run is not finished"
        return "\n".join([*lines, f"{self.n_files:,} files, {last}{unfinished}"])

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def verify(run: Path, progress: Progress = silent) -> Verification:
    """Hold every file of a run against its record.

    Raises:
        StoreError: there is no run, or one of an earlier version without a record; a file cannot be read.
    """
    ledger = Ledger(run)
    if not any((run / name).exists() for name in (PLAN, MANIFEST)):
        raise StoreError(f"{run}: no run here (no {PLAN})")
    if not ledger.is_kept:
        raise StoreError(
            f"{run}: has no record of its files, as runs of earlier versions have none; the command that made the run, "
            "given again, makes one of what lies there now"
        )
    listed, faults = _looked_at(ledger, lambda listed: _all_faults(run, listed, progress))
    complete = (run / MANIFEST).exists()
    n_files = sum(states[-1] is not None for states in listed.states.values()) + 2 * complete
    return Verification(complete=complete, n_files=n_files, faults=faults)


def check(run: Path) -> None:
    """Look at the sizes of all files of a run, and into some; milliseconds for a run of hundreds of files.

    A run without a record passes.

    Raises:
        StoreError: a file is not as it was written.
    """
    ledger = Ledger(run)
    if not ledger.is_kept:
        return
    _, faults = _looked_at(ledger, lambda listed: _quick_faults(run, listed))
    if faults:
        others = f" and {len(faults) - 1} others" if len(faults) > 1 else ""
        raise StoreError(
            f"{run}: {shown(faults[0].path)}{others}: {faults[0].kind}, so the run is not what was written; "
            f"`emoe-audit verify-run {run}` names every such file"
        )


def _looked_at(ledger: Ledger, look: Callable[[Listed], Iterator[Fault]]) -> tuple[Listed, tuple[Fault, ...]]:
    """The record and the faults; of a run that changes while it is looked at those that stay."""
    for _ in range(TRIES):
        before = ledger.stamp()
        listed = ledger.read()
        of_the_record = [Fault(path=name, kind=_lost(ledger.run / name)) for name in listed.damaged]
        faults = [*of_the_record, *(() if FILES in listed.damaged else look(listed))]
        if not faults or ledger.stamp() == before:
            break
    return listed, tuple(sorted(faults, key=lambda fault: fault.path))


def _all_faults(run: Path, listed: Listed, progress: Progress) -> Iterator[Fault]:
    there = dict(files_in(run))
    total = len(listed.states)
    for done, (name, states) in enumerate(sorted(listed.states.items())):
        progress("files", done, total)
        if name not in there and None not in states:
            yield Fault(path=name, kind="missing")
        elif name in there and (not there[name] or state_of(run / name) not in states):
            yield Fault(path=name, kind="changed")
    progress("files", total, total)
    for name in there.keys() - listed.states.keys():
        if not NOT_LISTED.fullmatch(name):
            yield Fault(path=name, kind="unknown")


def _quick_faults(run: Path, listed: Listed) -> Iterator[Fault]:
    sizes = {name: size_of(f"{run}/{name}") for name in listed.states}
    fitting = []
    for name, states in listed.states.items():
        if sizes[name] in {state and state.bytes for state in states}:
            fitting.append(name)
        else:
            yield Fault(path=name, kind=_lost(run / name))
    for name in _sample(fitting, sizes):
        if state_of(run / name) not in listed.states[name]:
            yield Fault(path=name, kind="changed")
    for table in ("prompts", "scores", "readings", "noises", "sights", "quality"):
        for name, _ in files_in(run / table) if (run / table).is_dir() else ():
            if f"{table}/{name}" not in listed.states and SHARD.fullmatch(f"{table}/{name}"):
                yield Fault(path=f"{table}/{name}", kind="unknown")


def _sample(names: list[str], sizes: dict[str, int | None]) -> list[str]:
    """The smallest files that are no images, as many as `SAMPLE` bytes hold."""
    taken, left = [], SAMPLE
    for name in sorted((own for own in names if not own.startswith("images/")), key=lambda own: sizes[own] or 0):
        left -= sizes[name] or 0
        if left < 0:
            break
        taken.append(name)
    return taken


def _lost(file: Path) -> Kind:
    return "changed" if os.path.lexists(file) else "missing"
