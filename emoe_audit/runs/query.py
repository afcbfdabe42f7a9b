"""A run read by DuckDB: its tables by name, as views over Parquet files that are made for the query that names them."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from emoe_audit.errors import StoreError, WriteError
from emoe_audit.runs import views
from emoe_audit.runs.database import SETTINGS, database_of
from emoe_audit.runs.files import own_file
from emoe_audit.runs.sql import Sql, identifier, literal, sql
from emoe_audit.runs.views import RATINGS

ROW_GROUP = 16_384
"""Rows that a reader holds at once; readings take 1 KiB each."""
TRIES = 3
"""Times that a query is put again where a writer has put shards together since they were listed."""
VECTOR = 2048
"""Rows of DuckDB's unit of work."""
COPY = "COPY ({rows}) TO {file} (FORMAT parquet, ROW_GROUP_SIZE {size})"


class RunReader:
    """The tables of one run folder, to be read. Reading needs no lock."""

    def __init__(self, path: Path) -> None:
        """Look at a folder; whether it holds a run is asked later."""
        self.path = path
        self._database: duckdb.DuckDBPyConnection | None = None
        self._columns: list[str] | None = None

    def query(self, sql: str, params: Sequence[Any] = ()) -> pd.DataFrame:
        """Run SQL over the views `prompts, scores, readings, quality, translations, results` and the analysis tables.

        `results` is a row per prompt with its scores and quality, where there are any. Values belong into `params`, and
        a name that is not the code's own into `column`. No file outside of the run folder can be read or written.

        Raises:
            StoreError: a table cannot be read, or the SQL is wrong.
        """
        for _ in range(TRIES):
            try:
                return self._answered(sql, params)
            except StoreError as error:
                if not _is_gone(error):
                    raise
        return self._answered(sql, params)

    def _answered(self, sql: str, params: Sequence[Any]) -> pd.DataFrame:
        with self._answer(sql, params) as answer:
            return answer.df()

    def batches(self, sql: str, params: Sequence[Any] = ()) -> Iterator[pd.DataFrame]:
        """What `query` answers, `ROW_GROUP` rows at a time, for what is too large to be held."""
        with self._answer(sql, params) as answer:
            while len(part := answer.fetch_df_chunk(ROW_GROUP // VECTOR)):
                yield part

    def copy(self, rows: Sql, file: Path) -> None:
        """Write the rows of a SELECT as one Parquet file in the run folder, without holding them all.

        Raises:
            WriteError: it cannot be written.
        """
        with self._connected(rows) as connection:
            try:
                connection.execute(sql(COPY, rows=rows, file=literal(file), size=literal(str(ROW_GROUP))))
            except duckdb.IOException as error:
                raise WriteError(f"{file}: cannot be written: {_why(error)}") from error

    @contextmanager
    def many_queries(self, *, spills_into: Path | None = None) -> Iterator[None]:
        """Answer the queries within by one database; to start one takes longer than a small query.

        What does not fit in memory is put into that folder, by default among the system's temporary files.
        """
        if self._database is not None:
            yield
            return
        with database_of(self.path, spills_into=spills_into) as self._database:
            try:
                yield
            finally:
                self._database = self._columns = None

    def has_analysis(self, name: str) -> bool:
        """Whether that analysis table is there. Raises `StoreError` where it is a link out of the folder."""
        return views.has_analysis(self.path, name)

    def file(self, name: str) -> Path | None:
        """A file of the run by its name in the folder; None where there is none.

        Raises:
            StoreError: it is a link out of the folder.
        """
        return own_file(self.path, name)

    def columns(self) -> list[str]:
        """Names of the columns of `results`; within `many_queries` they are asked for once."""
        found = self._columns or list(self.query("SELECT * FROM results LIMIT 0").columns)
        if self._database is not None:
            self._columns = found
        return found

    def column(self, name: str) -> Sql:
        """A column of `results` for SQL. Raises `StoreError` where there is none, with the nearest."""
        return known_column(name, self.columns(), self.path)

    def ratings(self) -> list[str]:
        """Names of the measures of quality that were imported."""
        if not self.has_analysis(RATINGS):
            return []
        columns = list(self.query("SELECT * FROM ratings LIMIT 0").columns)
        return [name for name in columns if f"n_{name}" in columns]

    @contextmanager
    def _answer(self, sql: str, params: Sequence[Any]) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._connected(sql) as connection:
            yield connection.execute(sql, params)

    @contextmanager
    def _connected(self, select: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection with the views that a SELECT names."""
        with self._database.cursor() if self._database else database_of(self.path) as connection:
            try:
                for view in views.views(self.path, views.tables_in(select, connection), connection):
                    connection.execute(view)
                yield connection
            except duckdb.OutOfMemoryException as error:
                raise StoreError(
                    f"{self.path}: too large to be asked this within {SETTINGS['memory_limit']} of memory and what is "
                    "free on its disk; make room there"
                ) from error
            except duckdb.Error as error:
                raise StoreError(f"{self.path}: cannot be read: {error}") from error
            except RuntimeError as error:  # Ctrl+C during a query
                if "interrupted" in str(error).lower():
                    raise KeyboardInterrupt from error
                raise


def _why(error: duckdb.IOException) -> str:
    """What the system said, where the database passes it on among other things."""
    number = re.search(r'"errno":"(\d+)"', str(error))
    return os.strerror(int(number[1])) if number else str(error).partition("\n")[0].removeprefix("IO Error: ")


def _is_gone(error: BaseException | None) -> bool:
    """Whether what failed is a file that was there before."""
    if error is None:
        return False
    is_missing = isinstance(error, duckdb.IOException) and "No such file" in str(error)
    return is_missing or isinstance(error, FileNotFoundError) or _is_gone(error.__cause__)


def known_column(name: str, columns: Iterable[str], run: Path) -> Sql:
    """A column for SQL. Raises `StoreError` unless it is one of `columns`, with the nearest that is."""
    known = list(columns)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0)
        hint = f"; the nearest is {near[0]!r:.80}" if near else ""
        raise StoreError(f"{run}: no column {name!r:.80}; there are {', '.join(known)}{hint}")
    return identifier(name)
