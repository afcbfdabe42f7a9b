"""Prompt tables: rows in, checked rows out.

A bad row is left out and reported with its line and column. Prompts are taken as they are: escaping belongs where they
are shown, not here.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emoe_audit.errors import PromptTableError
from emoe_audit.progress import chunks
from emoe_audit.prompts.columns import GIVEN, KNOWN, TEXTS, ColumnKinds, StoredColumns, kind_of
from emoe_audit.prompts.spool import Kept, Spool
from emoe_audit.prompts.tags import TagError, check_language, check_region, in_usual_case
from emoe_audit.readers.documents import Digits
from emoe_audit.readers.tables import Broken
from emoe_audit.readers.text import is_text
from emoe_audit.types import Prompt, RowError

MAX_PROMPT, MAX_ID = 20_000, 1_000
"""Characters."""
PART = 16_384
"""Rows that are held at once."""
SHOWN = 60
"""Characters of a cell in a message."""
UNDETERMINED = "und"


@dataclass(frozen=True, kw_only=True)
class PromptTable:
    """Checked prompts, and what was left out."""

    parts: Iterable[pd.DataFrame]
    """The rows, some at a time, as often as they are asked for: `prompt_id, source_id, prompt, language, region` and
    every other column as it was read."""
    n_prompts: int
    source: str
    sha256: str
    """Of the rows, not of the file."""
    row_errors: tuple[RowError, ...] = ()
    warnings: tuple[str, ...] = ()
    """What was read in another way than it stands there: columns that are called otherwise, or left out."""

    @cached_property
    def frame(self) -> pd.DataFrame:
        """All rows at once, for a table that can be held."""
        return pd.concat(self.parts, ignore_index=True).infer_objects()

    def prompts(self) -> Iterator[Prompt]:
        """One by one."""
        for part in self.parts:
            for row in part[list(KNOWN)].itertuples(index=False):
                yield Prompt(
                    prompt_id=row.prompt_id,
                    prompt=row.prompt,
                    language=row.language,
                    region=None if pd.isna(row.region) else str(row.region),
                    source_id=row.source_id,
                )


def check_rows(
    rows: Iterable[tuple[int, dict[str, Any] | Broken]], source: str, warnings: Sequence[str] = ()
) -> PromptTable:
    """Check rows, each with its line number, and put the good ones into a table, which can be stored as it is.

    No more than a part of the table is held; the others wait in a temporary file.

    Raises:
        PromptTableError: no row is good, or there are more cells than are taken.
    """
    errors: list[RowError] = []
    spool, ids = _good_rows(rows, source, errors)
    if not spool.n_rows:
        detail = "; ".join(error.message for error in errors[:3]) or f"{source}: no row under the header"
        raise PromptTableError(f"no prompt can be used: {detail}")
    again = _again(spool, ids)
    if again:
        errors += [_row_error(_said_before(row), row, f"{source}:{line}", line) for line, row in again.values()]
        errors.sort(key=lambda error: error.line or 0)
    kept, kinds = Kept(spool, frozenset(again)), ColumnKinds()
    for part in kept:
        kinds.add(part)
    stored = kinds.settled(source)
    parts = _Parts(kept, stored)
    return _table(parts, spool.n_rows - len(again), source, tuple(errors), (*warnings, *stored.told))


def _good_rows(
    rows: Iterable[tuple[int, dict[str, Any] | Broken]], source: str, errors: list[RowError]
) -> tuple[Spool, Sequence[int]]:
    """The rows that hold no fault, with their lines, and the hash of the id of each; the faults of others are added."""
    spool, ids = Spool(), array("q")
    for part in chunks(rows, PART):
        good = []
        for line, row in part:
            try:
                good.append((line, _check_row(row, line)))
            except _RowFault as fault:
                errors.append(_row_error(fault, row, f"{source}:{line}", line))
        spool.append(good)
        ids.extend(hash(row["prompt_id"]) for _, row in good)
    return spool, ids


def table_of(
    frame: pd.DataFrame, source: str, errors: tuple[RowError, ...] = (), warnings: tuple[str, ...] = ()
) -> PromptTable:
    """A table of rows that are known to be good."""
    return _table((_as_prompts(frame),), len(frame), source, errors, warnings)


def _table(
    parts: Iterable[pd.DataFrame], n_prompts: int, source: str, errors: tuple[RowError, ...], warnings: tuple[str, ...]
) -> PromptTable:
    digest, encoder = hashlib.sha256(), json.JSONEncoder(default=str)
    for part in parts:
        for row in part.astype(object).where(part.notna(), None).itertuples(index=False, name=None):
            digest.update(encoder.encode(row).encode())
    return PromptTable(
        parts=parts,
        n_prompts=n_prompts,
        source=source,
        sha256=digest.hexdigest(),
        row_errors=errors,
        warnings=warnings,
    )


def _as_prompts(frame: pd.DataFrame) -> pd.DataFrame:
    ordered = frame[[*KNOWN, *(column for column in frame if column not in KNOWN)]]
    return ordered.reset_index(drop=True).astype(dict.fromkeys(KNOWN, "string"))


@dataclass(frozen=True)
class _Parts:
    """Rows as frames."""

    rows: Kept
    stored: StoredColumns

    def __iter__(self) -> Iterator[pd.DataFrame]:
        for part in self.rows:
            yield _as_prompts(self.stored.frame(part))


def _again(spool: Spool, ids: Sequence[int]) -> dict[int, tuple[int, dict[str, Any]]]:
    """The rows whose id an earlier one has, by their place; only ids whose numbers come twice are compared."""
    numbers, counts = np.unique(np.asarray(ids), return_counts=True)
    twice = set(numbers[counts > 1].tolist())
    again: dict[int, tuple[int, dict[str, Any]]] = {}
    seen: set[str] = set()
    places = itertools.count()
    for part in spool if twice else ():
        for (line, row), place in zip(part, places, strict=False):
            if hash(row["prompt_id"]) in twice:
                if row["prompt_id"] in seen:
                    again[place] = line, row
                seen.add(row["prompt_id"])
    return again


def _said_before(row: dict[str, Any]) -> _RowFault:
    return _RowFault("prompt_id", f"{row['prompt_id'][:SHOWN]!r} stands in an earlier row too")


def write_csv(table: PromptTable, path: Path) -> None:
    """Write a table so that reading it gives the same rows."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for place, part in enumerate(table.parts):
            if not place:
                writer.writerow(part.columns)
            writer.writerows(part.astype(object).where(part.notna(), "").itertuples(index=False))


