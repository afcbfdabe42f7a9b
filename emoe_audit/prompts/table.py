"""Prompt tables: CSV, JSON lines, Parquet or COCO captions in, checked rows out.

A file that is no table at all raises; a bad row is left out and reported with its line and column. Prompts are taken as
they are: escaping belongs where they are shown, not here.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.tags import TagError, check_language, check_region
from emoe_audit.types import Prompt, RowError

KNOWN = ("prompt_id", "source_id", "prompt", "language", "region")
MAX_PROMPT = 20_000
"""Characters."""
MAX_LINE = 1_000_000
"""Characters of one line of a text file."""
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


def read_prompts(path: Path | str) -> PromptTable:
    """Read a prompt table.

    Raises:
        PromptTableError: no such file, not a table, no column `prompt`, or no good row; with file, line and column.
    """
    path = Path(path)
    if not path.is_file():
        raise PromptTableError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise PromptTableError(f"{path}: the file is empty; it needs a header line with at least the column 'prompt'")
    readers = {".csv": read_csv, ".jsonl": read_jsonl, ".parquet": read_parquet}
    if path.suffix.lower() == ".json":
        from emoe_audit.prompts.coco import read_coco

        return read_coco(path)
    if path.suffix.lower() not in readers:
        raise PromptTableError(
            f"{path}: cannot tell the format from {path.suffix!r}; use .csv, .jsonl, .parquet or .json (COCO)"
        )
    return check_rows(readers[path.suffix.lower()](path), str(path))


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


def read_csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with the physical line on which each starts."""
    with _Lines(path) as lines:
        reader = csv.reader(lines, strict=True)
        header: list[str] | None = None
        while True:
            first = lines.line + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise PromptTableError(f"{path}:{first}: not valid CSV: {error}") from error
            if not fields:
                continue
            if header is None:
                header = [name.strip() for name in fields]
                _check_header(header, path)
            elif len(fields) != len(header):
                raise PromptTableError(
                    f"{path}:{first}: {len(fields)} fields, the header has {len(header)}; "
                    "put quotes around a field with a comma"
                )
            else:
                yield first, dict(zip(header, fields, strict=True))


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """One JSON object a line."""
    with _Lines(path) as lines:
        for text in lines:
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except ValueError as error:
                column = getattr(error, "colno", 1)
                raise PromptTableError(f"{path}:{lines.line}:{column}: not valid JSON: {error}") from error
            if not isinstance(row, dict):
                raise PromptTableError(f"{path}:{lines.line}:1: expected a JSON object with a field 'prompt'")
            if "prompt" not in row:
                _check_header(list(row), path, lines.line)
            yield lines.line, row


def read_parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows numbered from 1, read batch by batch."""
    try:
        with pq.ParquetFile(path) as file:
            _check_header(file.schema_arrow.names, path)
            line = 0
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    line += 1
                    yield line, row
    except (pa.ArrowException, OSError) as error:
        raise PromptTableError(f"{path}: not a readable Parquet file: {error}") from error


class _Lines:
    """The lines of a UTF-8 file with their numbers; bounded, so that a file without line breaks is not read whole."""

    def __init__(self, path: Path) -> None:
        self._path, self.line = path, 0
        self._file = io.TextIOWrapper(path.open("rb"), encoding="utf-8-sig", newline="")

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        where = f"{self._path}:{self.line + 1}"
        try:
            text = self._file.readline(MAX_LINE + 1)
        except UnicodeDecodeError as error:
            raise PromptTableError(f"{where}: {self._guess()}; save it as UTF-8 ({error.reason})") from error
        if not text:
            raise StopIteration
        self.line += 1
        if len(text) > MAX_LINE:
            raise PromptTableError(f"{where}:{MAX_LINE + 1}: the line is longer than {MAX_LINE:,} characters")
        return text

    def _guess(self) -> str:
        with self._path.open("rb") as file:
            start = file.read(4096)
        if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return "not UTF-8 but UTF-16"
        if b"\0" in start:
            return "a binary file, not a table"
        return "not UTF-8"


class _RowFault(Exception):
    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column


def _check_header(header: list[str], path: Path, line: int = 1) -> None:
    if any("\0" in name for name in header):
        raise PromptTableError(f"{path}:{line}: a binary file, not a table")
    if "prompt" not in header:
        near = difflib.get_close_matches("prompt", header, n=1, cutoff=0.6)
        hint = f"; column {header.index(near[0]) + 1} is called {near[0]!r}, rename it" if near else ""
        found = ", ".join(repr(name[:40]) for name in header[:8])
        raise PromptTableError(f"{path}:{line}: no column 'prompt' among {found}{hint}")
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise PromptTableError(f"{path}:{line}: two columns are called {twice!r}")


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
    return checked | {name: value for name, value in row.items() if name not in KNOWN}


def _text(row: dict[str, Any], column: str) -> str:
    value = row.get(column)
    return "" if value is None else str(value)


def _tag(row: dict[str, Any], column: str) -> str | None:
    value = _text(row, column).strip()
    try:
        return (check_language(value) if column == "language" else check_region(value)) if value else None
    except TagError as error:
        raise _RowFault(column, str(error)) from error
