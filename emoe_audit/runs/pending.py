"""What is left to do: the prompts of which a table has no row yet. Found once, and kept in a file while it is done."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from emoe_audit.errors import StoreError
from emoe_audit.readers.parquet import BATCH, batches_of
from emoe_audit.runs.checked import read_files
from emoe_audit.runs.query import RunReader
from emoe_audit.runs.shards import shards
from emoe_audit.runs.shares import Share
from emoe_audit.runs.sql import Sql, identifier, literal, sql

PROMPTS = "SELECT count(DISTINCT key) AS n FROM prompts WHERE {own}"
LEFT = "FROM prompts ANTI JOIN {table} USING (key) {beside} WHERE {own}"
COUNT = "SELECT count(DISTINCT key) AS n {left}"
ROWS = "SELECT key, prompt_id, source_id, prompt, language {left} ORDER BY key, prompt_id"
BEGUN = """
    SELECT * FROM (SELECT key, n_noise, features, COLUMNS('.*_noises') FROM noises)
    RIGHT JOIN (SELECT key, prompt_id, source_id, prompt, language {left}) USING (key)
    ORDER BY key, prompt_id, n_noise DESC NULLS LAST
"""
OWN = "('0x' || key[1:8])::UBIGINT % {of}::UBIGINT = {place}::UBIGINT"
BESIDE = "ANTI JOIN {rows} USING (key)"
ALL = "true"
NOTHING = ""


def n_pending(run: RunReader, table: str, share: Share | None = None) -> int:
    """How many keys the table lacks, of all, or of a share, what lies in its folder counted in."""
    return int(run.query(sql(COUNT, left=_left(run, table, share)))["n"].iloc[0])


def n_prompts(run: RunReader, share: Share | None = None) -> int:
    """How many keys there are, of all or of a share."""
    return int(run.query(sql(PROMPTS, own=_own(share)))["n"].iloc[0])


def pending(
    run: RunReader, table: str, share: Share | None = None, *, with_begun: bool = False
) -> Iterator[dict[str, Any]]:
    """The prompts whose keys the table lacks, in the order of keys; of all, or of a share.

    A row is `key, prompt_id, source_id, prompt, language`, of several that share a key the first by id, and
    `with_begun` what the table `noises` has of it. Rows that are written meanwhile change nothing.
    """
    file = run.path / f"pending.{secrets.token_hex(8)}.tmp"
    try:
        left = _left(run, table, share)
        run.copy(sql(BEGUN, left=left) if with_begun else sql(ROWS, left=left), file)
        with _opened(file) as opened:
            batches = batches_of(opened, BATCH)
            yield from _first_of_each_key(row for batch in batches for row in batch.to_pylist())
    finally:
        file.unlink(missing_ok=True)


def _first_of_each_key(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Of rows in the order of their keys; a database that is asked for them has to hold more."""
    return (next(same) for _, same in groupby(rows, key=itemgetter("key")))


def _left(run: RunReader, table: str, share: Share | None) -> Sql:
    there = shards(share.folder(run.path.resolve()), table) if share else []
    beside = sql(BESIDE, rows=read_files(there)) if there else sql(NOTHING)
    return sql(LEFT, table=identifier(table), beside=beside, own=_own(share))


def _own(share: Share | None) -> Sql:
    if share is None:
        return sql(ALL)
    return sql(OWN, of=literal(str(share.of)), place=literal(str(share.number - 1)))


def _opened(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except OSError as error:
        raise StoreError(f"{file}: cannot be read: {error}") from error
