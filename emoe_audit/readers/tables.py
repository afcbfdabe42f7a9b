"""Tables from outside, whatever they are written in: rows with their line numbers, within bounds.

CSV with commas, semicolons or tabs between its fields, as spreadsheets write it, JSON lines, and Parquet. A row that
cannot be read is given as such, so that who asked for the table decides whether it can do without.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emoe_audit.errors import AuditError
from emoe_audit.readers.documents import loose_json
from emoe_audit.readers.limits import CELL, COLUMNS, ROWS
from emoe_audit.readers.parquet import check_parquet, read_parquet_rows, stored_kinds
from emoe_audit.readers.text import Lines

FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")
DELIMITERS = ",;\t"
ARRAY = "a JSON array, not JSON lines; write one object a line, without brackets around them"
_DECLARED = re.compile(r'"?sep=([^\w\s"]|\t)"?\s*', re.IGNORECASE)
"""The line that tells Excel what stands between the fields of a CSV file."""


@dataclass(frozen=True)
class Broken:
    """A row that cannot be read."""

    message: str
    column: int | None = None
    """The character at which reading failed."""

    def at(self, where: str) -> str:
        """The message with its place, where that is `file:line`."""
        return f"{where}:{self.column}: {self.message}" if self.column else f"{where}: {self.message}"


Row = dict[str, Any]
Rows = Iterator[tuple[int, Row | Broken]]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that is about to be read."""

    columns: list[str]
    """The names, without spaces around them, in order; of JSON lines, those of all rows."""
    rows: Rows
    """By line, counted from 1 in Parquet. To be read once."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Columns that are not read, as they hold neither texts nor numbers, and what they hold."""
    twice: tuple[str, ...] = ()
    """Names of CSV that several columns have; the first of each is read."""
    unnamed: bool = False
    """Whether columns without a name hold anything; they are not read."""
    decimal_comma: bool = False
    """Whether numbers may be written as spreadsheets write them where commas are decimal: `4,5`."""


def open_table(path: Path, error: type[AuditError], known: Callable[[str], bool] = lambda name: False) -> Table:
    """Open a table by the ending of its file.

    Args:
        path: One of `FORMATS`.
        error: What is raised.
        known: Whether a column's name is one that is looked for. What stands between the fields of CSV is what makes
            most names known, else most fields; and such a column of Parquet is read whatever it holds.

    Raises:
        error: there is no such file, it is no table, or it holds more than is taken; with file and line.
    """
    check_file(path, error)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise error(f"{path}: cannot tell the format from {path.suffix!r}; use .csv, .jsonl or .parquet (or .tsv)")
    if suffix == ".parquet":
        return _parquet(path, error, known)
    return _json_lines(path, error) if suffix == ".jsonl" else _csv(path, error, known)


def check_file(path: Path, error: type[AuditError]) -> None:
    """Raise `error` unless there is such a file."""
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except (OSError, ValueError) as fault:
        raise error(f"{str(path)[:200]!r} is no file name: {getattr(fault, 'strerror', None) or fault}") from fault
    if is_folder:
        raise error(f"{path}: a folder; give the table that lies in it")
    if not is_file:
        raise error(f"{path}: no such file")


def _csv(path: Path, error: type[AuditError], known: Callable[[str], bool]) -> Table:
    delimiter = _delimiter(path, error, known)
    records = _records(path, error, delimiter)
    line, header = next(records, (1, []))
    header = [name.strip() for name in header]
    if any("\0" in name for name in header):
        raise error(f"{path}:{line}: a binary file, not a table")
    COLUMNS.check(len(header), f"{path}:{line}", error)
    named = [name for name in header if name]
    _check_once([name for name in named if known(name)], f"{path}:{line}", error)
    return Table(
        columns=list(dict.fromkeys(named)),
        rows=_csv_rows(records, header, path, error),
        twice=tuple(name for name, count in Counter(named).items() if count > 1),
        unnamed=len(named) < len(header) and _holds_unnamed(path, error, delimiter, header),
        decimal_comma=delimiter != ",",
    )


def _delimiter(path: Path, error: type[AuditError], known: Callable[[str], bool]) -> str:
    """What stands between the fields: what the file declares, else what makes most of its first line."""
    with Lines(path, error) as lines:
        first = next((line for line in lines if line.strip()), "")
    declared = _DECLARED.fullmatch(first)
    if declared:
        return declared[1]
    split = {mark: _fields(first, mark) for mark in DELIMITERS}
    return max(DELIMITERS, key=lambda mark: (sum(known(name.strip()) for name in split[mark]), len(split[mark])))


