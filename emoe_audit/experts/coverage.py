"""Known training coverage: what an ensemble was trained on, group by group, and what counts as covered."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd

from emoe_audit.errors import AuditError
from emoe_audit.readers.limits import COLUMNS, ROWS
from emoe_audit.readers.text import is_text, read_text

COVERED, STARVED = 0.02, 0.001
"""Shares of the training captions from which, and below which, a language counts as covered and starved."""


def read_coverage(file: str) -> pd.DataFrame:
    """A table with a row per group and the columns `by`, `group` and `coverage`; others are kept as text.

    Raises:
        AuditError: the file cannot be read, a column is missing, a group comes twice, or a coverage is no share.
    """
    table = _read(Path(file))
    missing = {"by", "group", "coverage"} - set(table)
    if missing:
        raise AuditError(f"{file}: no column {', '.join(sorted(missing))}; a coverage table has by, group, coverage")
    twice = table[table.duplicated(["by", "group"])]
    if len(twice):
        raise AuditError(f"{file}: {twice['by'].iloc[0]} {twice['group'].iloc[0]!r} has more than one row")
    shares = pd.to_numeric(table["coverage"], errors="coerce")
    wrong = table[~shares.between(0, 1)]
    if len(wrong):
        row = wrong.iloc[0]
        raise AuditError(
            f"{file}: the coverage of {row['by']} {row['group']!r} is {row['coverage']!r}, not a number from 0 to 1; "
            "it is a share of the training captions"
        )
    return table.assign(coverage=shares)


def _read(file: Path) -> pd.DataFrame:
    """Every field as text. Raises `AuditError` with the line of a row that is none."""
    text = read_text(file, AuditError)
    if not is_text(text):
        raise AuditError(f"{file}: holds a NUL, so it is no table")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    try:
        for row in filter(None, reader):
            rows.append(row)
            if len(row) != len(rows[0]):
                raise AuditError(f"{file}:{reader.line_num}: {len(row)} fields, the header has {len(rows[0])}")
    except csv.Error as error:
        raise AuditError(f"{file}:{reader.line_num}: not valid CSV: {error}") from error
    header = rows[0] if rows else []
    COLUMNS.check(len(header), file, AuditError)
    ROWS.check(len(rows), file, AuditError)
    if len(set(header)) < len(header):
        raise AuditError(f"{file}: two columns are of one name")
    return pd.DataFrame(rows[1:], columns=header, dtype=str)
