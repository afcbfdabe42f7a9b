"""Parquet within bounds: what a file claims is asked of its foot first, and what it holds while it is read.

A few bytes of Parquet can say one value a billion times. So the rows and bytes that a file may hold grow with its size;
see `limits.EXPANSION`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from emoe_audit.errors import AuditError
from emoe_audit.readers.limits import COLUMNS, EXPANSION, ROWS, UNSUSPECTED

BATCH = 1024
"""Rows decoded at once."""
ANY_ROWS = 100_000
"""Rows that any table may hold, however small its file."""
ROWS_A_BYTE = 20


def read_parquet_rows(
    path: Path, error: type[AuditError], columns: Sequence[str] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows numbered from 1, of all columns or some.

    Raises:
        error: the file cannot be read, or holds more than is taken.
    """
    check_parquet(path, error)
    try:
        with pq.ParquetFile(path) as file:
            line = 0
            for batch in _bounded(file, path, error, columns):
                for row in batch.to_pylist():
                    line += 1
                    yield line, row
    except (pa.ArrowException, OSError, ValueError, OverflowError) as fault:
        raise error(f"{path}: not a readable Parquet file: {fault}") from fault


def read_parquet(path: Path, error: type[AuditError], columns: Sequence[str] | None = None) -> pa.Table:
    """All rows at once, of all columns or some, without what others have noted in the foot.

    Raises:
        error: the file cannot be read, holds more than is taken, or a text that is no UTF-8.
    """
    schema = check_parquet(path, error)
    own = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    try:
        with pq.ParquetFile(path) as file:
            table = pa.Table.from_batches(list(_bounded(file, path, error, columns)), own)
            table.validate(full=True)
            return table.replace_schema_metadata()
    except (pa.ArrowException, OSError, ValueError, OverflowError) as fault:
        raise error(f"{path}: not a readable Parquet file: {fault}") from fault


def read_parquet_batches(
    path: Path, error: type[AuditError], columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """All rows, `BATCH` at a time. Raises `error` as `read_parquet`."""
    check_parquet(path, error)
    try:
        with pq.ParquetFile(path) as file:
            for batch in _bounded(file, path, error, columns):
                batch.validate(full=True)
                yield batch
    except (pa.ArrowException, OSError, ValueError, OverflowError) as fault:
        raise error(f"{path}: not a readable Parquet file: {fault}") from fault


def batches_of(file: pq.ParquetFile, size: int, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """All rows, some at a time, of which no more than a group of rows is held: asked for all, Arrow holds the file."""
    for group in range(file.num_row_groups):
        yield from file.iter_batches(batch_size=size, row_groups=[group], columns=columns)


def check_parquet(path: Path, error: type[AuditError]) -> pa.Schema:
    """The schema of a file whose foot claims no more than is taken.

    Raises:
        error: the file is no Parquet, or claims more rows, columns or bytes.
    """
    try:
        with pq.ParquetFile(path) as file:
            about, schema = file.metadata, file.schema_arrow
            size = path.stat().st_size
    except (pa.ArrowException, OSError, ValueError) as fault:
        raise error(f"{path}: not a readable Parquet file: {fault}") from fault
    COLUMNS.check(about.num_columns, path, error)
    ROWS.check(about.num_rows, path, error)
    if about.num_rows > max(ANY_ROWS, ROWS_A_BYTE * size):
        raise error(f"{path}: {about.num_rows:,} rows in a file of {size:,} bytes, which only says one thing again")
    groups = range(about.num_row_groups)
    _check_bytes(sum(about.row_group(group).total_byte_size for group in groups), path, error)
    return schema


def _bounded(
    file: pq.ParquetFile, path: Path, error: type[AuditError], columns: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    held = 0
    for batch in batches_of(file, BATCH, columns):
        held += batch.nbytes
        _check_bytes(held, path, error)
        yield batch


def _check_bytes(held: int, path: Path, error: type[AuditError]) -> None:
    size = path.stat().st_size
    if held > max(UNSUSPECTED, EXPANSION.value * size):
        raise error(
            f"{path}: holds more than {EXPANSION.value:,} {EXPANSION.what} ({size:,} bytes); "
            f"set {EXPANSION.variable} to take more"
        )


def stored_kinds(schema: pa.Schema) -> dict[str, str | None]:
    """What each column holds that is neither texts, numbers nor dates, None for those that hold nothing else."""
    return {field.name: _other_kind(field.type) for field in schema}


def _other_kind(kind: Any) -> str | None:
    if isinstance(kind, pa.BaseExtensionType):
        return _other_kind(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _other_kind(kind.value_type)
    if pa.types.is_struct(kind) or pa.types.is_map(kind):
        return "mappings"
    if pa.types.is_nested(kind):
        return "lists"
    return "bytes" if "binary" in str(kind) else None
