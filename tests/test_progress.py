"""Progress: one moving line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import io

import pytest

from emoe_audit.progress import Counted, Reporter, in_words


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