class _RowFault(Exception):
    def __init__(self, column: str | None, message: str) -> None:
        super().__init__(message)
        self.column = column


def _row_error(fault: _RowFault, row: dict[str, Any] | Broken, where: str, line: int) -> RowError:
    if isinstance(row, Broken):
        return RowError(stage="read", message=row.at(where), line=line)
    known_id = row.get("prompt_id")
    known_id = str(known_id) if isinstance(known_id, str | int | float) else ""
    return RowError(
        stage="read",
        message=f"{where}: column {fault.column}: {fault}",
        prompt_id=known_id if known_id and is_text(known_id) else None,
        line=line,
        column=fault.column,
    )


def _check_row(row: dict[str, Any] | Broken, line: int) -> dict[str, Any]:
    if isinstance(row, Broken):
        raise _RowFault(None, row.message)
    prompt = _prompt(row)
    prompt_id = _id(row, "prompt_id") or f"row-{line}"
    checked = {
        "prompt_id": prompt_id,
        "source_id": _id(row, "source_id") or prompt_id,
        "prompt": prompt,
        "language": _tag(row, "language") or UNDETERMINED,
        "region": _tag(row, "region"),
    }
    given = _other_tag(row, str(checked["language"]))
    return checked | {name: value for name, value in row.items() if name not in KNOWN} | given


def _prompt(row: dict[str, Any]) -> str:
    """The prompt. Raises `_RowFault` for a cell that holds another thing than a text, and says what."""
    prompt = row.get("prompt")
    if kind_of(prompt) is None or (isinstance(prompt, str) and not prompt.strip()):
        raise _RowFault("prompt", "the prompt is empty")
    if not isinstance(prompt, str) or kind_of(prompt) != TEXTS:
        raise _RowFault("prompt", f"the cell holds {_what(prompt)}, which is no text")
    if len(prompt) > MAX_PROMPT:
        raise _RowFault("prompt", f"the prompt has {len(prompt):,} characters, at most {MAX_PROMPT:,} are taken")
    if not is_text(prompt):
        raise _RowFault("prompt", "the prompt holds a NUL or a lone surrogate, which is no text")
    return prompt


def _id(row: dict[str, Any], column: str) -> str:
    text = _text(row, column)
    if len(text) > MAX_ID:
        raise _RowFault(column, f"{text[:SHOWN]!r}... has {len(text):,} characters, at most {MAX_ID:,} are taken")
    if not is_text(text):
        raise _RowFault(column, f"{text[:SHOWN]!r} holds a NUL or a lone surrogate, which is no text")
    return text


def _text(row: dict[str, Any], column: str) -> str:
    """A text or a number as text, empty where there is none."""
    value = row.get(column)
    if type(value) is str:
        return value
    if kind_of(value) is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _RowFault(column, f"the cell holds {_what(value)}, which is no text")
    return str(value)


def _tag(row: dict[str, Any], column: str) -> str | None:
    value = _text(row, column).strip()
    try:
        return (check_language(value) if column == "language" else check_region(value)) if value else None
    except TagError as error:
        raise _RowFault(column, str(error)) from error


def _other_tag(row: dict[str, Any], language: str) -> dict[str, str]:
    """The tag that was given, where it is another one than the language's usual; none where an earlier one is kept."""
    given = _text(row, "language").strip()
    is_other = bool(given) and in_usual_case(given) != language and not row.get(GIVEN)
    return {GIVEN: given} if is_other else {}


def _what(value: Any) -> str:
    """What a cell holds, in a few words."""
    if isinstance(value, bytes | list | dict):
        kind = {bytes: "bytes", list: "a list", dict: "a mapping"}[type(value)]
        first = next(iter(value), None) if not isinstance(value, bytes) else None
        return f"{len(value)} {kind}" if isinstance(value, bytes) else f"{kind} of {len(value)}{_as(first)}"
    if isinstance(value, bool):
        return str(value).lower()
    kind = "the number" if isinstance(value, int | float | Digits) else f"a {type(value).__name__}"
    return f"{kind} {str(value)[:SHOWN]}"


def _as(first: Any) -> str:
    return f" ({first[:SHOWN]!r} ...)" if isinstance(first, str) else ""
