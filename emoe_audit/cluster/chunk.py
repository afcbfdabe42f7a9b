"""Some rows that one worker works on at a time, and what they have cost so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

TRIES = 3
"""Workers that may be lost over a chunk, or over one row."""
MACHINES = 10
"""Machines that may be lost below it: those go for reasons of their own, and a row can be the reason."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Rows, and what was lost over them."""

    rows: Sequence[Any]
    workers: int = 0
    """That died while they worked on it."""
    machines: int = 0
    """That went with the worker on them."""
    is_suspect: bool = False
    """Whether it is a part of a chunk over which as many were lost as may be."""
    why: str = ""
    """What was said of the last loss."""

    def after_loss(self, why: str, *, with_machine: bool) -> Chunk:
        """The same, one worker later."""
        return replace(self, workers=self.workers + (not with_machine), machines=self.machines + with_machine, why=why)

    @property
    def is_spent(self) -> bool:
        """Whether it is not tried again as it is: a part of a suspect one is divided at the first loss."""
        if self.is_suspect and len(self.rows) > 1:
            return self.workers + self.machines > 0
        return self.workers >= TRIES or self.machines >= MACHINES

    def halves(self) -> list[Chunk]:
        """Its two parts, one of which holds the row that kills workers. A single row has its own tries again."""
        middle = len(self.rows) // 2
        parts = (self.rows[:middle], self.rows[middle:])
        return [Chunk(rows=part, is_suspect=True, why=self.why) for part in parts]

    def verdict(self) -> str:
        """What is said of a row that is given up."""
        with_them = f" and {self.machines} machines" if self.machines else ""
        return f"{self.workers} workers{with_them} were lost while each worked on this row alone; the last: {self.why}"
