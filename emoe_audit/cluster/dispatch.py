"""A job on many workers: chunks are handed out, and those of a lost worker go back until they are done or divided.

Held are a few chunks, however many there are. A chunk whose worker is lost is tried on others, after the rest; where
too many were lost over it, it is divided, down to the row that kills workers, which is given up.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from emoe_audit.cluster.chunk import Chunk
from emoe_audit.cluster.pool import News
from emoe_audit.cluster.roster import Roster
from emoe_audit.errors import EnsembleError, WriteError
from emoe_audit.steps.hands import Job

TICK = 1.0
"""Seconds that are waited for news at once."""
AHEAD = 2
"""Chunks that a worker has, of which it works on the first."""
PATIENCE, SLOWER, UNKNOWN = 600.0, 20.0, 60.0
"""A worker has this many seconds for a chunk, and so many times as long as the slowest so far took for a row; before
any is known, seconds a row."""


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """Who takes what comes of the chunks."""

    done: Callable[[str, Sequence[Any], Any], None]
    """Called with the worker, the rows, and what it said."""
    given_up: Callable[[Any, str], None]
    """Called with a row over which workers are lost, and what is known of it."""
    waiting: Callable[[], None]
    """Called now and then."""


@dataclass(kw_only=True)
class Flight:
    """A chunk that a worker has."""

    chunk: Chunk
    begun: float | None = None
    """When the worker had nothing else left to do."""


class Dispatch:
    """One job, from its first chunk to its last."""

    def __init__(
        self,
        roster: Roster,
        chunks: Iterable[Sequence[Any]],
        receiver: Receiver,
        clock: Callable[[], float] = time.monotonic,
        *,
        is_timed: bool = True,
    ) -> None:
        """Of `chunks` no more are asked for than there is room for.

        Without `is_timed` a chunk may take as long as it does, while its worker gives signs of life.
        """
        self._roster, self._receiver, self._clock, self._is_timed = roster, receiver, clock, is_timed
        self._source = iter(chunks)
        self._is_dry = False
        self._waiting: deque[Chunk] = deque()
        self._again: deque[Chunk] = deque()
        """Over which a worker was lost: tried when all others are done, each by a worker that has nothing else."""
        self._flights: dict[str, deque[Flight]] = {}
        self._slowest = UNKNOWN
        self._is_pace_known = False

    def run(self, job: Job) -> None:
        """Work off all chunks.

        Raises:
            AuditError: a worker cannot work at all; nobody lives.
        """
        self._refill()
        if not self._waiting:
            return
        self._roster.begin(job)
        try:
            while self._waiting or self._again or any(self._flights.values()):
                self._hand_out()
                for news in self._roster.news(TICK):
                    self._hear(news)
                self._end_overdue()
                self._receiver.waiting()
        finally:
            self._leave()

    def _leave(self) -> None:
        """After an error: what workers still have is nothing that the next job should hear of."""
        for worker, flights in self._flights.items():
            if flights:
                self._roster.lose(worker)

    def _refill(self) -> None:
        """One more than there are workers, to know when the last come."""
        while not self._is_dry and len(self._waiting) <= self._roster.size:
            rows = next(self._source, None)
            self._is_dry = rows is None
            if rows:
                self._waiting.append(Chunk(rows=rows))

    def _hand_out(self) -> None:
        """One chunk each, then one ahead: while there are more than workers, so that the last are not queued up."""
        for depth in range(1, AHEAD + 1):
            for worker in self._roster.ready:
                self._refill()
                if len(self._flights.get(worker, ())) < depth and (depth == 1 or not self._is_dry):
                    self._give_next(worker)

    def _give_next(self, worker: str) -> None:
        is_idle = not self._flights.get(worker)
        queue = self._waiting or (self._again if is_idle else None)
        if queue:
            chunk = queue.popleft()
            self._roster.pool.give(worker, chunk.rows)
            flight = Flight(chunk=chunk, begun=self._clock() if is_idle else None)
            self._flights.setdefault(worker, deque()).append(flight)

    def _hear(self, news: News) -> None:
        if news.kind == "lost":
            self._lose(news.worker, news.why, with_machine=news.with_machine)
        elif isinstance(news.said, Exception):
            self._fail(news.worker, news.said)
        else:
            flight = self._flights[news.worker].popleft()
            self._learn_pace(flight)
            for following in list(self._flights[news.worker])[:1]:
                following.begun = self._clock()
            self._receiver.done(news.worker, flight.chunk.rows, news.said)

    def _learn_pace(self, flight: Flight) -> None:
        pace = (self._clock() - (flight.begun or self._clock())) / len(flight.chunk.rows)
        self._slowest = max(self._slowest, pace) if self._is_pace_known else pace
        self._is_pace_known = True

    def _fail(self, worker: str, error: Exception) -> None:
        """An error that is no row's: perhaps the worker's, so another tries; in the end it is the run's.

        No room to write, and weights that are others, are the run's at once.
        """
        chunk = self._flights[worker][0].chunk.after_loss(str(error), with_machine=False)
        if isinstance(error, WriteError | EnsembleError) or (chunk.is_spent and not chunk.is_suspect):
            raise error
        self._roster.lose(worker)
        self._lose(worker, str(error), with_machine=False)

    def _lose(self, worker: str, why: str, *, with_machine: bool) -> None:
        """What it worked on is suspect; what it had ahead was never begun."""
        flights = self._flights.pop(worker, deque())
        self._waiting.extendleft(own.chunk for own in list(flights)[1:])
        if flights:
            self._try_again(flights[0].chunk.after_loss(why, with_machine=with_machine))

    def _try_again(self, chunk: Chunk) -> None:
        if not chunk.is_spent:
            self._again.append(chunk)
        elif len(chunk.rows) > 1:
            self._again.extend(chunk.halves())
        else:
            self._receiver.given_up(chunk.rows[0], chunk.verdict())

    def _end_overdue(self) -> None:
        if not self._is_timed:
            return
        for worker, flights in list(self._flights.items()):
            begun = flights[0].begun if flights else None
            took = self._clock() - begun if begun is not None else 0.0
            if flights and took > PATIENCE + SLOWER * self._slowest * len(flights[0].chunk.rows):
                self._roster.lose(worker)
                self._lose(worker, f"came to no end in {took:.0f} s", with_machine=False)
