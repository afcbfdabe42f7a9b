"""The workers of a run: who lives, who takes the place of one that is lost, and when there is nobody left to wait for.

Nothing here waits for ever. A worker that is silent is dismissed; so is one that does not come to an end of loading.
A run whose last sign of life is nearly a minute old ends with an error, and goes on when it is started again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from emoe_audit.cluster.pool import News, Pool
from emoe_audit.errors import AuditError, StoreError
from emoe_audit.steps.hands import Job

log = logging.getLogger(__name__)
PING = 5.0
"""Seconds between two questions for a sign of life."""
LIVES = 20.0
"""Seconds after a sign that a worker counts as living."""
SILENCE = 45.0
"""Seconds after which a silent worker is dismissed."""
NOBODY = 35.0
"""Seconds without a living worker after which the run ends; with `LIVES`, within a minute of the last sign."""
LOADS_SILENTLY, LOADS = 600.0, 3600.0
"""The same for one that loads: large libraries and weights keep it from answering. And seconds for all of it."""
FAILED_STARTS = 10
"""Workers in a row that die before they have done anything."""


@dataclass(kw_only=True)
class Member:
    """A worker."""

    state: Literal["starting", "loading", "ready"]
    since: float
    heard: float
    asked: float
    loads: int = 0
    """What it was told to load and has not said to have."""


class Roster:
    """Keeps as many workers as there should be, all at one job."""

    def __init__(self, pool: Pool, wanted: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        """`wanted` workers; None for all that there is room for."""
        self.pool = pool
        self._wanted, self._clock = wanted, clock
        self._members: dict[str, Member] = {}
        self._job: Job | None = None
        self._lived, self._looked, self._listened = clock() + LIVES, float("-inf"), clock()
        self._was_ready = False
        """Whether a worker has loaded what the job takes."""
        self._room = 0
        self._failed, self._why = 0, ""

    @property
    def ready(self) -> list[str]:
        """Those that can be given rows."""
        return [name for name, own in self._members.items() if own.state == "ready"]

    @property
    def n_living(self) -> int:
        """How many are known to live."""
        now = self._clock()
        return sum(self._is_living(own, now) for own in self._members.values())

    @property
    def size(self) -> int:
        """How many there should be."""
        return self._room if self._wanted is None else self._wanted

    def begin(self, job: Job) -> None:
        """All are at this job from now on; nobody was listened to since the last."""
        now = self._lived = self._listened = self._clock()
        self._job, self._was_ready = job, False
        for name, own in self._members.items():
            own.heard = own.since = now
            if own.state != "starting":
                self._load(name, own)

    def gather(self, seconds: float) -> None:
        """Wait until those that there is room for have come to life and see the run, but no longer than that.

        Raises:
            StoreError: one does not see it; nobody came to life.
        """
        end = self._clock() + seconds
        while self.n_living < max(1, min(self.size, self._room)) and (self._clock() < end or not self.n_living):
            for _ in self.news(1.0):
                pass

    def news(self, seconds: float) -> Iterator[News]:
        """What concerns the rows that were given: `done` and `lost`.

        Raises:
            AuditError: a worker does not see the run or cannot load, before any could; nobody lives.
        """
        self._forgive_own_absence()
        self._fill_up()
        for told in (self.pool.news(seconds), self._overdue()):
            for own in told:
                if own.worker in self._members:
                    yield from self._heard(own)
        self._ask()
        self._check_anybody_lives()
        self._listened = self._clock()

    def _forgive_own_absence(self) -> None:
        """A worker is not silent while nobody listens: this process may have been stopped, or waited for a file."""
        away = self._clock() - self._listened
        self._lived += away
        for own in self._members.values():
            own.heard, own.since = own.heard + away, own.since + away

    def lose(self, worker: str) -> None:
        """Let a worker go; another takes its place."""
        if self._members.pop(worker, None) is not None:
            self.pool.dismiss(worker)

    def _fill_up(self) -> None:
        now = self._clock()
        if now - self._looked >= PING:
            self._looked, self._room = now, self.pool.room()
        while len(self._members) < self.size:
            self._members[self.pool.start()] = Member(state="starting", since=now, heard=now, asked=now)

    def _heard(self, news: News) -> Iterator[News]:
        member = self._members[news.worker]
        if news.kind == "lost":
            self._note_loss(news, member)
            yield news
            return
        member.heard = self._clock()
        if isinstance(news.said, Exception) and news.kind in ("seen", "ready"):
            if not self._was_ready:
                raise news.said
            lost = replace(news, kind="lost", why=str(news.said))
            self._note_loss(lost, member)
            yield lost
            return
        if news.kind == "seen":
            self._load(news.worker, member)
        elif news.kind == "ready":
            member.loads -= 1
            member.state = "loading" if member.loads else "ready"
            self._was_ready = self._was_ready or member.state == "ready"
        elif news.kind == "done":
            self._failed = 0
            yield news

    def _load(self, name: str, member: Member) -> None:
        member.state, member.since = "loading", self._clock()
        if self._job is not None:
            member.loads += 1
            self.pool.take_up(name, self._job)

    def _note_loss(self, news: News, member: Member) -> None:
        self._why = news.why
        self._failed += member.state != "ready" and not news.with_machine
        log.info("worker %s is lost: %s", news.worker, news.why)
        self.lose(news.worker)
        if self._failed >= FAILED_STARTS:
            raise AuditError(
                f"{self._failed} workers in a row died before they had done anything; the last: {self._why}"
            )

    def _overdue(self) -> Iterator[News]:
        now = self._clock()
        for name, own in list(self._members.items()):
            silent, since = now - own.heard, now - own.since
            if (own.state == "ready" and silent > SILENCE) or (own.state == "loading" and silent > LOADS_SILENTLY):
                yield News(kind="lost", worker=name, why=f"has said nothing for {silent:.0f} s")
            elif own.state == "loading" and since > LOADS and self._job is not None:
                yield News(kind="lost", worker=name, why=f"has been loading for {since:.0f} s")

    def _ask(self) -> None:
        now = self._clock()
        for name, own in self._members.items():
            if own.state != "starting" and now - own.asked >= PING:
                own.asked = now
                self.pool.ping(name)

    def _is_living(self, member: Member, now: float) -> bool:
        return member.state == "loading" or (member.state == "ready" and now - member.heard <= LIVES)

    def _check_anybody_lives(self) -> None:
        now = self._clock()
        if self.n_living:
            self._lived = now
        elif now - self._lived > NOBODY:
            last = f"; the last: {self._why}" if self._why else ""
            raise StoreError(
                f"no worker has been alive for {now - self._lived:.0f} s; the cluster has room for {self._room} in all"
                f"{last}. Nothing that was computed is lost: see `ray status`, and give the same command again"
            )
