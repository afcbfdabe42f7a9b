"""`files.jsonl`: a line for each file of a run, on the disk before the file takes its place."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from emoe_audit.errors import StoreError
from emoe_audit.readers.documents import parse_json
from emoe_audit.readers.limits import CELL, ROWS
from emoe_audit.readers.typed import typed
from emoe_audit.runs.digests import State
from emoe_audit.runs.files import no_link, write_whole, written


@dataclass(frozen=True, kw_only=True)
class Line:
    """What is about to lie at a path; None is nothing."""

    path: str
    state: State | None


def read_lines(file: Path) -> Iterator[Line]:
    """The lines that can be read; where one cannot, nothing is known of its file.

    Raises:
        StoreError: there are more than are taken.
    """
    if not file.is_file():
        return
    with file.open("rb") as opened:
        for place, text in enumerate(iter(lambda: opened.readline(CELL.value), b"")):
            ROWS.check(place, file, StoreError)
            try:
                line = typed(parse_json(text.decode(), str(file), StoreError), Line, str(file), StoreError)
            except (StoreError, UnicodeDecodeError):
                continue
            if is_inside(line.path):
                yield line


def add_line(file: Path, line: Line) -> None:
    """Add one, after whatever a kill left of another."""
    with written(file), open(file, "a+b", opener=no_link) as opened:
        opened.write((b"" if _ends_a_line(opened) else b"\n") + _text([line]))
        opened.flush()
        os.fsync(opened.fileno())


def write_lines(file: Path, lines: Iterable[Line]) -> None:
    """Write them in place of what was there."""
    write_whole(file, _text(lines))


def is_inside(name: str) -> bool:
    """Whether a path from a folder leads to something in it, where no link leads elsewhere."""
    return not name.startswith("/") and "\0" not in name and ".." not in name.split("/")


def _text(lines: Iterable[Line]) -> bytes:
    return "".join(json.dumps(asdict(line)) + "\n" for line in lines).encode()


def _ends_a_line(file: BinaryIO) -> bool:
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
