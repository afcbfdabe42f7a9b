"""Long work: in parts, and how far it is. One line on stderr that moves on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TextIO, TypeVar, runtime_checkable

T = TypeVar("T")
PLAIN_SECONDS = 5.0
"""Between two plain lines."""
CLEAR_LINE = "\r\033[K"
FIRST_PART = 8
PART_SECONDS = 10.0
"""What a part of long work may take, so that it is seen to go on and a kill costs no more."""
GAIN = 1.25
"""How many times as fast twice as many at a time have to go for parts that take longer."""


@runtime_checkable
class Progress(Protocol):
    """Is told how far a stage is."""

    def __call__(self, stage: str, done: int, total: int, beside: str = "", /) -> None:
        """Take note; `beside` says who works where that is not this process, as `2 workers, 1 row left out`."""


class WorkingTime:
    """A clock of what this process works: it stands still while the process gives way to others, see `line`."""

    def __init__(self) -> None:
        self._waited = 0.0

    def __call__(self) -> float:
        """Seconds since some moment, without what was waited."""
        return time.monotonic() - self._waited

    def stood_still(self, seconds: float) -> None:
        """So long the process waited."""
        self._waited += seconds


working_time = WorkingTime()


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in order, `size` at a time."""
    left = iter(items)
    while part := list(islice(left, size)):
        yield part


def paced(items: Iterable[T], most: int, clock: Callable[[], float] = working_time) -> Iterator[list[T]]:
    """The items in order, at first a few at a time, in the end `most`, as far as that costs no more than it is worth.

    Each part is twice as large as the one before while parts take less than `PART_SECONDS`, or items go `GAIN` times as
    fast for it, as where experts are streamed from disk for each part; the second part is, to see that.
    """
    left, size, best = iter(items), min(FIRST_PART, most), float("inf")
    while part := list(islice(left, size)):
        started = clock()
        yield part
        seconds = clock() - started
        if seconds < PART_SECONDS or seconds / len(part) * GAIN < best:
            size = min(2 * size, most)
        best = min(best, seconds / len(part))


def silent(stage: str, done: int, total: int, beside: str = "", /) -> None:
    """Say nothing."""


@dataclass(kw_only=True)
class Counted:
    """Reports what is done of a stage, added up."""

    progress: Progress
    stage: str
    total: int
    done: int

    def __call__(self, made: int, beside: str = "") -> None:
        """So many more are done; nothing beside is not passed on, so that three arguments do for who is told."""
        self.done += made
        self.progress(self.stage, self.done, self.total, *([beside] if beside else []))


class Reporter:
    """Says how far a stage is, how fast it goes, and how long it will take."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = working_time) -> None:
        """Write to `stream`, by default stderr."""
        self._stream = stream if stream is not None else sys.stderr
        self._clock = clock
        self._stage, self._first, self._started, self._said = "", 0, 0.0, 0.0

    def __call__(self, stage: str, done: int, total: int, beside: str = "", /) -> None:
        """Take note; print unless the last line is too recent."""
        now = self._clock()
        if stage != self._stage:
            self._stage, self._first, self._started, self._said = stage, done, now, float("-inf")
        moving = self._stream.isatty()
        if done < total and not moving and now - self._said < PLAIN_SECONDS:
            return
        self._said = now
        line = f"{stage}: {done:,} of {total:,}{self._pace(done, total, now)}{beside and f', {beside}'}"
        end = "\n" if done >= total or not moving else ""
        self._stream.write((CLEAR_LINE if moving else "") + line + end)
        self._stream.flush()

    def _pace(self, done: int, total: int, now: float) -> str:
        made, seconds = done - self._first, now - self._started
        if made <= 0 or seconds <= 0:
            return ""
        left = (total - done) * seconds / made
        return f", {made / seconds:,.1f} a second" + (f", {in_words(left)} left" if done < total else "")


def in_words(seconds: float) -> str:
    """`45 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
