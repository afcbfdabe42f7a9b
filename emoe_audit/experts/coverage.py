"""Known training coverage: what an ensemble was trained on, group by group, and what counts as covered."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from emoe_audit.errors import AuditError
from emoe_audit.readers.tables import Broken, open_table
from emoe_audit.readers.text import is_text

NEEDED = {"by", "group", "coverage"}
CONCEPT = "concept"
"""What the table calls single concepts."""
COVERED, STARVED = 0.02, 0.001
"""Shares of the training captions from which, and below which, a language counts as covered and starved."""


def read_coverage(file: str) -> pd.DataFrame:
    """A table with a row per group and the columns `by`, `group` and `coverage`; others are kept as text.

    Raises:
        AuditError: the file cannot be read, a column is missing, a group comes twice, or a coverage is no share.
    """
    table, has_decimal_comma = _read(Path(file))
    missing = NEEDED - set(table)
    if missing:
        raise AuditError(f"{file}: no column {', '.join(sorted(missing))}; a coverage table has by, group, coverage")
    twice = table[table.duplicated(["by", "group"])]
    if len(twice):
        raise AuditError(f"{file}: {twice['by'].iloc[0]} {twice['group'].iloc[0]!r} has more than one row")
    written = table["coverage"].str.replace(",", ".", regex=False) if has_decimal_comma else table["coverage"]
    shares = pd.to_numeric(written, errors="coerce")
    wrong = table[~shares.between(0, 1)]
    if len(wrong):
        row = wrong.iloc[0]
        raise AuditError(
            f"{file}: the coverage of {row['by']} {row['group']!r} is {row['coverage']!r}, not a number from 0 to 1; "
            "it is a share of the training captions"
        )
    return table.assign(coverage=shares)


def _read(file: Path) -> tuple[pd.DataFrame, bool]:
    """Every field as text, and whether numbers may have a decimal comma."""
    table = open_table(file, AuditError, known=NEEDED.__contains__)
    rows = []
    for line, row in table.rows:
        if isinstance(row, Broken):
            raise AuditError(row.at(f"{file}:{line}"))
        if not all(is_text(str(value)) for value in row.values()):
            raise AuditError(f"{file}:{line}: holds a NUL or half a surrogate, which is no text")
        rows.append(row)
    return pd.DataFrame(rows, columns=table.columns, dtype=str), table.decimal_comma
