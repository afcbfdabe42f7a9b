"""The tables of a run before a question is put to them: a received run may hold anything under these names.

What a file claims is asked of its foot, and what its cells hold of DuckDB, once for as long as it stays the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from emoe_audit.errors import StoreError
from emoe_audit.readers.limits import COLUMNS, EXPANSION, UNSUSPECTED
from emoe_audit.readers.parquet import check_parquet
from emoe_audit.runs.sql import Sql, identifier, joined, literal, one_file, sql
from emoe_audit.runs.tables import TABLES, Kind

ADVICE = "remove it, and the command that wrote it makes it again"
UNREAD = ("readings", "noises", "sights")
"""The tables whose cells of bytes are many, and not looked at before they are asked for."""
MOST_KNOWN = 512
"""Sets of files of which it is kept that they were looked at; then the oldest is forgotten."""
FIXED = re.compile(
    r"BOOLEAN|U?(TINY|SMALL|BIG|HUGE)?INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL\(\d+,\d+\)|DATE|TIME.*|INTERVAL|UUID|\"?NULL\"?"
)
"""DuckDB's types whose values all take the same room."""
SIZES = {"VARCHAR": "sum(strlen({c}))", "JSON": "sum(strlen({c}))", "BLOB": "sum(octet_length({c}))"}
"""How many bytes a column holds, by its type."""

Stamp = tuple[str, int, int, int]
"""A file with its size, time of change and number on the disk: another one where it was written anew."""

_known: dict[tuple[str, tuple[Stamp, ...]], bool] = {}


def read_files(files: Sequence[Path]) -> Sql:
    """The rows of some Parquet files, to stand behind a FROM. No folder's name is a pattern, or makes a column."""
    names = joined(map(one_file, files))
    return sql("read_parquet([{names}], union_by_name=true, hive_partitioning=false)", names=names)


def check_table(connection: duckdb.DuckDBPyConnection, table: str, files: Sequence[Path]) -> bool:
    """Whether no two rows have the same key.

    Raises:
        StoreError: a file is no Parquet, claims too much, or does not hold what the table does; with the file.
    """
    stamps = tuple(map(_stamp, files))
    schemas = [_schema(table, stamp) for stamp in stamps]
    COLUMNS.check(len({name for schema in schemas for name in schema.names}), files[0].parent, StoreError)
    known = _known.get((table, stamps))
    if known is None:
        _check_cells(connection, table, files)
        known = _is_each_key_once(connection, table, files)
        if len(_known) >= MOST_KNOWN:
            _known.pop(next(iter(_known)), None)
        _known[table, stamps] = known
    return known


def columns_of(table: str, file: Path) -> list[str]:
    """Names of the columns of one file of a table. Raises `StoreError` as `check_table` does."""
    names: list[str] = _schema(table, _stamp(file)).names
    return names


def _stamp(file: Path) -> Stamp:
    try:
        about = file.stat()
    except OSError as error:
        raise StoreError(f"{file}: cannot be read: {error.strerror}") from error
    return str(file), about.st_size, about.st_mtime_ns, about.st_ino


@lru_cache(maxsize=16_384)
def _schema(table: str, stamp: Stamp) -> pa.Schema:
    """Of a file whose columns are those of the table."""
    file, own = Path(stamp[0]), TABLES[table]
    schema = check_parquet(file, StoreError)
    names = [name.lower() for name in schema.names]
    twice = next((name for name in schema.names if names.count(name.lower()) > 1), None)
    if twice is not None:
        raise StoreError(f"{file}: two columns are called {twice!r:.80}; capital letters make no other name; {ADVICE}")
    missing = [name for name in own.columns if name not in schema.names and name not in own.optional]
    if missing:
        raise StoreError(f"{file}: has no column {missing[0]!r}; {ADVICE}")
    for column in schema:
        kind = own.columns.get(column.name, own.others)
        if kind and not _is_of(column.type, kind):
            raise StoreError(f"{file}: column {column.name!r:.80} holds {column.type!s:.40}, not {kind}s; {ADVICE}")
    return schema


