"""Known training coverage: what an ensemble was trained on, group by group, and what counts as covered."""

from __future__ import annotations

import pandas as pd

from emoe_audit.errors import AuditError

COVERED, STARVED = 0.02, 0.001
"""Shares of the training captions from which, and below which, a language counts as covered and starved."""


def read_coverage(file: str) -> pd.DataFrame:
    """A table with a row per group and the columns `by`, `group` and `coverage`; others are kept as text.

    Raises:
        AuditError: a column is missing, a group comes twice, or a coverage is no number.
    """
    table = pd.read_csv(file, keep_default_na=False, dtype=str)
    missing = {"by", "group", "coverage"} - set(table)
    if missing:
        raise AuditError(f"{file}: no column {', '.join(sorted(missing))}; a coverage table has by, group, coverage")
    twice = table[table.duplicated(["by", "group"])]
    if len(twice):
        raise AuditError(f"{file}: {twice['by'].iloc[0]} {twice['group'].iloc[0]!r} has more than one row")
    shares = pd.to_numeric(table["coverage"], errors="coerce")
    if shares.isna().any():
        row = table[shares.isna()].iloc[0]
        raise AuditError(f"{file}: the coverage of {row['by']} {row['group']!r} is {row['coverage']!r}, not a number")
    return table.assign(coverage=shares)
