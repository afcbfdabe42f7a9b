"""`errors.jsonl`: a line for each row of a run that was left out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from emoe_audit.errors import StoreError
from emoe_audit.readers.documents import parse_json
from emoe_audit.readers.limits import FAULTS
from emoe_audit.readers.typed import typed
from emoe_audit.runs.files import own_file
from emoe_audit.runs.ledger import ERRORS
from emoe_audit.types import RowError


def lines_of(faults: Iterable[RowError]) -> bytes:
    """A line for each, as the file holds them."""
    text = "".join(json.dumps(asdict(fault), ensure_ascii=False) + "\n" for fault in faults)
    return text.encode(errors="replace")


def read_faults(run: Path) -> list[RowError]:
    """Rows that were left out; a last line torn by a kill is passed over.

    Lines that are none are passed over too, and counted in a row of their own that stands first.

    Raises:
        StoreError: the file cannot be read, or is larger than is taken.
    """
    file = own_file(run, ERRORS)
    if file is None:
        return []
    try:
        FAULTS.check(file.stat().st_size, file, StoreError)
        lines = file.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise StoreError(f"{file}: cannot be read: {error.strerror}") from error
    found, others = [], []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(typed(parse_json(line.decode("utf-8"), ERRORS, StoreError), RowError, ERRORS, StoreError))
        except (StoreError, UnicodeDecodeError):
            others.append(number)
    return [_passed_over(others), *found] if others else found


def _passed_over(lines: list[int]) -> RowError:
    words = "1 line is" if len(lines) == 1 else f"{len(lines):,} lines are"
    return RowError(stage="read", message=f"{ERRORS}:{lines[0]}: {words} no row error, and passed over")
