"""A run as CSV for spreadsheets: a row a prompt, or a row a group and measure.

UTF-8 with a byte order mark, without which spreadsheets take other scripts for Latin-1; lines end as RFC 4180 has it; a
missing value is an empty cell. A text that a spreadsheet would run as a formula (OWASP, "CSV Injection") gets an
apostrophe in front, and so does one that only differs from such a text by apostrophes: to have the texts as they were,
take one apostrophe from every text in which a character of `STARTERS` follows the first apostrophes. Numbers stay
numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from emoe_audit.errors import StoreError
from emoe_audit.runs.files import replace_file
from emoe_audit.runs.store import RunStore

CHUNK_ROWS = 50_000
"""Rows that are held at once."""
STARTERS = "=+\\-@\t\r\n＝＋－＠"
"""The characters with which a formula starts, as in a regular expression."""
RUNS = re.compile(f"'*[{STARTERS}]")
NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""NUL, at which some readers stop, and lone surrogates, which UTF-8 does not have."""

CHUNK_STARTS = """
    SELECT prompt_id FROM (SELECT prompt_id, row_number() OVER (ORDER BY prompt_id) - 1 AS place FROM prompts)
    WHERE place % ? = 0 ORDER BY prompt_id
"""
CHUNK = "SELECT * FROM results WHERE prompt_id >= ? AND prompt_id < ? ORDER BY prompt_id, key"
REST = "SELECT * FROM results WHERE prompt_id >= ? ORDER BY prompt_id, key"
GROUPS = 'SELECT * FROM groups ORDER BY "by", "group", measure'


def export_results(store: RunStore, out: Path) -> Path:
    """Write every prompt with all columns of `results`, ordered by `prompt_id`; return the file.

    Rows are read and written `CHUNK_ROWS` at a time, so memory does not grow with the run.

    Raises:
        StoreError: the run cannot be read.
        AuditError: the file cannot be written.
    """
    return _write(out, _results(store))


def export_groups(store: RunStore, out: Path) -> Path:
    """Write the analysis table `groups`: a row for each group and measure; return the file.

    Raises:
        StoreError: the run cannot be read, or holds no analysis yet.
        AuditError: the file cannot be written.
    """
    if not store.has_analysis("groups"):
        raise StoreError(f"{store.path}: not analysed yet; run `emoe-audit analyze {store.path}` first")
    return _write(out, [store.query(GROUPS)])


def csv_parts(frames: Iterable[pd.DataFrame]) -> Iterator[str]:
    """The rows of some frames with the same columns as CSV, a header before the first."""
    for place, frame in enumerate(frames):
        cells = {cell(str(name)): _cells(column) for name, column in frame.items()}
        yield pd.DataFrame(cells).to_csv(index=False, header=place == 0, lineterminator="\r\n")


def cell(value: Any) -> Any:
    """What is written for a value: a text that would run starts with an apostrophe, other values are as they were."""
    if not isinstance(value, str):
        return value
    text = NO_TEXT.sub("\ufffd", value)
    return f"'{text}" if RUNS.match(text) else text


def _cells(column: pd.Series) -> pd.Series:
    return column if pd.api.types.is_numeric_dtype(column) else column.map(cell)


def _write(out: Path, frames: Iterable[pd.DataFrame]) -> Path:
    def parts() -> Iterator[str]:
        yield "\ufeff"
        yield from csv_parts(frames)

    return replace_file(out, parts())


def _results(store: RunStore) -> Iterator[pd.DataFrame]:
    whole = _whole_numbers(store)
    starts = store.query(CHUNK_STARTS, [CHUNK_ROWS])["prompt_id"].to_list()
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        frame = store.query(REST, [start]) if end is None else store.query(CHUNK, [start, end])
        yield frame.astype(dict.fromkeys(whole, "Int64"))


def _whole_numbers(store: RunStore) -> list[str]:
    """The columns that a frame holds as decimals wherever a value is missing."""
    columns = store.query("DESCRIBE results")
    return columns.loc[columns["column_type"].isin(["INTEGER", "BIGINT"]), "column_name"].to_list()
