"""What a reader of the campaign is: an honest file for it, how it is made hostile, and what no reading may let pass.

What a reader lets pass is held against the file as plain Python reads it, never against the reader's own code.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hostile import alter
from tests.hostile.alter import Alter

Fault = str | None
BY_ENDING: dict[str, Alter] = {
    ".csv": alter.alter_csv,
    ".json": alter.alter_json,
    ".jsonl": alter.alter_json_lines,
    ".parquet": alter.alter_parquet,
    ".safetensors": alter.alter_safetensors,
}
"""How a file is made hostile; one of another ending has its bytes altered."""


def right(_value: Any, _file: Path) -> Fault:
    """Of a value of which nothing can be said."""
    return None


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One kind of file that can come from outside."""

    name: str
    make: Callable[[Path], None]
    """Writes an honest folder."""
    file: str
    """The file in it that is made hostile."""
    alter: Alter
    read: Callable[[Path], Any]
    """Reads the folder."""
    fault: Callable[[Any, Path], Fault] = right
    """What is wrong with a value that was read from the hostile file; None where it is right."""
    after: Callable[[Path], None] = lambda _folder: None
    """What somebody who made the file hostile would change beside it."""
    weight: int = 1
    """How often it is tried, relative to others."""


def alter_of(file: str | Path) -> Alter:
    """How a file of such an ending is made hostile."""
    return BY_ENDING.get(Path(file).suffix, alter.alter_bytes)


def written(path: Path, text: str) -> None:
    """Write an honest text, and the folders that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def copied(source: Path) -> Callable[[Path], None]:
    """An honest folder that is a copy of one."""

    def make(folder: Path) -> None:
        shutil.copytree(source, folder, dirs_exist_ok=True)

    return make


def difference(value: Any, other: Any) -> Fault:
    """The first place of a plain value at which another has something else, or nothing."""
    for place in _places_in(value):
        own, others = _at(value, place), _at(other, place)
        if own != others or isinstance(own, bool) is not isinstance(others, bool):
            return f"{'.'.join(map(str, place))}: {own!r:.60} and {others!r:.60}"
    return None


def _places_in(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the numbers and texts of a plain value stand."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, own in parts:
        yield from _places_in(own, (*place, key))
    if not isinstance(value, dict | list):
        yield place


def _at(value: Any, place: tuple[Any, ...]) -> Any:
    try:
        for key in place:
            value = value[key]
    except (KeyError, IndexError, TypeError):
        return f"nothing at {key!r:.60}"
    return value


def spread(readers: Iterable[Reader]) -> list[Reader]:
    """Each reader as often as its weight, in an order in which every stretch holds a bit of each."""
    own = list(readers)
    places = [((n + 0.5) / reader.weight, reader.name, reader) for reader in own for n in range(reader.weight)]
    return [reader for _, _, reader in sorted(places, key=lambda place: place[:2])]