def _fields(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(line), delimiter=delimiter), [])
    except csv.Error:
        return []


def _records(path: Path, error: type[AuditError], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The fields of every line that is not empty, the header first, with the line on which each starts."""
    with Lines(path, error) as lines:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        is_first = True
        while True:
            start = lines.line + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as fault:
                raise error(f"{path}:{start}: not valid CSV: {fault}") from fault
            if fields and not (is_first and _DECLARED.fullmatch(delimiter.join(fields))):
                yield start, fields
            is_first = is_first and not fields


def _csv_rows(records: Iterator[tuple[int, list[str]]], header: list[str], path: Path, error: type[AuditError]) -> Rows:
    places, most = {name: header.index(name) for name in dict.fromkeys(header) if name}, ROWS.value
    for number, (line, fields) in enumerate(records, start=1):
        if number > most:
            ROWS.check(number, path, error)
        if len(fields) != len(header):
            told = "put quotes around a field that holds what stands between them"
            yield line, Broken(f"{len(fields)} fields, the header has {len(header)}; {told}")
        elif len(fields) == 1 or any(fields):
            yield line, {name: fields[place] for name, place in places.items()}


def _holds_unnamed(path: Path, error: type[AuditError], delimiter: str, header: list[str]) -> bool:
    places = [place for place, name in enumerate(header) if not name]
    records = _records(path, error, delimiter)
    next(records)
    return any(fields[place] for _, fields in records if len(fields) == len(header) for place in places)


def _json_lines(path: Path, error: type[AuditError]) -> Table:
    columns: dict[str, None] = {}
    for _, row in json_rows(path, error):
        if isinstance(row, dict):
            columns.update(dict.fromkeys(row))
            COLUMNS.check(len(columns), path, error)
    return Table(columns=list(columns), rows=json_rows(path, error))


def json_rows(path: Path, error: type[AuditError]) -> Rows:
    """The objects of a file of JSON lines, by line. Raises `error` where it cannot be read."""
    most = ROWS.value
    with Lines(path, error) as lines:
        for text in lines:
            if lines.line > most:
                ROWS.check(lines.line, path, error)
            if text.strip():
                yield lines.line, _json_row(text, lines.line)


def _json_row(text: str, line: int) -> Row | Broken:
    try:
        row = loose_json(text)
    except json.JSONDecodeError as fault:
        if line == 1 and text.strip() == "[":
            return Broken(ARRAY, 1)
        return Broken(f"not valid JSON: {fault.msg}", fault.colno)
    except ValueError as fault:
        return Broken(f"not valid JSON: {fault}", 1)
    if isinstance(row, dict):
        return _stripped(row)
    is_array = isinstance(row, list) and any(isinstance(own, dict) for own in row)
    return Broken(ARRAY if is_array else "expected a JSON object with a field for each column", 1)


def _stripped(row: Row) -> Row | Broken:
    """The row with names without spaces around them."""
    stripped = {name.strip(): value for name, value in row.items()}
    return stripped if len(stripped) == len(row) else Broken("two fields of one name, but for spaces around it", 1)


def _parquet(path: Path, error: type[AuditError], known: Callable[[str], bool]) -> Table:
    schema = check_parquet(path, error)
    _check_once(schema.names, str(path), error)
    kinds = stored_kinds(schema)
    left_out = {name: kind for name, kind in kinds.items() if kind is not None and not known(name.strip())}
    read = [name for name in kinds if name not in left_out]
    return Table(columns=[name.strip() for name in read], rows=_parquet_rows(path, error, read), left_out=left_out)


def _parquet_rows(path: Path, error: type[AuditError], columns: list[str]) -> Rows:
    most = CELL.value
    for line, row in read_parquet_rows(path, error, columns):
        for name, value in row.items():
            if isinstance(value, str) and len(value) > most:
                CELL.check(len(value), f"{path}:{line}: column {name}", error)
        yield line, {name.strip(): value for name, value in row.items()}


def _check_once(names: Collection[str], where: str, error: type[AuditError]) -> None:
    seen: set[str] = set()
    for name in names:
        if name.strip() in seen:
            raise error(f"{where}: two columns are called {name.strip()[:60]!r}")
        seen.add(name.strip())
