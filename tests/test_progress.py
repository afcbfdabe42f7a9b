"""Progress: one moving line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import chain, repeat

import pytest

from emoe_audit.progress import FIRST_PART, PART_SECONDS, Counted, Reporter, in_words, paced, working_time


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def report(stream: io.StringIO, seconds: float = 1.0) -> str:
    clock = Clock()
    reporter = Reporter(stream, clock)
    for done in (20, 40, 60, 80, 100):
        reporter("scoring", done, 100)
        clock.now += seconds
    return stream.getvalue()


def test_plain_lines_come_at_the_start_now_and_then_and_at_the_end() -> None:
    assert report(io.StringIO()).splitlines() == ["scoring: 20 of 100", "scoring: 100 of 100, 20.0 a second"]
    assert len(report(io.StringIO(), seconds=6).splitlines()) == 5


def test_speed_and_time_left_count_only_what_this_start_did() -> None:
    line = report(io.StringIO(), seconds=10).splitlines()[1]
    assert line == "scoring: 40 of 100, 2.0 a second, 30 s left"


def test_who_works_elsewhere_stands_at_the_end_of_the_line() -> None:
    stream, clock = io.StringIO(), Clock()
    reporter = Reporter(stream, clock)
    for done, beside in ((0, ""), (1024, "2 workers, 1 row left out")):
        reporter("scoring", done, 4000, beside)
        clock.now += 29.2
    assert stream.getvalue().splitlines() == [
        "scoring: 0 of 4,000",
        "scoring: 1,024 of 4,000, 35.1 a second, 85 s left, 2 workers, 1 row left out",
    ]


def test_what_is_added_up_is_told_with_three_words_where_nobody_works_elsewhere() -> None:
    told: list[tuple[object, ...]] = []
    counted = Counted(progress=lambda *words: told.append(words), stage="scoring", total=9, done=2)
    counted(3)
    counted(4, "2 workers")
    assert told == [("scoring", 5, 9), ("scoring", 9, 9, "2 workers")]


def test_a_terminal_line_moves_and_ends_with_a_line_break() -> None:
    written = report(Terminal())
    assert written.count("\n") == 1
    assert written.endswith("\n")
    assert written.count("\r") == 5


@pytest.mark.parametrize(("seconds", "words"), [(44.6, "45 s"), (90, "2 min"), (3000, "50 min"), (9000, "2.5 h")])
def test_durations_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def sizes(seconds_of: Callable[[int], float], n: int = 3000, most: int = 1024) -> list[int]:
    """Of the parts of `n` items, where a part of some size takes some seconds."""
    clock, found = Clock(), []
    for part in paced(iter(range(n)), most, clock):
        found.append(len(part))
        clock.now += seconds_of(len(part))
    assert sum(found) == n
    return found


def test_fast_work_is_done_in_large_parts() -> None:
    assert sizes(lambda n: 0.004 * n) == [8, 16, 32, 64, 128, 256, 512, 1024, 960]


def test_slow_work_is_done_in_parts_of_some_seconds() -> None:
    """And never of more than twice the first, which is tried once."""
    assert sizes(lambda n: 0.3 * n, n=200) == [8, 16, 32, 64, 64, 16]
    assert sizes(lambda n: 30.0 * n, n=60) == [8, 16, 16, 16, 4]


def test_work_that_costs_as_much_for_many_as_for_one_is_done_in_large_parts() -> None:
    """As where experts are loaded anew for each part."""
    assert sizes(lambda n: 60 + 0.1 * n) == [8, 16, 32, 64, 128, 256, 512, 1024, 960]


def test_a_first_part_that_was_slow_for_once_is_forgotten() -> None:
    seconds = chain([100.0], repeat(1.0))
    assert sizes(lambda n: next(seconds), n=70) == [8, 16, 32, 14]


def test_while_a_process_gives_way_its_clock_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    now = Clock()
    monkeypatch.setattr("emoe_audit.progress.time.monotonic", now)
    monkeypatch.setattr(working_time, "_waited", 0.0)
    sizes = []
    for part in paced(range(10 * FIRST_PART), 1000):
        sizes.append(len(part))
        now.now += 1.0 + 100 * PART_SECONDS
        working_time.stood_still(100 * PART_SECONDS)
    assert sizes[:3] == [FIRST_PART, 2 * FIRST_PART, 4 * FIRST_PART], "a second each"
    assert working_time() == len(sizes)
