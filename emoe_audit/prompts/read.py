"""Files of prompts: CSV, JSON lines, Parquet or COCO captions. A file that is no table raises, with line and column."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.coco import read_coco
from emoe_audit.prompts.columns import listed
from emoe_audit.prompts.names import is_known, meant
from emoe_audit.prompts.table import PromptTable, check_rows
from emoe_audit.readers.tables import FORMATS, Broken, Rows, Table, check_file, open_table

FIRST = 100
"""Rows that are looked at to see what a column holds."""


def read_prompts(path: Path | str) -> PromptTable:
    """Read a prompt table.

    Raises:
        PromptTableError: no such file, not a table, no column `prompt`, or no good row; with file, line and column.
    """
    path = Path(path)
    check_file(path, PromptTableError)
    if path.stat().st_size == 0:
        raise PromptTableError(f"{path}: the file is empty; it needs a header line with at least the column 'prompt'")
    if path.suffix.lower() == ".json":
        return read_coco(path)
    if path.suffix.lower() not in FORMATS:
        raise PromptTableError(
            f"{path}: cannot tell the format from {path.suffix!r}; use .csv, .jsonl, .parquet or .json (COCO)"
        )
    table = open_table(path, PromptTableError, is_known)
    rows = _whole(table.rows, path)
    first = list(itertools.islice(rows, FIRST))
    renamed, told = meant(table.columns, [row for _, row in first], path)
    every = itertools.chain(first, rows)
    return check_rows(_renamed(every, renamed), str(path), [*told, *_left_out(table)])


def _whole(rows: Rows, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows. Raises `PromptTableError` for one that cannot be read."""
    for line, row in rows:
        if isinstance(row, Broken):
            raise PromptTableError(row.at(f"{path}:{line}"))
        yield line, row


def _renamed(
    rows: Iterator[tuple[int, dict[str, Any]]], renamed: dict[str, str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, row in rows:
        yield line, {renamed.get(name, name): value for name, value in row.items()} if renamed else row


def _left_out(table: Table) -> Iterator[str]:
    for kind in dict.fromkeys(table.left_out.values()):
        names = [name for name, own in table.left_out.items() if own == kind]
        yield f"left out, as they hold {kind}, neither texts nor numbers: {listed(names)}"
    if table.twice:
        yield f"of columns that have one name, the first is read: {listed(table.twice)}"
    if table.unnamed:
        yield "columns without a name in the header are left out"
