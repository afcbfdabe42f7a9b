"""Progress: one moving line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import io

import pytest

from emoe_audit.progress import Reporter, in_words


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


def test_a_terminal_line_moves_and_ends_with_a_line_break() -> None:
    written = report(Terminal())
    assert written.count("\n") == 1
    assert written.endswith("\n")
    assert written.count("\r") == 5


@pytest.mark.parametrize(("seconds", "words"), [(44.6, "45 s"), (90, "2 min"), (3000, "50 min"), (9000, "2.5 h")])
def test_durations_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
