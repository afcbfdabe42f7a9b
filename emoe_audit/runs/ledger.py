"""What was written into a run: size and SHA-256 of every file, noted before the file takes its place.

While a run is written, `files.jsonl` gets a line for a file before that file takes its place; a kill can leave the last
line too early, and no other. When the run is finished the lines become the table `files.parquet`, whose own hash stands
in the manifest. A command that changes the run later notes what it writes in the same way, and no other file: nothing
is hashed anew because it lies there.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from emoe_audit.errors import StoreError
from emoe_audit.readers.documents import read_json_object
from emoe_audit.readers.parquet import check_parquet, read_parquet
from emoe_audit.runs.digests import State, files_in, size_of, state_of
from emoe_audit.runs.files import no_link, write_whole, written
from emoe_audit.runs.journal import Line, add_line, is_inside, read_lines, write_lines

PLAN, MANIFEST, ERRORS, LOCK, WRITER = "plan.json", "manifest.json", "errors.jsonl", ".lock", ".writer"
FILES, JOURNAL = "files.parquet", "files.jsonl"
OWN = re.compile(
    r"plan\.json|errors\.jsonl|report\.(json|html)|verification\.html"
    r"|(prompts|scores|readings|noises|sights|quality|analysis|images|abstain)/.*(?<!\.tmp)"
)
"""What a run of an earlier version holds that is its own."""
SCHEMA = pa.schema([("path", pa.string()), ("bytes", pa.int64()), ("sha256", pa.string())])
NOT_AS_WRITTEN = "{}: not as it was written; `emoe-audit verify-run` says what is damaged"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """What a run says of its files."""

    states: dict[str, tuple[State | None, ...]]
    """By path, what lies there; of the last line of the journal first what lay there before."""
    damaged: tuple[str, ...] = ()
    """Of manifest and table those that are not as they were written; where the table is not, `states` is empty."""


class Ledger:
    """The record of one run folder. Whoever writes holds the run's lock."""

    def __init__(self, run: Path) -> None:
        """Look at a folder."""
        self.run = run
        self._is_begun = False
        self._appended: tuple[str, int, Any] = ("", 0, None)

    @property
    def is_kept(self) -> bool:
        """Whether there is one; runs of earlier versions have none."""
        if (self.run / MANIFEST).exists():
            return (self.run / FILES).exists() or self._sealed() is not None
        return bool(size_of(self.run / JOURNAL))

    def read(self) -> Listed:
        """What lies where.

        Raises:
            StoreError: journal or table hold more than is taken.
        """
        lines, damaged = list(read_lines(self.run / JOURNAL)), []
        states: dict[str, tuple[State | None, ...]] = {}
        if (self.run / MANIFEST).exists() and self.is_kept:
            table = self._table({line.state.sha256 for line in lines if line.path == FILES and line.state})
            damaged += [] if self._is_manifest_whole(table or {}) else [MANIFEST]
            if table is None:
                return Listed(states={}, damaged=(*damaged, FILES))
            states |= table
        before: State | None = None
        for line in lines:
            before = states.get(line.path, (None,))[-1]
            states[line.path] = (line.state,)
        if lines:
            states[lines[-1].path] = (before, lines[-1].state)
        states.pop(FILES, None)
        return Listed(states=states, damaged=tuple(damaged))

    def stamp(self) -> tuple[object, ...]:
        """Another one after each change of the record."""
        return tuple(_stamp(self.run / name) for name in (MANIFEST, FILES, JOURNAL))

    def note(self, name: str, state: State | None) -> None:
        """Say what is about to lie at a path; it stays said, whatever happens next."""
        if not self._is_begun:
            self._begin()
        add_line(self.run / JOURNAL, Line(path=name, state=state))

    @contextmanager
    def writing(self, name: str) -> Iterator[Callable[[Path], None]]:
        """Within, a file is written; it is given what is called with the new one before that takes its place."""
        try:
            yield lambda written: self.note(name, state_of(written))
        except BaseException:
            self._is_begun = False
            raise

    def remove(self, name: str) -> None:
        """Take a file away."""
        if os.path.lexists(self.run / name):
            with self.writing(name):
                self.note(name, None)
                with written(self.run / name):
                    (self.run / name).unlink()

    def append(self, name: str, content: bytes) -> None:
        """Add to the end of a file.

        Raises:
            StoreError: what is there is not as it was written.
        """
        file = self.run / name
        size = file.stat().st_size if file.exists() else 0
        if self._appended[:2] != (name, size):
            if size:
                self.check([name])
            with written(file):
                self._appended = (name, size, hashlib.sha256(file.read_bytes() if size else b""))
        digest, size = self._appended[2].copy(), size + len(content)
        digest.update(content)
        with self.writing(name):
            self.note(name, State(bytes=size, sha256=digest.hexdigest()))
            with written(file), open(file, "ab", opener=no_link) as opened:
                opened.write(content)
        self._appended = (name, size, digest)

    def check(self, names: Iterable[str]) -> None:
        """Raise `StoreError` where one of some files is not as it was written, to be asked before it is rewritten."""
        states = self.read().states
        for name in names:
            if name in states and state_of(self.run / name) not in states[name]:
                raise StoreError(NOT_AS_WRITTEN.format(self.run / name))

    def adopt(self) -> None:
        """Note what lies there: of a run that an earlier version wrote, and did not note."""
        own = [name for name, is_file in files_in(self.run) if is_file and OWN.fullmatch(name)]
        self._start({name: state_of(self.run / name) for name in own})

    def reopen(self) -> None:
        """Make a finished run an unfinished one, of which the same is known."""
        known = {name: states[-1] for name, states in self.read().states.items()}
        self._start(known | {FILES: state_of(self.run / FILES)})
        (self.run / MANIFEST).unlink()
        (self.run / FILES).unlink(missing_ok=True)

    def settle(self) -> None:
        """Bring table and manifest of a finished run up to what was noted since."""
        if not (self.run / MANIFEST).exists() or not (self.run / JOURNAL).exists():
            return
        if self.is_kept:
            self.seal()
        else:
            (self.run / JOURNAL).unlink()

    def seal(self) -> None:
        """Write the table, and with its hash the manifest, by which the run is finished.

        A kill in between leaves the journal, which knows the table of before and the new one.

        Raises:
            StoreError: the table that is there is not the one that was written.
        """
        if not self.is_kept:
            self.adopt()
        listed = self.read()
        if FILES in listed.damaged:
            raise StoreError(NOT_AS_WRITTEN.format(self.run / FILES))
        states = {name: self._one_of(name, own) for name, own in listed.states.items()}
        content = _table_text({name: state for name, state in states.items() if state is not None})
        sealed = State(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        self.note(FILES, sealed)
        write_whole(self.run / FILES, content)
        write_whole(self.run / MANIFEST, manifest_text(read_json_object(self.run / PLAN, StoreError), sealed.sha256))
        (self.run / JOURNAL).unlink()

    def _begin(self) -> None:
        """Note what is not noted yet: files of an earlier version, and that the last write never came to its end."""
        self._is_begun = True
        if not self.is_kept and not (self.run / MANIFEST).exists():
            self.adopt()
        for name, states in self.read().states.items():
            if len(states) > 1 and self._one_of(name, states) != states[-1]:
                self.note(name, states[0])

    def _one_of(self, name: str, states: tuple[State | None, ...]) -> State | None:
        """The state of a file, of those that it may have; the last where it has none of them."""
        if len(states) == 1:
            return states[0]
        found = state_of(self.run / name)
        return found if found in states else states[-1]

    def _start(self, states: dict[str, State | None]) -> None:
        """Begin the journal anew, with the plan at the end: the last line is of what may not have been written yet."""
        order = sorted(states, key=lambda name: name == PLAN)
        write_lines(self.run / JOURNAL, (Line(path=name, state=states[name]) for name in order))

    def _sealed(self) -> str | None:
        """The hash of the table, as the manifest has it; None where it has none."""
        try:
            sha256 = read_json_object(self.run / MANIFEST, StoreError).get("files_sha256")
        except StoreError:
            return None
        return sha256 if isinstance(sha256, str) else None

    def _is_manifest_whole(self, table: dict[str, tuple[State | None, ...]]) -> bool:
        """Whether it says what the plan says, to the byte; of a plan that is damaged itself nothing follows."""
        sealed, plan = self._sealed(), self.run / PLAN
        if sealed is None or state_of(plan) not in table.get(PLAN, (None,)):
            return sealed is not None
        return (self.run / MANIFEST).read_bytes() == manifest_text(read_json_object(plan, StoreError), sealed)

    def _table(self, noted: set[str]) -> dict[str, tuple[State | None, ...]] | None:
        """The rows of `files.parquet`; None where it is neither the one of the manifest nor one that was noted."""
        file, sealed = self.run / FILES, self._sealed()
        state = state_of(file)
        if state is None or (sealed is not None and state.sha256 not in noted | {sealed}):
            return None
        try:
            if not check_parquet(file, StoreError).equals(SCHEMA):
                raise StoreError(f"{file}: not a table of files")
            columns = [column.to_pylist() for column in read_parquet(file, StoreError).columns]
        except StoreError:
            if sealed is None:  # of a manifest that cannot be read either
                return None
            raise
        rows = zip(*columns, strict=True)
        return {path: (State(bytes=size, sha256=digest),) for path, size, digest in rows if path and is_inside(path)}


def manifest_text(plan: dict[str, Any], files_sha256: str) -> bytes:
    """The manifest of a finished run: its plan, and the hash of its table of files."""
    manifest = {**plan, "complete": True, "files_sha256": files_sha256}
    return json.dumps(manifest, ensure_ascii=False, indent=2).encode()


def _table_text(states: dict[str, State]) -> bytes:
    names = sorted(states)
    columns = [names, [states[name].bytes for name in names], [states[name].sha256 for name in names]]
    content = io.BytesIO()
    pq.write_table(pa.table(columns, schema=SCHEMA), content)
    return content.getvalue()


def _stamp(file: Path) -> object:
    try:
        about = file.stat()
    except OSError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns
