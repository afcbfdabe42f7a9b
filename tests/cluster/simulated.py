"""A cluster that is made up: workers live, die and fall silent as a test says, and seconds pass when nobody is busy."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from emoe_audit.cluster.dispatch import Dispatch, Receiver
from emoe_audit.cluster.pool import News
from emoe_audit.cluster.roster import Roster
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.hands import Job
from emoe_audit.types import Stage


@dataclass(frozen=True)
class Nothing:
    """A job that only the made-up workers do."""

    stage: Stage = "score"

    def load(self) -> None:
        """Nothing is loaded."""

    def work(self, _loaded: Any, _own: RunStore, _rows: Sequence[Any]) -> None:
        """Nothing is done."""


@dataclass
class Worker:
    """One that was started."""

    is_there: bool = False
    is_silent: bool = False
    given: deque[Sequence[Any]] = field(default_factory=deque)


@dataclass
class Simulated:
    """See `emoe_audit.cluster.pool.Pool`. Each call of `news` is a step, in which every worker does one chunk."""

    places: int = 2
    kills: frozenset[Any] = frozenset()
    """Rows that kill their worker."""
    dies: Callable[[int, str], str] = lambda _step, _worker: ""
    """Asked of each worker that works in a step: "" is for no, "worker" or "machine"."""
    answers: Callable[[Sequence[Any]], Any] = lambda _rows: "done"
    sees: Callable[[str], Any] = lambda _worker: None
    loads: Callable[[str], Any] = lambda _worker: None
    """What it says of having loaded; `dead` is for one that dies over it, `never` for one that comes to no end."""
    is_stuck: bool = False
    """Whether chunks come to no end."""
    now: float = 0.0
    step: int = 0
    workers: dict[str, Worker] = field(default_factory=dict)
    events: list[News] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    dismissed: list[str] = field(default_factory=list)
    lost_over: list[Sequence[Any]] = field(default_factory=list)
    """The chunks over which workers were lost."""

    def clock(self) -> float:
        return self.now

    def room(self) -> int:
        return self.places

    def start(self) -> str:
        name = f"worker-{len(self.started) + 1}"
        self.started.append(name)
        self.workers[name] = Worker()
        return name

    def take_up(self, worker: str, _job: Job) -> None:
        said = self.loads(worker)
        if said == "dead":
            self.events.append(News(kind="lost", worker=worker, why="out of memory"))
        elif said != "never":
            self.events.append(News(kind="ready", worker=worker, said=said))

    def give(self, worker: str, rows: Sequence[Any]) -> None:
        self.workers[worker].given.append(rows)

    def ping(self, worker: str) -> None:
        if not self.workers[worker].is_silent:
            self.events.append(News(kind="sign", worker=worker))

    def dismiss(self, worker: str) -> None:
        self.dismissed.append(worker)
        self.workers.pop(worker, None)
        self.events = [news for news in self.events if news.worker != worker]

    def news(self, seconds: float) -> list[News]:
        self.step += 1
        found, self.events = self.events, []
        self._place()
        for name, worker in self.workers.items():
            if worker.given and not worker.is_silent and not self.is_stuck:
                found.append(self._worked(name, worker))
        self.now += 0.1 if found else seconds
        return found

    def _place(self) -> None:
        """Those for whom there is room come to life."""
        there = sum(worker.is_there for worker in self.workers.values())
        for name, worker in list(self.workers.items()):
            if not worker.is_there and there < self.places:
                worker.is_there, there = True, there + 1
                self.events.append(News(kind="seen", worker=name, said=self.sees(name)))

    def _worked(self, name: str, worker: Worker) -> News:
        rows = worker.given.popleft()
        is_deadly = bool(self.kills.intersection(self.names(rows)))
        said = None if is_deadly else self.answer(name, rows)
        death = "worker" if is_deadly else self.dies(self.step, name)
        if death:
            worker.given.clear()
            self.lost_over.append(rows)
            return News(kind="lost", worker=name, why=f"the {death} died", with_machine=death == "machine")
        return News(kind="done", worker=name, said=said)

    def names(self, rows: Sequence[Any]) -> Sequence[Any]:
        """As `kills` has them."""
        return rows

    def answer(self, _worker: str, rows: Sequence[Any]) -> Any:
        return self.answers(rows)


@dataclass
class Taken:
    """What came of a job."""

    done: list[Any] = field(default_factory=list)
    given_up: dict[Any, str] = field(default_factory=dict)

    def receiver(self) -> Receiver:
        return Receiver(
            done=lambda _worker, rows, _answer: self.done.extend(rows),
            given_up=self.given_up.__setitem__,
            waiting=lambda: None,
        )


def work_off(pool: Simulated, chunks: Any, wanted: int | None = None, taken: Taken | None = None) -> Taken:
    """Do a job on such a cluster."""
    taken = taken or Taken()
    roster = Roster(pool, wanted, pool.clock)
    roster.gather(5.0)
    Dispatch(roster, chunks, taken.receiver(), pool.clock).run(Nothing())
    return taken
