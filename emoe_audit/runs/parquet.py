"""Tables as Parquet: one that is held, or one that comes part by part."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from emoe_audit.errors import StoreError
from emoe_audit.runs.tables import TABLES, Kind

TYPES: dict[Kind, pa.DataType] = {
    **{"label": pa.string(), "text": pa.string(), "bytes": pa.binary()},
    **{"count": pa.int64(), "number": pa.float64(), "flag": pa.bool_()},
}


def as_arrow(rows: pd.DataFrame, table: str) -> pa.Table:
    """A frame as it is stored. Raises `StoreError` for a cell that cannot be."""
    with _storing(table):
        return pa.Table.from_pandas(rows, preserve_index=False, nthreads=1)


def to_parquet(rows: pa.Table, table: str) -> bytes:
    """A whole table. Raises `StoreError` for a kind of cell that Parquet has not."""
    content = io.BytesIO()
    with _storing(table):
        pq.write_table(rows, content)
    return content.getvalue()


def schema_by_table(table: str) -> pa.Schema:
    """Of a table whose columns are all named by `TABLES`."""
    return pa.schema([(name, TYPES[kind]) for name, kind in TABLES[table].columns.items()])


def write_parts(file: Path, table: str, parts: Iterable[pd.DataFrame], schema: pa.Schema | None = None) -> None:
    """A table of which no two parts are held at once.

    Args:
        file: Where to.
        table: Its name.
        parts: One or more; gone through again where one holds what the first left open, as a column that was empty.
        schema: By default that of the parts together.

    Raises:
        StoreError: a cell cannot be stored, or two parts of a column do not go together.
    """
    if schema is not None:
        _write_all(file, table, parts, schema)
        return
    with _storing(table):
        first = _schema_of(next(iter(parts)))
    if not _write_all(file, table, parts, first, only_if_it_fits=True):
        with _storing(table):
            whole = pa.unify_schemas([*{_schema_of(part) for part in parts}], promote_options="permissive")
        _write_all(file, table, parts, whole)


def _write_all(
    file: Path, table: str, parts: Iterable[pd.DataFrame], schema: pa.Schema, *, only_if_it_fits: bool = False
) -> bool:
    """Write all parts; whether all have this schema, where it is asked, else it stops at the first that has not."""
    with pq.ParquetWriter(file, schema) as writer:
        for part in parts:
            with _storing(table):
                if only_if_it_fits and not _schema_of(part).equals(schema):
                    return False
                rows = pa.Table.from_pandas(part[schema.names], schema=schema, preserve_index=False)
            writer.write_table(rows)
    return True


def _schema_of(part: pd.DataFrame) -> pa.Schema:
    return pa.Schema.from_pandas(part, preserve_index=False).remove_metadata()


@contextmanager
def _storing(table: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
        raise StoreError(f"{table}: a cell cannot be stored: {error}") from error
