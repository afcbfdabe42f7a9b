"""Tables as Parquet: one that is held, or one that comes part by part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

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


def write_parts(file: Path, table: str, parts: Iterable[pd.DataFrame], schema: pa.Schema | None = None) -> None:
    """A table of which no two parts are held at once.

    Args:
        file: Where to.
        table: Its name.
        parts: Gone through again from the start where one holds what those before it left open.
        schema: By default that of the parts together.

    Raises:
        StoreError: a cell cannot be stored, or two parts of a column do not go together.
    """
    known = schema
    while (widened := _written(file, table, parts, known)) is not None:
        known = widened


def _written(file: Path, table: str, parts: Iterable[pd.DataFrame], schema: pa.Schema | None) -> pa.Schema | None:
    """Write all parts; or stop at one that a schema of those before it cannot hold, and say which can."""
    known, is_given = schema, schema is not None
    with ExitStack() as opened:
        writer = opened.enter_context(pq.ParquetWriter(file, schema)) if is_given else None
        for part in parts:
            with _storing(table):
                fitting: Any = known if is_given else _widened(known, part)
                if writer is not None and not fitting.equals(known):
                    return fitting
                known = fitting
                rows = pa.Table.from_pandas(part[fitting.names], schema=fitting, preserve_index=False)
            writer = writer or opened.enter_context(pq.ParquetWriter(file, fitting))
            writer.write_table(rows)
    return None


def _widened(schema: pa.Schema | None, part: pd.DataFrame) -> Any:
    """The schema of a part, together with that of those before it."""
    own = pa.Schema.from_pandas(part, preserve_index=False).remove_metadata()
    return own if schema is None else pa.unify_schemas([schema, own], promote_options="permissive")


@contextmanager
def _storing(table: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
        raise StoreError(f"{table}: a cell cannot be stored: {error}") from error
