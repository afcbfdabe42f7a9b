"""The files of a table that grows, each named by the keys that it holds: no writer has to know of another."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import pyarrow as pa

from emoe_audit.errors import StoreError
from emoe_audit.readers.pictures import inside
from emoe_audit.runs.checked import ADVICE
from emoe_audit.runs.tables import TABLES

WHOLE = "part-000000.parquet"
"""A table that is one file; runs of earlier versions numbered the others on from it."""
SHARD = re.compile(r"part-(\d{1,12}|[0-9a-f]{32})\.parquet")


def shard_of(table: str, rows: pa.Table) -> str:
    """What a file with some rows of a table is called: the same rows written again take the same place."""
    keys = sorted(zip(*(rows[name].to_pylist() for name in TABLES[table].key), strict=True))
    digest = hashlib.sha256(json.dumps([[*map(str, key)] for key in keys]).encode())
    return f"part-{digest.hexdigest()[:32]}.parquet"


def shards(run: Path, table: str) -> list[Path]:
    """The files of a table that grows, in order. Raises `StoreError` for a link, which no writer makes."""
    folder = inside(run, table, StoreError)
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry for entry in entries if SHARD.fullmatch(entry.name)), key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{folder}: cannot be read: {error.strerror}") from error
    link = next((entry for entry in found if not entry.is_file(follow_symlinks=False)), None)
    if link is not None:
        raise StoreError(f"{link.path}: a link or a folder, where a table of the run was written; {ADVICE}")
    return [folder / entry.name for entry in found]
