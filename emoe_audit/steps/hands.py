"""Who does the work on rows: this process, or others that it has at hand (`emoe_audit.cluster`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from emoe_audit.runs.store import RunStore
from emoe_audit.types import Stage

Row = dict[str, Any]
"""Of the table `prompts`, see `emoe_audit.runs.pending`."""


class Job(Protocol):
    """What is done to rows, wherever that is; it can be pickled where what it loads can."""

    @property
    def stage(self) -> Stage:
        """Of the rows that it leaves out."""

    def load(self) -> Any:
        """What it takes: an engine, or an illustrator. Loaded once by whoever works."""

    def work(self, loaded: Any, own: RunStore, rows: Sequence[Any], /) -> Any:
        """Write what is made of some rows, and the errors of those that fail."""


class Hands(Protocol):
    """Do a job to rows that come in chunks."""

    def do(self, job: Job, own: RunStore, chunks: Iterable[list[Row]], told: Callable[[int, str], None]) -> None:
        """Work off all chunks.

        Args:
            job: What is done.
            own: Where it goes.
            chunks: Asked for one after the other, as there is room.
            told: Called with how many rows are done since the last call, and what is to be said beside that.
        """


class Here:
    """This process."""

    def do(self, job: Job, own: RunStore, chunks: Iterable[list[Row]], told: Callable[[int, str], None]) -> None:
        """Load, and work off chunk after chunk; nothing is loaded where there is none."""
        loaded = None
        for rows in chunks:
            loaded = job.load() if loaded is None else loaded
            job.work(loaded, own, rows)
            told(len(rows), "")
