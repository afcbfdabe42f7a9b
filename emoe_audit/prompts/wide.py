"""Tables with a column for each language, as translators fill them in a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from babel import Locale

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.table import KNOWN
from emoe_audit.prompts.tags import TagError, check_language


@dataclass(frozen=True, kw_only=True)
class WideRow:
    """One line of such a table."""

    line: int
    fields: dict[str, str]
    """What is no language; empty cells are left out."""
    texts: dict[str, str]
    """The text by language, empty where there is none, in the order of the columns."""


def read_wide(path: Path) -> Iterator[WideRow]:
    """The rows of a CSV file, with the line on which each starts.

    A column whose name is the tag of a language that Unicode CLDR knows is a language: also `id`, which is Indonesian.

    Raises:
        PromptTableError: the file cannot be read, or no column is a language; with file and line.
    """
    lines = _lines(path)
    _, header = next(lines, (1, []))
    languages = {column: tag for column in header if (tag := language_of(column))}
    if not languages:
        found = ", ".join(repr(name[:40]) for name in header[:8]) or "nothing"
        raise PromptTableError(f"{path}:1: no column is a language among {found}; name them 'en', 'zh-Hant'")
    for line, cells in lines:
        if len(cells) != len(header):
            raise PromptTableError(
                f"{path}:{line}: {len(cells)} fields, the header has {len(header)}; put quotes around a field with a "
                "comma"
            )
        row = dict(zip(header, cells, strict=True))
        yield WideRow(
            line=line,
            fields={name: cell for name, cell in row.items() if name not in languages and cell},
            texts={tag: row[column].strip() for column, tag in languages.items()},
        )


def is_wide(path: Path) -> bool:
    """Whether a file is a CSV table that has a column for a language, and no column `prompt`."""
    if path.suffix.lower() != ".csv":
        return False
    _, header = next(_lines(path), (1, []))
    return "prompt" not in header and any(map(language_of, header))


def language_of(column: str) -> str | None:
    """The tag of a language that a column is named after; None for any other name."""
    try:
        tag = check_language(column)
    except TagError:
        return None
    return tag if column not in KNOWN and tag.split("-")[0] in _cldr_languages() else None


@cache
def _cldr_languages() -> frozenset[str]:
    """`job`, `key` and `age` are tags of ISO 639-3 too, so that being a tag is not enough."""
    return frozenset(Locale("en").languages)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Every line that is not empty as `(number, cells)`, the header first, without spaces around its names."""
    start = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            yield start, [name.strip() for name in header]
            start = reader.line_num + 1
            for cells in reader:
                if cells:
                    yield start, cells
                start = reader.line_num + 1
    except FileNotFoundError as error:
        raise PromptTableError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise PromptTableError(f"{path}:{start}: not UTF-8; save it as UTF-8 ({error.reason})") from error
    except csv.Error as error:
        raise PromptTableError(f"{path}:{start}: not valid CSV: {error}") from error
    except OSError as error:
        raise PromptTableError(f"{path}: cannot be read: {error}") from error
