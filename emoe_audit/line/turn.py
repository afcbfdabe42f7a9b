"""Taking turns: a process waits for its own, and while it works gives way to whoever goes before it.

Way is given between two modules of a network, so within one layer of one step: what a person waits for does not wait
for a chunk of an audit. The audit stays in memory and goes on where it was. What runs no network, as an analysis, gives
no way: there a person works beside it after some seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from emoe_audit.errors import AuditError
from emoe_audit.line import order
from emoe_audit.line.tickets import LATEST, WORKING, Kind, Place, is_taken, let_go, line, opened_lock, place_in_line
from emoe_audit.progress import Progress, working_time

LOOK, LOOK_SELDOM = 0.05, 0.5
"""Seconds between two looks at the line: of a person, of who works or was stopped, and of who waits to begin."""
PATIENCE = 10.0
"""Seconds after which a person waits no longer for an audit that does not give way, and works beside it."""


class Turn:
    """The turn of one who stands in line; made by `taking_turns`."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._thread = threading.get_ident()
        self._wanted, self._over = threading.Event(), threading.Event()
        self._lock = opened_lock(WORKING)
        self._since = working_time()

    def begin(self, told: Callable[[int], None]) -> None:
        """Wait for the first time."""
        self.wait(told)
        self._since = working_time()

    def give_way(self) -> None:
        """Let those work that go before this one, if there are any; called often, by the thread that works."""
        if self._wanted.is_set() and threading.get_ident() == self._thread:
            stopped = time.monotonic()
            self._place.say(state="paused")
            let_go(self._lock)
            self.wait(nobody)
            working_time.stood_still(time.monotonic() - stopped)

    def wait(self, told: Callable[[int], None]) -> None:
        """Until it is its turn; `told` is called with how many come before, when that changes."""
        ticket, before = self._place.ticket, -1
        end = time.monotonic() + (PATIENCE if ticket.kind == "try" else float("inf"))
        is_soon = ticket.kind == "try" or ticket.state == "paused"
        while time.monotonic() < end:
            now = self._before()
            if now == 0 and is_taken(self._lock):
                break
            if now != before:
                told(before := now)
            time.sleep(LOOK if is_soon or now == 0 else LOOK_SELDOM)
        self._place.say(state="works")
        self._wanted.clear()

    def seconds_worked(self) -> float:
        """Without what it waited."""
        return working_time() - self._since

    def expect(self, seconds: float | None) -> None:
        """Say how much work is left."""
        self._place.say(seconds=None if seconds is None else min(seconds, LATEST))

    def watch(self) -> None:
        """Look out for whoever goes before, until it is over."""
        while not self._over.wait(LOOK):
            if not self._wanted.is_set() and self._before() > 0:
                self._wanted.set()

    def leave(self) -> None:
        """It is over."""
        self._over.set()
        let_go(self._lock)
        self._lock.close()

    def _before(self) -> int:
        """How many come before; 0 where the line cannot be seen."""
        with suppress(OSError, AuditError):
            tickets, now = line(), time.time()
            if order.first(tickets, now) == self._place.name:
                return 0
            names = [own.name for own in order.expected(tickets, now)]
            return names.index(self._place.name) if self._place.name in names else 0
        return 0


def nobody(_before: int) -> None:
    """Tell nobody how many come before."""


@contextmanager
def taking_turns(
    kind: Kind,
    what: str,
    *,
    seconds: float | None = None,
    deadline: float | None = None,
    told: Callable[[int], None] = nobody,
) -> Iterator[Turn]:
    """Wait for a turn, and give way within it as long as `give_way` is called.

    A `try` is not disturbed, and waits no longer than `PATIENCE`.

    Args:
        kind: What is done.
        what: The run folder.
        seconds: How long it takes, where that is known.
        deadline: When it is to be done, in seconds since 1970.
        told: Called while it waits for the first time with how many come before.

    Raises:
        AuditError: there is nowhere to stand in line.
    """
    with place_in_line(kind, what, seconds, deadline) as place:
        turn = Turn(place)
        watcher = threading.Thread(target=turn.watch, daemon=True)
        try:
            turn.begin(told)
            if kind != "try":
                watcher.start()
            yield turn
        finally:
            turn.leave()
            if watcher.is_alive():
                watcher.join()


@contextmanager
def between_modules(turn: Turn) -> Iterator[None]:
    """Within, way is given before any module of a network runs."""
    from torch.nn.modules.module import register_module_forward_pre_hook

    hook = register_module_forward_pre_hook(lambda _module, _given: turn.give_way())
    try:
        yield
    finally:
        hook.remove()


def with_turns(turn: Turn, progress: Progress, told: Callable[[str, int, int], None]) -> Progress:
    """A progress that tells somebody else, too, and gives way whenever something is done."""

    def report(stage: str, done: int, total: int, beside: str = "", /) -> None:
        progress(stage, done, total, *([beside] if beside else []))
        told(stage, done, total)
        turn.give_way()

    return report
