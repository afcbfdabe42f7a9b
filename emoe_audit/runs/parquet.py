"""Tables as Parquet: one that is held, or one that comes part by part."""

from __future__ import annotations

from collections.abc import Iterable
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
    try:
        return frame.to_parquet(index=False)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
        raise StoreError(f"{table}: a cell cannot be stored: {error}") from error


def write_parts(file: Path, table: str, parts: Iterable[pd.DataFrame]) -> None:
    """A table of the columns that `TABLES` names, of which no two parts are held at once.

    Raises:
        StoreError: a cell cannot be stored.
    """
    schema = pa.schema([(name, TYPES[kind]) for name, kind in TABLES[table].columns.items()])
    with pq.ParquetWriter(file, schema) as writer:
        for part in parts:
            try:
                rows = pa.Table.from_pandas(part[schema.names], schema=schema, preserve_index=False)
            except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
                raise StoreError(f"{table}: a cell cannot be stored: {error}") from error
            writer.write_table(rows)
