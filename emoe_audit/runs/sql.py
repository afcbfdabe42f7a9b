"""SQL is put together here and nowhere else: a constant of the code, into whose holes only SQL goes that was made here.

What comes from a user or stands in a run never becomes SQL: a name is quoted, and a value is bound (`RunReader.query`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

PATTERN = re.compile(r"[*?\[]")
"""What makes DuckDB read a file's name as a pattern."""


class Sql(str):
    """A piece of SQL that holds nothing from outside but what is quoted."""

    __slots__ = ()


def sql(text: str, **parts: Sql) -> Sql:
    """A constant with its holes, `{name}`, filled.

    Raises:
        TypeError: a part is no `Sql`.
    """
    other = next((name for name, part in parts.items() if not isinstance(part, Sql)), None)
    if other is not None:
        raise TypeError(f"{other} is no SQL that was made here; quote a name, and bind a value")
    return Sql(text.format(**parts))


def joined(parts: Iterable[Sql], between: str = ", ") -> Sql:
    """Some pieces as a list, or as terms of a condition."""
    return Sql(between.join(sql("{part}", part=part) for part in parts))


def identifier(name: str) -> Sql:
    """A name of a column or table."""
    return Sql('"' + name.replace('"', '""') + '"')


def literal(value: Path | str) -> Sql:
    """A text, where none can be bound."""
    return Sql("'" + str(value).replace("'", "''") + "'")


def one_file(path: Path) -> Sql:
    """The name of a file to read, whatever DuckDB would see in it: `run[12]` is that folder and no pattern."""
    return literal(PATTERN.sub(r"[\g<0>]", str(path)))
