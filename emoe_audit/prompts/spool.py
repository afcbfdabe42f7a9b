"""Rows that wait to be read again: in memory while they are few, then in a temporary file that has no name."""

from __future__ import annotations

import pickle
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from emoe_audit.errors import PromptTableError

HELD_BYTES = 64 * 1024**2


class Spool:
    """Parts of a table, each a list of rows; what is read back was written by this process alone."""

    def __init__(self) -> None:
        """Begin empty."""
        self._file = tempfile.SpooledTemporaryFile(max_size=HELD_BYTES)  # noqa: SIM115 - closed in the next line
        weakref.finalize(self, self._file.close)
        self._places: list[int] = []
        self.n_rows = 0

    def append(self, rows: list[Any]) -> None:
        """Add a part.

        Raises:
            PromptTableError: there is no room for it.
        """
        try:
            self._places.append(self._file.seek(0, 2))
            pickle.dump(rows, self._file, protocol=pickle.HIGHEST_PROTOCOL)
        except OSError as error:
            raise PromptTableError(
                f"no room for the prompts among the temporary files: {error.strerror}; set TMPDIR to a folder with room"
            ) from error
        self.n_rows += len(rows)

    def __iter__(self) -> Iterator[list[Any]]:
        """The parts, in order."""
        for place in self._places:
            self._file.seek(place)
            yield pickle.load(self._file)


@dataclass(frozen=True)
class Kept:
    """The rows of a spool of rows with their lines, a part at a time, without those at some places."""

    spool: Spool
    left_out: frozenset[int]

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        first = 0
        for part in self.spool:
            kept = [row for place, (_, row) in enumerate(part, start=first) if place not in self.left_out]
            first += len(part)
            if kept:
                yield kept
