"""What is asked of whoever places workers, `emoe_audit.cluster.ray_pool`: nothing here knows of Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from emoe_audit.steps.hands import Job

Kind = Literal["seen", "ready", "sign", "done", "lost"]


@dataclass(frozen=True, kw_only=True)
class News:
    """Something that a worker said, or that is said of it."""

    kind: Kind
    """`seen`: it is there and sees the run; `ready`: it has loaded what the job takes; `sign`: it lives; `done`: a
    chunk; `lost`: it is gone."""
    worker: str
    said: Any = None
    """Its answer: an exception where it failed."""
    why: str = ""
    """It is lost."""
    with_machine: bool = False
    """Whether it is lost with the machine that it was on, or the way to it is."""


class Pool(Protocol):
    """Workers, by name. No call waits, but `news` for as long as it is told."""

    def room(self) -> int:
        """How many workers there is room for, those that are there counted in."""

    def start(self) -> str:
        """A new worker, which comes to life where and when there is room; `seen` is heard of it."""

    def take_up(self, worker: str, job: Job) -> None:
        """Have it load what a job takes; `ready` is heard of it."""

    def give(self, worker: str, rows: Sequence[Any]) -> None:
        """Have it work on some rows after those that it has; `done` is heard of it."""

    def ping(self, worker: str) -> None:
        """Ask for a sign of life."""

    def dismiss(self, worker: str) -> None:
        """End it; nothing more is heard of it."""

    def news(self, seconds: float) -> list[News]:
        """What is heard, waited for no longer than that."""
