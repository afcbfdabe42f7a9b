"""Small shards are put into one while a run is written: whoever reads a table opens all of its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from emoe_audit.errors import StoreError
from emoe_audit.readers.parquet import read_parquet
from emoe_audit.runs.checked import columns_of
from emoe_audit.runs.tables import TABLES

GATHERED, GATHERED_BYTES = 128, 32 << 20
"""Shards that are put into one, fewer where they have so many bytes: they are held at once."""


class Gathering:
    """The shards that a process has added to a run since the last were put together.

    As where a table is compacted, the new shard is there before the others go: a kill in between leaves rows twice, and
    every reader takes each key once.
    """

    def __init__(self, add: Callable[[str, pa.Table], Path], remove: Callable[[Path], None]) -> None:
        """With what adds rows to a table as a shard, and what removes one."""
        self._add, self._remove = add, remove
        self._last: dict[str, dict[Path, int]] = {}
        """The size of each by table."""

    def forget(self, shard: Path) -> None:
        """A shard is no more."""
        for last in self._last.values():
            last.pop(shard, None)

    def take(self, table: str, shard: Path) -> None:
        """Note a shard, and put the last together where they are many.

        Raises:
            StoreError: one of them cannot be read.
        """
        last = self._last.setdefault(table, {})
        last[shard] = shard.stat().st_size
        if len(last) == 1 or (len(last) < GATHERED and sum(last.values()) < GATHERED_BYTES):
            return
        del self._last[table]
        for own in last:
            columns_of(table, own)
        parts = [read_parquet(own, StoreError) for own in last]
        rows = pa.concat_tables(parts, promote_options="permissive")
        keys = rows.select(TABLES[table].key).to_pandas()
        whole = self._add(table, rows.filter(~keys.duplicated().to_numpy()))
        for own in list(last):
            if own != whole:
                self._remove(own)
