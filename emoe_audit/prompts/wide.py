"""Tables with a column for each language, as translators fill them in a spreadsheet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from babel import Locale

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.columns import KNOWN, kind_of, listed
from emoe_audit.prompts.tags import TagError, check_language
from emoe_audit.readers.tables import FORMATS, Broken, open_table

_WITH_SCRIPT = re.compile("[A-Za-z]{2,3}[-_][A-Za-z]{4}")


@dataclass(frozen=True, kw_only=True)
class WideRow:
    """One line of such a table."""

    line: int
    fields: dict[str, str]
    """What is no language; empty cells are left out."""
    texts: dict[str, str]
    """The text by language, empty where there is none, in the order of the columns."""


def read_wide(path: Path) -> Iterator[WideRow]:
    """The rows of a table, with the line on which each starts.

    A column whose name is the tag of a language that Unicode CLDR knows is a language: also `id`, which is Indonesian.

    Raises:
        PromptTableError: the file cannot be read, no column is a language, two are the same one, or a cell holds no
            text; with file and line.
    """
    table = open_table(path, PromptTableError)
    languages = {column: tag for column in table.columns if (tag := language_of(column))}
    if not languages:
        found = listed(table.columns) or "nothing"
        raise PromptTableError(f"{path}:1: no column is a language among {found}; name them 'en', 'zh-Hant'")
    _check_once([*languages, *(name for name in table.twice if name in languages)], languages, path)
    for line, row in table.rows:
        if isinstance(row, Broken):
            raise PromptTableError(row.at(f"{path}:{line}"))
        yield WideRow(
            line=line,
            fields={name: _cell(row, name, path, line) for name in row if name not in languages and kind_of(row[name])},
            texts={tag: _cell(row, column, path, line).strip() for column, tag in languages.items()},
        )


def is_wide(path: Path) -> bool:
    """Whether a file is a table that has a column for a language, and no column `prompt`."""
    if path.suffix.lower() not in FORMATS:
        return False
    columns = open_table(path, PromptTableError).columns
    return "prompt" not in columns and any(map(language_of, columns))


def language_of(column: str) -> str | None:
    """The tag of a language that a column is named after; None for any other name."""
    try:
        tag = check_language(column)
    except TagError:
        return None
    is_language = re.split("[-_]", column.lower())[0] in _cldr_languages() or _WITH_SCRIPT.fullmatch(column)
    return tag if column not in KNOWN and is_language else None


@cache
def _cldr_languages() -> frozenset[str]:
    """`job`, `key` and `age` are tags of ISO 639-3 too, so that being a tag is not enough."""
    return frozenset(Locale("en").languages)


def _check_once(columns: list[str], languages: dict[str, str], path: Path) -> None:
    by_tag: dict[str, str] = {}
    for column in columns:
        tag = languages[column]
        if tag in by_tag:
            raise PromptTableError(f"{path}:1: columns {by_tag[tag]!r} and {column!r} are the same language, {tag!r}")
        by_tag[tag] = column


def _cell(row: dict[str, object], column: str, path: Path, line: int) -> str:
    """The text of a cell, empty where there is none; a number as text."""
    value = row.get(column)
    if kind_of(value) is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise PromptTableError(f"{path}:{line}: column {column}: the cell holds {kind_of(value)}, which is no text")
    return str(value)
