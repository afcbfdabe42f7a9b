"""Whatever happens to workers, every row is done once, and only a row that kills its workers is given up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoe_audit.cluster.chunk import MACHINES, TRIES
from emoe_audit.cluster.dispatch import AHEAD, Dispatch, Receiver
from emoe_audit.cluster.roster import Roster
from emoe_audit.errors import AuditError, WriteError
from emoe_audit.progress import chunks
from tests.cluster.simulated import Nothing, Simulated, Taken, work_off

ROWS = list(range(60))


@given(
    st.lists(st.sampled_from(["", "", "", "worker", "machine"]), max_size=60),
    st.integers(1, 5),
    st.integers(1, 9),
)
def test_every_row_is_done_once_whenever_workers_or_machines_die(deaths: list[str], places: int, size: int) -> None:
    died = iter(deaths)
    pool = Simulated(places=places, dies=lambda *_: next(died, ""))
    taken = work_off(pool, chunks(ROWS, size))
    blamed = set(taken.given_up)
    assert sorted([*taken.done, *blamed]) == ROWS
    assert all(pool.lost_over.count([row]) >= TRIES for row in blamed), "alone with a worker that died, each time"


@given(st.sets(st.sampled_from(ROWS), max_size=3), st.integers(1, 4), st.integers(1, 20))
def test_the_rows_that_kill_workers_are_found_and_all_others_are_done(poison: set[int], places: int, size: int) -> None:
    taken = work_off(Simulated(places=places, kills=frozenset(poison)), chunks(ROWS, size))
    assert set(taken.given_up) == poison
    assert sorted(taken.done) == [row for row in ROWS if row not in poison]


def test_to_find_a_row_that_kills_workers_costs_few_of_them() -> None:
    rows = list(range(256))
    pool = Simulated(kills=frozenset({77}))
    work_off(pool, [rows])
    assert len(pool.lost_over) == TRIES + 7 + TRIES, "tries of the whole, one for each halving, tries of the row"
    assert pool.lost_over[-TRIES:] == [[77]] * TRIES


def test_what_is_known_of_a_row_that_is_given_up_is_said() -> None:
    taken = work_off(Simulated(kills=frozenset({3})), [[3]])
    assert taken.given_up[3] == "3 workers were lost while each worked on this row alone; the last: the worker died"


def test_machines_that_go_are_not_blamed_on_a_row_unless_they_always_do() -> None:
    def go(times: int) -> Taken:
        left = iter(["machine"] * times)
        return work_off(Simulated(places=1, dies=lambda *_: next(left, "")), [[1]])

    assert go(MACHINES - 1).done == [1]
    assert "0 workers and 10 machines were lost" in go(MACHINES).given_up[1]


def test_what_a_lost_worker_had_ahead_is_nobody_s_fault() -> None:
    pool = Simulated(places=1, kills=frozenset({0}))
    taken = work_off(pool, ([row] for row in ROWS))
    assert pool.lost_over == [[0]] * TRIES
    assert taken.done == ROWS[1:], "first the others; the one that kills is tried at the end"


@pytest.mark.parametrize("places", [1, 3])
def test_no_more_chunks_are_asked_for_than_workers_can_have(places: int) -> None:
    taken, asked, ahead = Taken(), 0, list[int]()

    def source() -> Iterator[list[int]]:
        nonlocal asked
        for row in range(300):
            asked += 1
            ahead.append(asked - len(taken.done))
            yield [row]

    work_off(Simulated(places=places), source(), taken=taken)
    assert sorted(taken.done) == list(range(300))
    assert max(ahead) <= places * (AHEAD + 1) + 1


def test_the_last_chunks_are_not_queued_up_behind_one_worker() -> None:
    pool = Simulated(places=2)
    loaded = {"worker-1": None, "worker-2": "never"}
    pool.loads = loaded.get
    given: list[int] = []
    give = pool.give

    def counted(worker: str, rows: Any) -> None:
        give(worker, rows)
        given.append(len(pool.workers[worker].given))

    pool.give = counted  # type: ignore[method-assign]
    assert work_off(pool, [[1], [2]]).done == [1, 2]
    assert given[-1] == 1


def test_an_error_that_is_no_row_s_is_tried_by_others_and_then_is_the_run_s() -> None:
    pool = Simulated(answers=lambda _rows: AuditError("no room on the GPU"))
    with pytest.raises(AuditError, match="no room on the GPU"):
        work_off(pool, [[1, 2]])
    assert pool.dismissed == [f"worker-{number}" for number in (1, 2, 3)]


def test_an_error_of_one_worker_ends_that_worker_alone() -> None:
    said = iter([AuditError("no room on the GPU")])
    pool = Simulated(answers=lambda _rows: next(said, "done"))
    assert sorted(work_off(pool, chunks(ROWS, 5)).done) == ROWS
    assert len(pool.dismissed) == 1 and len(pool.started) == 3


def test_a_full_disk_ends_the_run_at_once() -> None:
    pool = Simulated(answers=lambda _rows: WriteError("no room"))
    with pytest.raises(WriteError, match="no room"):
        work_off(pool, [[1, 2]])
    assert len(pool.started) == 2, "nobody else is asked"


def test_a_chunk_that_comes_to_no_end_is_taken_from_its_worker() -> None:
    pool = Simulated(places=1, is_stuck=True)
    taken = work_off(pool, [[7]])
    assert "came to no end in" in taken.given_up[7]
    assert len(pool.dismissed) == TRIES
    assert pool.now < 3 * 3600


def test_after_an_error_the_next_job_hears_nothing_of_the_last() -> None:
    pool = Simulated(places=2)
    roster = Roster(pool, None, pool.clock)
    roster.gather(5.0)

    def no_more(_worker: str, _rows: Any, _answer: Any) -> None:
        raise AuditError("none of it holds")

    fails = Receiver(done=no_more, given_up=lambda *_: None, waiting=lambda: None)
    with pytest.raises(AuditError, match="none of it holds"):
        Dispatch(roster, chunks(ROWS, 1), fails, pool.clock).run(Nothing())
    taken = Taken()
    Dispatch(roster, [["a"], ["b"], ["c"]], taken.receiver(), pool.clock).run(Nothing())
    assert sorted(taken.done) == ["a", "b", "c"]


def test_nothing_is_loaded_where_there_is_nothing_to_do() -> None:
    pool = Simulated(loads=lambda _worker: pytest.fail("loaded"))
    assert work_off(pool, []).done == []
