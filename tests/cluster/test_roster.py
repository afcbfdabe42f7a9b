"""Who works: as many as there should be, each replaced when it is lost; and nobody is waited for for ever."""

from __future__ import annotations

import re

import pytest

from emoe_audit.cluster.roster import FAILED_STARTS, SILENCE, Roster
from emoe_audit.errors import AuditError, EnsembleError, StoreError
from emoe_audit.progress import chunks
from tests.cluster.simulated import Nothing, Simulated, work_off

ROWS = list(range(40))


def test_there_are_as_many_workers_as_have_room_or_as_were_asked_for() -> None:
    for wanted, expected in ((None, 3), (2, 2)):
        pool = Simulated(places=3)
        work_off(pool, chunks(ROWS, 2), wanted)
        assert len(pool.started) == expected


def test_more_workers_than_have_room_wait_for_nobody() -> None:
    pool = Simulated(places=1)
    assert work_off(pool, chunks(ROWS, 5), wanted=4).done == ROWS
    assert sum(worker.is_there for worker in pool.workers.values()) == 1


def test_room_that_comes_later_is_used() -> None:
    pool = Simulated(places=1)

    def more(_step: int, _worker: str) -> str:
        pool.places = 3
        return ""

    pool.dies = more
    roster = Roster(pool, None, pool.clock)
    roster.gather(5.0)
    roster.begin(Nothing())
    for worker in roster.ready:
        pool.give(worker, [1])
    pool.places = 3
    for _ in range(20):
        list(roster.news(1.0))
    assert len(roster.ready) == 3


def test_a_lost_worker_is_replaced() -> None:
    pool = Simulated(places=2, dies=lambda step, worker: "worker" if worker == "worker-1" and step > 5 else "")
    assert sorted(work_off(pool, chunks(ROWS, 1)).done) == ROWS
    assert pool.started == ["worker-1", "worker-2", "worker-3"]
    assert pool.dismissed == ["worker-1"]


@pytest.mark.parametrize("places", [0, 2])
def test_a_run_without_a_living_worker_says_so_within_a_minute(places: int) -> None:
    pool = Simulated(places=places)

    def all_go(_step: int, _worker: str) -> str:
        pool.places = 0
        return "machine"

    pool.dies = all_go
    with pytest.raises(StoreError, match=re.escape("Nothing that was computed is lost")) as said:
        work_off(pool, chunks(ROWS, 5), wanted=2)
    assert pool.now <= 61
    assert ("the machine died" in str(said.value)) == bool(places)


def test_workers_that_all_fall_silent_end_the_run_within_a_minute_of_their_last_sign() -> None:
    pool = Simulated(places=2)
    roster = Roster(pool, None, pool.clock)
    roster.gather(5.0)
    roster.begin(Nothing())
    for _ in range(30):
        list(roster.news(1.0))
    for worker in pool.workers.values():
        worker.is_silent = True
    pool.places, silent_from = 0, pool.now
    with pytest.raises(StoreError, match="no worker has been alive for"):
        for _ in range(200):
            list(roster.news(1.0))
    assert 50 < pool.now - silent_from <= 61


def test_one_that_falls_silent_is_dismissed_and_its_rows_go_to_another() -> None:
    pool = Simulated(places=2)
    fallen: list[float] = []

    def falls(step: int, worker: str) -> str:
        if step > 6 and not fallen:
            fallen.append(pool.now)
            pool.workers["worker-2"].is_silent = True
        return ""

    pool.dies = falls
    assert sorted(work_off(pool, chunks(ROWS, 1)).done) == ROWS
    assert pool.dismissed == ["worker-2"]
    assert pool.now - fallen[0] >= SILENCE


def test_a_worker_that_loads_for_long_is_waited_for() -> None:
    pool = Simulated(places=1, loads=lambda _worker: "never")
    roster = Roster(pool, None, pool.clock)
    roster.gather(5.0)
    roster.begin(Nothing())
    while pool.now < 1800:
        list(roster.news(1.0))
    assert pool.dismissed == []
    while pool.now < 3700:
        list(roster.news(1.0))
    assert pool.dismissed == ["worker-1"], "but not for ever"


def test_a_worker_that_does_not_see_the_run_stops_it_before_anything_is_loaded() -> None:
    pool = Simulated(
        sees=lambda worker: StoreError("not the same folder") if worker == "worker-2" else None,
        loads=lambda _worker: pytest.fail("loaded"),
    )
    with pytest.raises(StoreError, match="not the same folder"):
        work_off(pool, [[1]])


def test_what_cannot_be_loaded_is_said_at_once() -> None:
    pool = Simulated(loads=lambda _worker: EnsembleError("no such expert"))
    with pytest.raises(EnsembleError, match="no such expert"):
        work_off(pool, [[1]])
    assert len(pool.started) == 2


def test_workers_that_all_die_while_they_load_end_the_run() -> None:
    pool = Simulated(loads=lambda _worker: "dead")
    with pytest.raises(AuditError, match=f"{FAILED_STARTS} workers in a row died .* the last: out of memory"):
        work_off(pool, [[1]])


def test_workers_are_not_silent_while_nobody_listens() -> None:
    """This process may be stopped for minutes, or wait for a file; signs are heard before anybody is judged."""
    pool = Simulated(places=2)
    roster = Roster(pool, None, pool.clock)
    roster.gather(5.0)
    roster.begin(Nothing())
    for _ in range(10):
        list(roster.news(1.0))
    for away in (50.0, 5000.0):
        pool.now += away
        for _ in range(3):
            assert list(roster.news(1.0)) == []
        assert roster.n_living == 2
    assert pool.dismissed == []


@pytest.mark.parametrize("of", ["sees", "loads"])
def test_one_that_cannot_load_where_others_could_is_replaced(of: str) -> None:
    pool = Simulated(places=2, dies=lambda step, worker: "worker" if worker == "worker-1" and step > 5 else "")
    setattr(pool, of, lambda worker: AuditError("no room on its disk") if worker == "worker-3" else None)
    assert sorted(work_off(pool, chunks(ROWS, 1)).done) == ROWS
    assert pool.started == ["worker-1", "worker-2", "worker-3", "worker-4"]
