"""Quality that was measured elsewhere, by people or by another metric: a table of numbers by `prompt_id`.

A row that cannot be used is left out and reported with line and column. Several ratings of a prompt are averaged.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from emoe_audit.errors import QualityError
from emoe_audit.readers.tables import Broken, open_table
from emoe_audit.types import RowError

KEY = "prompt_id"
DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")
Direction = Literal["higher", "lower"]


@dataclass(frozen=True, kw_only=True)
class ImportedQuality:
    """Measures of prompts, and what was left out of the file."""

    frame: pd.DataFrame
    """`prompt_id`, each once, and for each column its mean and, as `n_<column>`, how many ratings that is of."""
    directions: dict[str, Direction]
    """Which end of a column is better."""
    source: str
    row_errors: tuple[RowError, ...] = ()

    def as_quality(self, column: str) -> pd.Series:
        """The column by `prompt_id`, with its sign changed where lower is better, so that more is better."""
        values = self.frame.set_index(KEY)[column]
        return -values if self.directions[column] == "lower" else values


def read_quality(
    path: Path | str,
    columns: Sequence[str],
    *,
    prompt_ids: Collection[str],
    taken: Collection[str] = (),
    lower_is_better: Collection[str] = (),
) -> ImportedQuality:
    """Read measures of the prompts of a run from CSV, JSON lines or Parquet.

    A row whose `prompt_id` the run does not have, and a cell that is not a finite number, is a row error; an empty
    cell is a rating that was not given.

    Args:
        path: The file, with `prompt_id` and the columns; other columns are passed over.
        columns: Which to take.
        prompt_ids: Of the run.
        taken: Columns that the run has already.
        lower_is_better: Those of `columns` in which a smaller number is the better one; in all others it is a larger.

    Raises:
        QualityError: the file is no such table, lacks a column, holds no number that can be used, or a column cannot
            be taken under its name.
    """
    path = Path(path)
    _check_names(columns, set(taken), lower_is_better)
    errors: list[RowError] = []
    cells = list(_cells(path, columns, set(prompt_ids), errors))
    if not cells:
        detail = "; ".join(error.message for error in errors[:3]) or f"{path}: no row with a number"
        raise QualityError(f"no rating can be used: {detail}")
    ratings = pd.DataFrame(cells, columns=[KEY, "column", "value"])
    directions: dict[str, Direction] = {c: "lower" if c in lower_is_better else "higher" for c in columns}
    return ImportedQuality(
        frame=_means(ratings, columns), directions=directions, source=str(path), row_errors=tuple(errors)
    )


def _means(ratings: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    order = ratings[KEY].drop_duplicates(ignore_index=True)
    frame = pd.DataFrame({KEY: order})
    for column in columns:
        own = ratings[ratings["column"] == column].groupby(KEY)["value"]
        frame[column] = own.mean().reindex(order).to_numpy(dtype=np.float64)
        frame[f"n_{column}"] = own.size().reindex(order, fill_value=0).to_numpy(dtype=np.int64)
    return frame


def _cells(
    path: Path, columns: Sequence[str], prompt_ids: set[str], errors: list[RowError]
) -> Iterator[tuple[str, str, float]]:
    """Prompt, column and number of every cell that can be used; what cannot be used is added to `errors`."""

    def fault(line: int, column: str | None, message: str, prompt_id: str | None = None) -> None:
        at = f"{path}:{line}: " + (f"column {column}: " if column else "")
        errors.append(RowError(stage="read", message=at + message, prompt_id=prompt_id, line=line, column=column))

    table = open_table(path, QualityError, [KEY, *columns].__contains__)
    _check_header(table.columns, [KEY, *columns], path)
    for line, row in table.rows:
        if isinstance(row, Broken):
            fault(line, None, row.message)
            continue
        prompt_id = "" if row.get(KEY) is None else str(row[KEY])
        if prompt_id not in prompt_ids:
            fault(line, KEY, f"the run has no prompt {prompt_id[:60]!r}", prompt_id or None)
            continue
        for column in columns:
            try:
                number = _number(row.get(column), decimal_comma=table.decimal_comma)
            except (TypeError, ValueError, OverflowError):
                fault(line, column, f"{row[column]!r:.60} is not a finite number", prompt_id)
            else:
                if number is not None:
                    yield prompt_id, column, number


def _number(value: Any, *, decimal_comma: bool) -> float | None:
    """None for an empty cell. Raises for what is no finite number; True is none."""
    if value is None or value == "":
        return None
    if decimal_comma and isinstance(value, str) and DECIMAL_COMMA.fullmatch(value):
        value = value.replace(",", ".")
    number = float(value)
    if isinstance(value, bool) or math.isinf(number):
        raise ValueError
    return None if math.isnan(number) else number


def _check_header(header: list[str], needed: list[str], path: Path) -> None:
    lacking = next((name for name in needed if name not in header), None)
    if lacking is not None:
        near = difflib.get_close_matches(lacking, header, n=1, cutoff=0.6)
        hint = f"; the nearest is {near[0]!r}" if near else ""
        raise QualityError(f"{path}: no column {lacking!r} among {', '.join(map(repr, header[:8])) or 'none'}{hint}")


def _check_names(columns: Sequence[str], taken: set[str], lower_is_better: Collection[str]) -> None:
    if not columns:
        raise QualityError("name at least one column to import")
    made = [KEY] + [name for column in columns for name in (column, f"n_{column}")]
    held, folded = {name.casefold() for name in taken}, [name.casefold() for name in made]
    for name, own in zip(made[1:], folded[1:], strict=True):
        if own in held or folded.count(own) > 1:
            raise QualityError(f"a column {name!r} is there already; rename the one in the file")
    unknown = [column for column in lower_is_better if column not in columns]
    if unknown:
        raise QualityError(f"{unknown[0]!r} is none of the columns to import: {', '.join(columns)}")