def _is_of(held: pa.DataType, kind: Kind) -> bool:
    """Whether a column may be of this kind; one in which all is missing may be of any."""
    if pa.types.is_dictionary(held):
        return _is_of(held.value_type, kind)
    text = pa.types.is_string(held) or pa.types.is_large_string(held) or pa.types.is_string_view(held)
    number = pa.types.is_integer(held) or pa.types.is_floating(held) or pa.types.is_decimal(held)
    wanted = {"flag": pa.types.is_boolean(held), "bytes": "binary" in str(held), "count": number, "number": number}
    return bool(pa.types.is_null(held) or wanted.get(kind, text))


def _check_cells(connection: duckdb.DuckDBPyConnection, table: str, files: Sequence[Path]) -> None:
    """Raise `StoreError` for a cell that a column may not hold, and for texts that are far larger than their file."""
    told = str(files[0]) if len(files) == 1 else f"{files[0].parent} ({len(files)} files)"
    described = connection.execute(sql("DESCRIBE SELECT * FROM {rows}", rows=read_files(files))).fetchall()
    types = {str(name): str(held) for name, held, *_ in described}
    odd = next((name for name, held in types.items() if not FIXED.fullmatch(held) and held not in SIZES), None)
    if odd is not None:
        raise StoreError(
            f"{told}: column {odd!r:.80} holds {types[odd]:.40}, which is no text, number or time; {ADVICE}"
        )
    faults, sizes = (
        list(_faults(table)),
        [
            sql(SIZES[held], c=identifier(name))
            for name, held in types.items()
            if held in SIZES and not (held == "BLOB" and table in UNREAD)
        ],
    )
    if not faults and not sizes:
        return
    asked = joined([*(question for question, _ in faults), *sizes])
    answer = _row(connection, sql("SELECT {asked} FROM {rows}", asked=asked, rows=read_files(files)))
    fault = next((words for n, (_, words) in zip(answer, faults, strict=False) if n), None)
    if fault:
        raise StoreError(f"{told}: {fault}; {ADVICE}")
    held, size = sum(n or 0 for n in answer[len(faults) :]), sum(file.stat().st_size for file in files)
    if held > max(UNSUSPECTED, EXPANSION.value * size):
        raise StoreError(
            f"{told}: holds more than {EXPANSION.value:,} {EXPANSION.what} ({size:,} bytes); "
            f"set {EXPANSION.variable} to take more"
        )


def _faults(table: str) -> Iterator[tuple[Sql, str]]:
    """What counts the cells that may not be, and what is said where there are any."""
    own = TABLES[table]
    for name, kind in own.columns.items():
        c = identifier(name)
        if kind == "label" and name not in own.optional:
            yield sql("count(*) FILTER ({c} IS NULL)", c=c), f"a row has no {name}"
        if kind == "count" and name not in own.optional:
            yield (
                sql("count(*) FILTER ({c} IS NULL OR {c}::DOUBLE NOT BETWEEN 0 AND 1e15)", c=c),
                f"column {name!r} holds what is no count",
            )
        if name in own.words:
            words = joined(map(literal, own.words[name]))
            wrong = sql("count(*) FILTER ({c} NOT IN ({words}))", c=c, words=words)
            yield wrong, f"column {name!r} says something else than {' or '.join(own.words[name])}"


def _is_each_key_once(connection: duckdb.DuckDBPyConnection, table: str, files: Sequence[Path]) -> bool:
    key = TABLES[table].key
    if not key:
        return True
    count = sql(
        "SELECT (SELECT count(*) FROM {rows}), (SELECT count(*) FROM (SELECT DISTINCT {key} FROM {rows}))",
        key=joined(map(identifier, key)),
        rows=read_files(files),
    )
    n_rows, n_keys = _row(connection, count)
    return bool(n_rows == n_keys)


def _row(connection: duckdb.DuckDBPyConnection, select: Sql) -> tuple[Any, ...]:
    return connection.execute(select).fetchone() or ()
