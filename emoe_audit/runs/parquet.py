"""Tables as Parquet: one that is held, or one that comes part by part."""

from __future__ import annotations

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


def to_parquet(frame: pd.DataFrame, table: str) -> bytes:
    """A whole table. Raises `StoreError` for a cell that cannot be stored."""
    with _storing(table):
        return frame.to_parquet(index=False)


def schema_by_table(table: str) -> pa.Schema:
    """Of a table whose columns are all named by `TABLES`."""
    return pa.schema([(name, TYPES[kind]) for name, kind in TABLES[table].columns.items()])


def schema_of(table: str, parts: Iterable[pd.DataFrame]) -> pa.Schema:
    """Of a table of which each part is a frame, and no part needs to hold all that a column may.

    Raises:
        StoreError: a cell cannot be stored, or two parts of a column do not go together.
    """
    with _storing(table):
        schemas = {pa.Schema.from_pandas(part, preserve_index=False).remove_metadata() for part in parts}
        return pa.unify_schemas(list(schemas), promote_options="permissive")


def write_parts(file: Path, table: str, parts: Iterable[pd.DataFrame], schema: pa.Schema) -> None:
    """A table of which no two parts are held at once.

    Raises:
        StoreError: a cell cannot be stored.
    """
    with pq.ParquetWriter(file, schema) as writer:
        for part in parts:
            with _storing(table):
                rows = pa.Table.from_pandas(part[schema.names], schema=schema, preserve_index=False)
            writer.write_table(rows)


@contextmanager
def _storing(table: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
        raise StoreError(f"{table}: a cell cannot be stored: {error}") from error
