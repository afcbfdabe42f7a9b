"""Rows too large to be sorted at once: put into files by the hash of a column, and read one file after the other.

Readings have a kibibyte each. No database joins or sorts them: that which knows how they are to lie, key by key, is
sorted without them, and they are laid beside it as they are read.
"""

from __future__ import annotations

import hashlib
import tempfile
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from emoe_audit.errors import StoreError
from emoe_audit.progress import chunks
from emoe_audit.readers.parquet import read_parquet_batches
from emoe_audit.runs.checked import ADVICE, columns_of, read_files
from emoe_audit.runs.database import SPILL
from emoe_audit.runs.files import written
from emoe_audit.runs.parquet import schema_by_table
from emoe_audit.runs.query import ROW_GROUP, RunReader
from emoe_audit.runs.shards import shards
from emoe_audit.runs.sql import Sql, identifier, literal, sql

BUCKET, MOST_BUCKETS = 65_536, 256
"""Rows that are sorted at once, more or less, and files that are written at once."""
AT_ONCE, GROUPS = 16, 8
"""Batches of rows that are laid beside their keys at once, and groups of keys among which these are sought."""
LARGEST = 16_384
"""Bytes of a cell; a reading of an engine has a kibibyte."""
SORTED = """
    SELECT *, ('0x' || sha256({column})[1:4])::INT * {n}::INT // 65536 AS bucket FROM {keyed} ORDER BY key
"""


def in_order_of_hash(run: RunReader, keyed: Sql, table: str, column: str, n_rows: int) -> Iterator[pd.DataFrame]:
    """The rows of a table in the order of the SHA-256 of a column that it lacks, then of `key`, some at a time.

    Args:
        run: Of which is asked; the files are in a folder of their own inside it for as long as they are read.
        keyed: A SELECT of keys with that column, and with what else is wanted beside it.
        table: The table, each of whose rows comes once for each row of `keyed` that has its key.
        column: Rows in which it is the same come one behind the other.
        n_rows: How many there are at most.

    Raises:
        StoreError: a file of the table cannot be read, or does not hold what the table does.
        WriteError: there is no room.
    """
    with tempfile.TemporaryDirectory(prefix=SPILL, dir=run.path) as place, _told_of(run):
        folder = Path(place).resolve()
        run.copy(keyed, folder / "keyed.parquet")  # to choose and to sort at once takes more memory
        n = literal(str(min(MOST_BUCKETS, n_rows // BUCKET + 1)))
        by_key = sql(SORTED, column=identifier(column), n=n, keyed=read_files([folder / "keyed.parquet"]))
        run.copy(by_key, folder / "sorted.parquet")
        (folder / "keyed.parquet").unlink()
        for bucket in _filled(run, table, folder):
            yield from _in_order(bucket, column)
            bucket.unlink()


@contextmanager
def _told_of(run: RunReader) -> Iterator[None]:
    try:
        yield
    except pa.ArrowException as error:
        raise StoreError(f"{run.path}: its rows cannot be put in order: {error}") from error


def _filled(run: RunReader, table: str, folder: Path) -> list[Path]:
    """The buckets with all rows in them, in order."""
    buckets: dict[int, pa.RecordBatchFileWriter] = {}
    with written(folder), ExitStack() as opened, pq.ParquetFile(folder / "sorted.parquet") as keys:
        ends = [_ends(keys.read_row_group(group, ["key"])) for group in range(keys.num_row_groups)]
        for rows in _rows_of(run, table):
            for beside in _keys_of(rows, keys, ends):
                for number, part in _by_bucket(rows, beside):
                    if number not in buckets:
                        file = folder / f"{number:03}.arrow"
                        buckets[number] = opened.enter_context(pa.ipc.new_file(file, part.schema))
                    buckets[number].write_table(part)
    return [folder / f"{number:03}.arrow" for number in sorted(buckets)]


def _rows_of(run: RunReader, table: str) -> Iterator[pa.Table]:
    """The rows of a table that grows, as they lie in its files; those without a key are none.

    Raises `StoreError` for a cell that is larger than an engine's.
    """
    stored = schema_by_table(table)
    held = pa.schema([(own.name, pa.large_binary() if own.type == pa.binary() else own.type) for own in stored])
    for shard in shards(run.path, table):
        columns_of(table, shard)
        for batches in chunks(read_parquet_batches(shard, StoreError, held.names), AT_ONCE):
            rows = pa.Table.from_batches(batches).select(held.names).cast(held)
            for own in held:
                if own.type == pa.large_binary() and (pc.max(pc.binary_length(rows[own.name])).as_py() or 0) > LARGEST:
                    raise StoreError(f"{shard}: a {own.name} is larger than {LARGEST:,} bytes; {ADVICE}")
            yield rows.filter(pc.is_valid(rows["key"]))


def _ends(keys: pa.Table) -> tuple[str, str]:
    """The first and the last key of a group."""
    own = keys.column(0)
    return own[0].as_py(), own[-1].as_py()


def _keys_of(rows: pa.Table, keys: pq.ParquetFile, ends: list[tuple[str, str]]) -> Iterator[pa.Table]:
    """What is known of the keys of some rows, from the groups that one of them can be in, some groups at a time."""
    own = sorted(rows["key"].to_pylist())
    wanted = [group for group, (first, last) in enumerate(ends) if bisect_right(own, last) > bisect_left(own, first)]
    for groups in chunks(wanted, GROUPS):
        yield keys.read_row_groups(groups)


def _by_bucket(rows: pa.Table, beside: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    """The rows that belong beside some keys, by the number of their bucket."""
    beside = beside.append_column("place", pc.index_in(beside["key"], rows["key"].combine_chunks()))
    beside = beside.filter(pc.is_valid(beside["place"])).sort_by("bucket").combine_chunks()
    for start in range(0, len(beside), len(rows)):
        part = beside.slice(start, len(rows))
        taken = {name: rows[name].take(part["place"]) for name in rows.column_names if name != "key"}
        kept = {name: part[name] for name in part.column_names if name not in ("bucket", "place")}
        joined = pa.table(kept | taken).combine_chunks()
        numbers, starts = np.unique(part["bucket"].to_numpy(), return_index=True)
        for number, first, end in zip(numbers, starts, [*starts[1:], len(part)], strict=True):
            yield int(number), joined.slice(first, end - first)


def _in_order(file: Path, column: str) -> Iterator[pd.DataFrame]:
    """The rows of a bucket, each of a key once."""
    with pa.memory_map(str(file)) as mapped:
        rows = pa.ipc.open_file(mapped).read_all().combine_chunks()
    texts = rows.column(column).combine_chunks().dictionary_encode()
    hashed = [(hashlib.sha256(text.encode()).digest(), text) for text in texts.dictionary.to_pylist()]
    rank = np.empty(len(hashed), dtype=np.int32)
    rank[sorted(range(len(hashed)), key=hashed.__getitem__)] = np.arange(len(hashed))
    places = pa.table({"rank": rank[texts.indices.to_numpy()], "key": rows.column("key")})
    order = pc.sort_indices(places, sort_keys=[("rank", "ascending"), ("key", "ascending")])
    places = places.take(order).to_pandas()
    order = order.filter(pa.array(~places.duplicated().to_numpy()))
    for start in range(0, len(order), ROW_GROUP):
        yield rows.take(order[start : start + ROW_GROUP]).to_pandas()
