"""Rows too large to be sorted at once: put into files by the hash of a column, and read one file after the other."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from emoe_audit.runs.checked import read_files
from emoe_audit.runs.database import SPILL
from emoe_audit.runs.query import RunReader
from emoe_audit.runs.sql import Sql, identifier, literal, sql

BUCKET = 131_072
"""Rows that are sorted at once, more or less."""
BUCKETED = """
    SELECT *, ('0x' || sha256({column})[1:4])::INT * {n}::INT // 65536 AS bucket FROM {table} JOIN {keyed} USING (key)
"""
TAKEN = "SELECT * FROM {files} ORDER BY sha256({column}), {column}, key"


def in_order_of_hash(run: RunReader, keyed: Sql, table: str, column: str, n_rows: int) -> Iterator[pd.DataFrame]:
    """The rows of a table in the order of the SHA-256 of a column that it lacks, then of `key`, some at a time.

    Args:
        run: Of which is asked; the files are in a folder of their own inside it for as long as they are read.
        keyed: A SELECT of keys with that column, and with what else is wanted beside it.
        table: The table.
        column: Rows in which it is the same come one behind the other.
        n_rows: How many there are at most.
    """
    named = identifier(column)
    with tempfile.TemporaryDirectory(prefix=SPILL, dir=run.path) as place:
        keys, folder = Path(place).resolve() / "keyed.parquet", Path(place).resolve() / "buckets"
        run.copy(keyed, keys)
        parts = {"column": named, "n": literal(str(n_rows // BUCKET + 1)), "table": identifier(table)}
        run.copy(sql(BUCKETED, keyed=read_files([keys]), **parts), folder, by="bucket")
        for bucket in sorted(folder.iterdir(), key=lambda own: int(own.name.partition("=")[2])):
            yield from run.batches(sql(TAKEN, files=read_files(sorted(bucket.iterdir())), column=named))
