"""A run on disk: `reports/<run>/` with Parquet shards, what is pending, and DuckDB to read it.

`plan.json` says what was asked and is written first; `manifest.json` is written last, so a folder without it is
unfinished and can be resumed. A shard is written to a temporary file, synced and renamed: a kill leaves no half shard.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import duckdb
import pandas as pd

from emoe_audit import views
from emoe_audit.errors import StoreError
from emoe_audit.manifest import check_same, manifest_from
from emoe_audit.types import RowError, RunManifest
from emoe_audit.views import JOINED, RATINGS, RESULTS

Table = Literal["scores", "readings", "quality"]
PLAN, MANIFEST, ERRORS, LOCK = "plan.json", "manifest.json", "errors.jsonl", ".lock"
MEMORY_LIMIT = "512MB"
ROW_GROUP = 16_384
"""Rows that a reader holds at once; readings take 1 KiB each."""
VECTOR = 2048
"""Rows of DuckDB's unit of work."""


class RunStore:
    """One run folder. Reading needs no lock; `locked` keeps a second writer out."""

    def __init__(self, path: Path) -> None:
        """Use `open`, which checks the folder."""
        self.path = path
        self._database: duckdb.DuckDBPyConnection | None = None

    @classmethod
    def open(cls, path: Path | str, *, plan: RunManifest | None = None) -> RunStore:
        """Open a run; with a plan, create it or check that the folder holds the same run.

        Raises:
            StoreError: there is no run, or another one; the message says what differs.
        """
        store = cls(Path(path))
        if plan is None:
            store.plan()
        elif store.is_started:
            check_same(store.plan(), plan, store.path)
        else:
            if store.path.exists() and any(store.path.iterdir()):
                raise StoreError(f"{store.path}: not empty and not a run; choose another --out")
            store.path.mkdir(parents=True, exist_ok=True)
            _write_json(store.path / PLAN, asdict(plan))
        return store

    def plan(self) -> RunManifest:
        """What was asked."""
        return self._read_manifest(PLAN)

    def manifest(self) -> RunManifest | None:
        """What was made; None while the run is unfinished."""
        return self._read_manifest(MANIFEST) if (self.path / MANIFEST).exists() else None

    @property
    def is_started(self) -> bool:
        """Whether there is a run."""
        return (self.path / PLAN).exists()

    @property
    def is_complete(self) -> bool:
        """Whether the run is finished."""
        return (self.path / MANIFEST).exists()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only writer; the kernel frees the lock of a process that died.

        Raises:
            StoreError: another process writes to this run.
        """
        with (self.path / LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreError(
                    f"{self.path}: another process is writing to this run; wait for it, or stop it"
                ) from error
            for torn in self.path.rglob("*.tmp"):
                torn.unlink()
            yield

    def write_prompts(self, frame: pd.DataFrame) -> None:
        """Write the prompts with their keys, in place of what was there."""
        self._forget_join()
        _write(self._shard("prompts", 0), _parquet(frame))

    def append(self, table: Table, frame: pd.DataFrame) -> None:
        """Add one shard."""
        self._forget_join()
        shards = views.shards(self.path, table)
        number = int(shards[-1].stem.removeprefix("part-")) + 1 if shards else 0
        _write(self._shard(table, number), _parquet(frame))

    def compact(self, table: Table) -> None:
        """Put the shards of a table into one, so that reading a finished run opens few files.

        The new shard takes the first one's place before the others go; a kill in between leaves rows twice, and every
        reader takes each key once.
        """
        shards = views.shards(self.path, table)
        if len(shards) > 1:
            self._copy(table, shards[0])
            for shard in shards[1:]:
                shard.unlink()

    def join(self) -> None:
        """Write `results` as one table in the order of `prompt_id`, so that reading a large run joins nothing.

        It is gone with the next change of a table that it was made of; every query then joins anew.
        """
        self._forget_join()
        file = views.analysis(self.path, RESULTS)
        file.parent.mkdir(parents=True, exist_ok=True)
        self._copy("results ORDER BY prompt_id", file)

    def _copy(self, rows: str, file: Path) -> None:
        """Write rows as one file without holding them all."""
        form = f"FORMAT parquet, ROW_GROUP_SIZE {ROW_GROUP}"
        with _in_place_of(file) as temporary:
            self.query(f"COPY (SELECT * FROM {rows}) TO {views.literal(temporary)} ({form})")

    def _forget_join(self) -> None:
        views.analysis(self.path, RESULTS).unlink(missing_ok=True)

    def write_image(self, name: str, content: bytes) -> None:
        """Write one image at its place in the run folder, `images/ab/<key>.png`."""
        _write(self.path / name, content)

    def write_analysis(self, name: str, frame: pd.DataFrame) -> None:
        """Write one analysis table, in place of what was there."""
        if name in JOINED:
            self._forget_join()
        _write(views.analysis(self.path, name), _parquet(frame))

    def has_analysis(self, name: str) -> bool:
        """Whether `write_analysis` has written it."""
        return views.has_analysis(self.path, name)

    def pending(self, table: Table, keys: Iterable[str]) -> list[str]:
        """The keys that a table lacks, in order, each once."""
        done = set(self.query(f"SELECT key FROM {table}")["key"])
        return [key for key in dict.fromkeys(keys) if key not in done]

    def prompts_of(self, keys: Sequence[str]) -> list[dict[str, Any]]:
        """One row of the prompt table for each key, in order; of rows that share a key the first by id."""
        sql = (
            "SELECT * FROM prompts WHERE key IN (SELECT unnest(?::VARCHAR[])) "
            "QUALIFY row_number() OVER (PARTITION BY key ORDER BY prompt_id) = 1"
        )
        rows = self.query(sql, [list(keys)]).set_index("key", drop=False).loc[list(keys)]
        return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]

    def record_error(self, error: RowError) -> None:
        """Add a line to `errors.jsonl`."""
        with (self.path / ERRORS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(error), ensure_ascii=False) + "\n")

    def clear_errors(self) -> None:
        """Forget earlier errors: a resumed run tries the failed rows again."""
        (self.path / ERRORS).unlink(missing_ok=True)

    def errors(self) -> list[RowError]:
        """Rows that were left out; a last line torn by a kill is passed over."""
        file = self.path / ERRORS
        lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []
        return [RowError(**json.loads(line)) for line in lines]

    def finish(self) -> None:
        """Compact the shards and write the manifest: from now on the run is complete."""
        self.compact("scores")
        self.compact("readings")
        self.compact("quality")
        _write_json(self.path / MANIFEST, asdict(replace(self.plan(), complete=True)))

    def query(self, sql: str, params: Sequence[Any] = ()) -> pd.DataFrame:
        """Run SQL over the views `prompts, scores, readings, quality, translations, results` and the analysis tables.

        `results` is a row per prompt with its scores and quality, where there are any. Values belong into `params`.

        Raises:
            StoreError: a shard cannot be read, or the SQL is wrong.
        """
        with self._answer(sql, params) as answer:
            return answer.df()

    def batches(self, sql: str, params: Sequence[Any] = ()) -> Iterator[pd.DataFrame]:
        """What `query` answers, `ROW_GROUP` rows at a time, for what is too large to be held."""
        with self._answer(sql, params) as answer:
            while len(part := answer.fetch_df_chunk(ROW_GROUP // VECTOR)):
                yield part

    @contextmanager
    def _answer(self, sql: str, params: Sequence[Any]) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._database.cursor() if self._database else _start_database() as connection:
            try:
                for view in views.views(self.path, sql):
                    connection.execute(view)
                yield connection.execute(sql, params)
            except duckdb.Error as error:
                raise StoreError(f"{self.path}: cannot be read: {error}") from error
            except RuntimeError as error:  # Ctrl+C during a query
                if "interrupted" in str(error).lower():
                    raise KeyboardInterrupt from error
                raise

    @contextmanager
    def many_queries(self) -> Iterator[None]:
        """Answer the queries within by one database; to start one takes longer than a small query."""
        with _start_database() as self._database:
            try:
                yield
            finally:
                self._database = None

    def ratings(self) -> list[str]:
        """Names of the measures of quality that were imported."""
        if not self.has_analysis(RATINGS):
            return []
        columns = list(self.query(f"SELECT * FROM {RATINGS} LIMIT 0").columns)
        return [name for name in columns if f"n_{name}" in columns]

    def columns(self) -> list[str]:
        """Names of the columns of `results`."""
        return list(self.query("SELECT * FROM results LIMIT 0").columns)

    def worst_groups(self, by: str, measure: str, *, limit: int = 10) -> pd.DataFrame:
        """Groups by falling mean of a measure: `group, mean, n_prompts`."""
        by, measure = self._column(by), self._column(measure)
        return self.query(
            f'SELECT {by} AS "group", avg({measure}) AS mean, count(*) AS n_prompts FROM results '
            f"WHERE {measure} IS NOT NULL GROUP BY ALL ORDER BY mean DESC, 1 LIMIT ?",
            [limit],
        )

    def prompts_page(
        self, page: int, page_size: int = 50, *, order_by: str = "prompt_id", ascending: bool = True
    ) -> pd.DataFrame:
        """One page of `results`, counted from 1, in a stable order."""
        column, direction = self._column(order_by), "ASC" if ascending else "DESC"
        table = "prompts" if order_by in self.query("SELECT * FROM prompts LIMIT 0") else "results"
        order = f"{column} {direction} NULLS LAST, prompt_id"
        return self.query(
            f"WITH page AS (SELECT prompt_id FROM {table} ORDER BY {order} LIMIT ? OFFSET ?) "
            f"SELECT * FROM results WHERE prompt_id IN (SELECT prompt_id FROM page) ORDER BY {order}",
            [page_size, (page - 1) * page_size],
        )

    def _column(self, name: str) -> str:
        if name not in self.columns():
            raise StoreError(f"{self.path}: no column {name!r}; there are {', '.join(self.columns())}")
        return '"' + name.replace('"', '""') + '"'

    def _shard(self, table: str, number: int) -> Path:
        return self.path / table / f"part-{number:06d}.parquet"

    def _read_manifest(self, name: str) -> RunManifest:
        file = self.path / name
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            return manifest_from(data)
        except FileNotFoundError as error:
            raise StoreError(f"{self.path}: no run here (no {name})") from error
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{file}: not a readable {name}: {error}") from error


def list_runs(root: Path) -> list[RunStore]:
    """The runs under a folder, newest first; other folders are passed over."""
    stores = []
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        try:
            stores.append(RunStore.open(folder))
        except (StoreError, OSError):
            continue
    return sorted(stores, key=lambda store: store.plan().created, reverse=True)


def _start_database() -> duckdb.DuckDBPyConnection:
    extensions = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    return duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "threads": 2, **extensions})


def _parquet(frame: pd.DataFrame) -> bytes:
    return frame.to_parquet(index=False)


def _write_json(path: Path, data: dict[str, Any]) -> None:
    _write(path, json.dumps(data, ensure_ascii=False, indent=2).encode())


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _in_place_of(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def _in_place_of(path: Path) -> Iterator[Path]:
    """A file to write, which takes this one's place once it lies on the disk whole."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    yield temporary
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.rename(path)
