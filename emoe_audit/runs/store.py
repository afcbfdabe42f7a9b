"""A run written: `reports/<run>/` with Parquet shards, and what is pending.

`plan.json` says what was asked and is written first; `manifest.json` is written last, so a folder without it is
unfinished and can be resumed. A shard is written to a temporary file, synced and renamed: a kill leaves no half shard.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import pandas as pd
import pyarrow as pa

from emoe_audit.errors import StoreError
from emoe_audit.readers.parquet import read_parquet
from emoe_audit.readers.pictures import inside
from emoe_audit.runs import integrity, views
from emoe_audit.runs.checked import columns_of, read_files
from emoe_audit.runs.database import SPILL
from emoe_audit.runs.digests import files_in, state_of
from emoe_audit.runs.faults import lines_of, read_faults
from emoe_audit.runs.files import in_place_of, replace_file, write_whole, written
from emoe_audit.runs.gathering import Gathering
from emoe_audit.runs.ledger import ERRORS, PLAN, Ledger
from emoe_audit.runs.lock import only_writer
from emoe_audit.runs.manifest import check_same, plan_text
from emoe_audit.runs.own import remember
from emoe_audit.runs.parquet import as_arrow, schema_by_table, to_parquet, write_parts
from emoe_audit.runs.place import check_place
from emoe_audit.runs.planned import PlannedRun
from emoe_audit.runs.shards import SHARD, WHOLE, shard_of, shards
from emoe_audit.runs.sql import Sql, identifier, sql
from emoe_audit.runs.views import JOINED, RESULTS
from emoe_audit.types import RowError, RunManifest

IN_ORDER = "SELECT * FROM {rows} ORDER BY prompt_id"
Table = Literal["scores", "readings", "noises", "sights", "quality"]


class RunStore(PlannedRun):
    """One run folder, to be written and read. `locked` keeps a second writer out."""

    _gathering: Gathering | None = None
    """Of a run that was opened; not of a share, whose files are its reader's to take."""

    @classmethod
    def open(cls, path: Path | str, *, plan: RunManifest | None = None, mending: bool = False) -> RunStore:
        """Open a run; with a plan, create it or check that the folder holds the same run.

        A plan is given, or `mending` said, by who makes again what is damaged; nobody else reads a damaged run.

        Raises:
            StoreError: there is no run, or another one; the message says what differs. Or a file is not as it was
                written, as far as `integrity.check` sees.
            WriteError: there is none, and none can be made.
        """
        store = cls(Path(path))
        if plan is None:
            store.plan()
            if not mending:
                integrity.check(store.path)
        elif store.is_started:
            check_same(store.plan(), plan, store.path)
        else:
            check_place(store.path)
            with written(store.path):
                store.path.mkdir(parents=True, exist_ok=True)
            store.begin(plan)
            remember(store.path / PLAN)
        store._named, store._gathering = plan, Gathering(store._add, store._remove)
        return store

    def begin(self, plan: RunManifest) -> None:
        """Write the plan and begin the record, for which nobody's word is taken yet; or check that it is the same plan.

        Raises:
            StoreError: it is another one; the message says what differs.
        """
        if self.is_started:
            check_same(self.plan(), plan, self.path)
            return
        write_whole(self.path / PLAN, plan_text(plan))
        self.ledger.adopt()

    def plan_anew(self, plan: RunManifest) -> None:
        """Write another plan, of a run that this one grows into, in place of its own."""
        self._write(self.path / PLAN, plan_text(plan))
        remember(self.path / PLAN)
        self._named = plan

    @cached_property
    def ledger(self) -> Ledger:
        """The record of what was written."""
        return Ledger(self.path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only writer, and ask one database, which may put what does not fit in memory into the run.

        At the end the record of a finished run is brought up to date.

        Raises:
            StoreError: another process writes to this run, or something else than a lock is in its place.
        """
        with only_writer(self.path):
            with self.many_queries(spills_into=self.path):
                yield
            self.ledger.settle()

    def write_prompts(self, parts: Iterable[pd.DataFrame]) -> None:
        """Write the prompts with their keys, in place of what was there.

        Args:
            parts: Some at a time; they may be gone through again.
        """
        self._forget_join()
        with self._in_place_of(self.path / "prompts" / WHOLE) as temporary:
            write_parts(temporary, "prompts", parts)

    def append(self, table: Table, frame: pd.DataFrame) -> None:
        """Add one shard; the same rows again take its place."""
        self._gather(table, self._add(table, as_arrow(frame, table)))

    def _add(self, table: str, rows: pa.Table) -> Path:
        self._forget_join()
        file = self.path / table / shard_of(table, rows)
        self._write(file, to_parquet(rows, table))
        return file

    def _gather(self, table: str, shard: Path) -> None:
        if self._gathering is not None:
            self._gathering.take(table, shard)

    def _remove(self, file: Path) -> None:
        self.ledger.remove(self._name(file))
        if self._gathering is not None:
            self._gathering.forget(file)

    def compact(self, table: Table) -> None:
        """Put the shards of a table into one, so that reading a finished run opens few files.

        The new shard is there before the others go; a kill in between leaves rows twice, and every reader takes each
        key once.
        """
        held, whole = shards(self.path, table), self.path / table / WHOLE
        if held and held != [whole]:
            self.ledger.check(map(self._name, held))
            self._replace(whole, sql("SELECT * FROM {table}", table=identifier(table)))
            for shard in held:
                if shard != whole:
                    self._remove(shard)

    def join(self) -> None:
        """Write `results` as one table in the order of `prompt_id`, so that reading a large run joins nothing.

        It is gone with the next change of a table that it was made of; every query then joins anew.
        """
        self._forget_join()
        with tempfile.TemporaryDirectory(prefix=SPILL, dir=self.path) as place:
            joined = Path(place).resolve() / "joined.parquet"
            self.copy(sql("SELECT * FROM results"), joined)  # to join and to sort at once takes more memory
            self._replace(views.analysis(self.path, RESULTS), sql(IN_ORDER, rows=read_files([joined])))

    def _replace(self, file: Path, rows: Sql) -> None:
        """Write the rows of a SELECT as one file without holding them all."""
        with self._in_place_of(file) as temporary:
            self.copy(rows, temporary)

    def _forget_join(self) -> None:
        file = views.analysis(self.path, RESULTS)
        self._own(file)
        self._remove(file)

    def write_image(self, name: str, content: bytes) -> None:
        """Write one image at its place in the run folder, `images/ab/<key>.png`."""
        self._write(self.path / name, content)

    def write_analysis(self, name: str, frame: pd.DataFrame) -> None:
        """Write one analysis table, in place of what was there."""
        if name in JOINED:
            self._forget_join()
        self._write(views.analysis(self.path, name), to_parquet(as_arrow(frame, name), name))

    def write_page(self, name: str, text: str) -> Path:
        """Write what people read beside the tables, `report.html`; returns its path. Raises `WriteError`."""
        with self.ledger.writing(name) as note:
            return replace_file(self.path / name, [text], note)

    def keep(
        self, table: Table, wanted: Callable[[pd.DataFrame], pd.Series], among: Sequence[Path] | None = None
    ) -> None:
        """Leave out the rows of a table that are not wanted; their keys are pending again.

        Args:
            table: Its name.
            wanted: Says of each row whether it is.
            among: The shards that are looked through; None for all.

        Raises:
            StoreError: a file of the table cannot be read, or does not hold what the table does.
        """
        self._forget_join()
        for shard in shards(self.path, table) if among is None else among:
            columns_of(table, shard)
            frame = read_parquet(shard, StoreError).to_pandas()
            kept = frame[wanted(frame)]
            if kept.empty:
                self._remove(shard)
            elif len(kept) < len(frame):
                self._write(shard, to_parquet(as_arrow(kept, table), table))

    def clear(self, table: Table) -> None:
        """Leave out all rows of a table."""
        self._forget_join()
        for shard in shards(self.path, table):
            self._remove(shard)

    def forget(self, names: Iterable[str]) -> None:
        """Remove those of some files that are there."""
        self._forget_join()
        for name in names:
            if self.file(name) is not None:
                self._remove(self.path / name)

    def take(self, place: Path) -> None:
        """Note the files of a folder in the run folder that others than this store wrote; of one outside, nothing."""
        run, place = self.path.resolve(), place.resolve()
        if place.is_relative_to(run):
            for name, _ in files_in(place):
                file = place / name
                self.ledger.note(file.relative_to(run).as_posix(), state_of(file))

    def take_over(self, file: Path, name: str) -> None:
        """Give a file that another writer made whole its place in this run."""
        self._forget_join()
        self._columns = None
        place = self._own(self.path / name)
        with self.ledger.writing(name) as note, written(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            note(file)
            file.replace(place)
        table, _, shard = name.rpartition("/")
        if SHARD.fullmatch(shard):
            self._gather(table, place)

    def write_parts(self, name: str, parts: Iterable[pd.DataFrame]) -> None:
        """Write an analysis table that is too large to be held, part by part, in place of what was there."""
        if name in JOINED:
            self._forget_join()
        with self._in_place_of(views.analysis(self.path, name)) as temporary:
            write_parts(temporary, name, parts, schema_by_table(name))

    def _write(self, file: Path, content: bytes) -> None:
        with self._in_place_of(file) as temporary:
            temporary.write_bytes(content)

    @contextmanager
    def _in_place_of(self, file: Path) -> Iterator[Path]:
        self._columns = None
        with self.ledger.writing(self._name(file)) as note, in_place_of(self._own(file), note) as temporary:
            yield temporary

    def _name(self, file: Path) -> str:
        """A file by its path from the run, however the run was named."""
        run = self.path if file.is_relative_to(self.path) else self.path.resolve()
        return file.relative_to(run).as_posix()

    def _own(self, file: Path) -> Path:
        """A file that is to be written, in the folder that its name says.

        Raises:
            StoreError: a link leads out of the run.
        """
        return inside(self.path, os.path.dirname(self._name(file)), StoreError) / file.name

    def record_error(self, *errors: RowError) -> None:
        """Add a line for each to `errors.jsonl`."""
        if errors:
            self.ledger.append(ERRORS, lines_of(errors))

    def clear_errors(self) -> None:
        """Forget earlier errors: a resumed run tries the failed rows again."""
        self.ledger.remove(ERRORS)

    def errors(self) -> list[RowError]:
        """Rows that were left out, see `read_faults`."""
        return read_faults(self.path)

    def finish(self) -> None:
        """Compact the shards, and write the table of files and the manifest: from now on the run is complete."""
        for table in get_args(Table):
            self.compact(table)
        self.ledger.seal()
