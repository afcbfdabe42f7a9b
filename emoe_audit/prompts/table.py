"""Prompt tables: rows in, checked rows out.

A bad row is left out and reported with its line and column. Prompts are taken as they are: escaping belongs where they
are shown, not here.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.tags import TagError, check_language, check_region
from emoe_audit.types import Prompt, RowError

KNOWN = ("prompt_id", "source_id", "prompt", "language", "region")
MAX_PROMPT = 20_000
"""Characters."""
UNDETERMINED = "und"


@dataclass(frozen=True, kw_only=True)
class PromptTable:
    """Checked prompts, and what was left out."""

    frame: pd.DataFrame
    """`prompt_id, source_id, prompt, language, region` and every other column as it was read."""
    source: str
    sha256: str
    """Of the rows, not of the file."""
    row_errors: tuple[RowError, ...] = ()

    def prompts(self) -> Iterator[Prompt]:
        """One by one."""
        for row in self.frame[list(KNOWN)].itertuples(index=False):
            region = None if pd.isna(row.region) else str(row.region)
            yield Prompt(
                prompt_id=row.prompt_id,
                prompt=row.prompt,
                language=row.language,
                region=region,
                source_id=row.source_id,
            )


def check_rows(rows: Iterator[tuple[int, dict[str, Any]]], source: str) -> PromptTable:
    """Check rows, each with its line number, and put the good ones into a table.

    Raises:
        PromptTableError: no row is good.
    """
    good: list[dict[str, Any]] = []
    errors: list[RowError] = []
    seen: set[str] = set()
    for line, row in rows:
        try:
            checked = _check_row(row, line, seen)
        except _RowFault as fault:
            known_id = row.get("prompt_id")
            errors.append(
                RowError(
                    stage="read",
                    message=f"{source}:{line}: column {fault.column}: {fault}",
                    prompt_id=str(known_id) if known_id else None,
                    line=line,
                    column=fault.column,
                )
            )
        else:
            seen.add(checked["prompt_id"])
            good.append(checked)
    if not good:
        detail = "; ".join(error.message for error in errors[:3]) or f"{source}: no row under the header"
        raise PromptTableError(f"no prompt can be used: {detail}")
    return table_of(pd.DataFrame(good), source, tuple(errors))


def table_of(frame: pd.DataFrame, source: str, errors: tuple[RowError, ...] = ()) -> PromptTable:
    """A table of rows that are known to be good."""
    frame = (
        frame[[*KNOWN, *(c for c in frame if c not in KNOWN)]]
        .reset_index(drop=True)
        .astype(dict.fromkeys(KNOWN, "string"))
    )
    digest = hashlib.sha256()
    for row in frame.astype(object).where(frame.notna(), None).itertuples(index=False):
        digest.update(json.dumps(list(row), default=str).encode())
    return PromptTable(frame=frame, source=source, sha256=digest.hexdigest(), row_errors=errors)


def write_csv(table: PromptTable, path: Path) -> None:
    """Write a table so that reading it gives the same rows."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(table.frame.columns)
        writer.writerows(table.frame.astype(object).where(table.frame.notna(), "").itertuples(index=False))


class _RowFault(Exception):
    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column


def _check_row(row: dict[str, Any], line: int, seen: set[str]) -> dict[str, Any]:
    prompt = _text(row, "prompt")
    if not prompt.strip():
        raise _RowFault("prompt", "the prompt is empty")
    if len(prompt) > MAX_PROMPT:
        raise _RowFault("prompt", f"the prompt has {len(prompt):,} characters, at most {MAX_PROMPT:,} are taken")
    if "\0" in prompt or any(0xD800 <= ord(c) <= 0xDFFF for c in prompt):
        raise _RowFault("prompt", "the prompt holds a NUL or a lone surrogate, which is no text")
    prompt_id = _text(row, "prompt_id") or f"row-{line}"
    if prompt_id in seen:
        raise _RowFault("prompt_id", f"{prompt_id!r} stands in an earlier row too")
    checked = {
        "prompt_id": prompt_id,
        "source_id": _text(row, "source_id") or prompt_id,
        "prompt": prompt,
        "language": _tag(row, "language") or UNDETERMINED,
        "region": _tag(row, "region"),
    }
    return checked | {name: None if value == "" else value for name, value in row.items() if name not in KNOWN}


def _text(row: dict[str, Any], column: str) -> str:
    value = row.get(column)
    return "" if value is None else str(value)


def _tag(row: dict[str, Any], column: str) -> str | None:
    value = _text(row, column).strip()
    try:
        return (check_language(value) if column == "language" else check_region(value)) if value else None
    except TagError as error:
        raise _RowFault(column, str(error)) from error
