"""Files of prompts: CSV, JSON lines, Parquet or COCO captions. A file that is no table raises, with line and column."""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.coco import read_coco
from emoe_audit.prompts.table import PromptTable, check_rows

MAX_LINE = 1_000_000
"""Characters of one line of a text file."""


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
        return read_coco(path)
    if path.suffix.lower() not in readers:
        raise PromptTableError(
            f"{path}: cannot tell the format from {path.suffix!r}; use .csv, .jsonl, .parquet or .json (COCO)"
        )
    return check_rows(readers[path.suffix.lower()](path), str(path))


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
