"""Who is next, and when: a person before all, then by how late one may begin."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from emoe_audit.line.order import DAY, expected, first
from emoe_audit.line.tickets import Ticket

NOW = 1_000_000.0


def ticket(**about: Any) -> Ticket:
    return replace(Ticket(kind="audit", what="run", joined=NOW, seconds=60.0), **about)


def in_order(line: dict[str, Ticket], now: float = NOW) -> list[str]:
    return [own.name for own in expected(line, now)]


def test_nobody_is_first_where_nobody_is() -> None:
    assert first({}, NOW) is None


def test_what_a_person_waits_for_goes_before_all_the_earlier_first() -> None:
    line = {"1": ticket(state="works"), "2": ticket(kind="try"), "3": ticket(kind="try"), "4": ticket()}
    assert in_order(line) == ["2", "3", "1", "4"]


def test_without_deadlines_they_work_as_they_came_however_long_it_takes() -> None:
    line = {name: ticket(joined=NOW + place, seconds=s) for place, (name, s) in enumerate([("a", 9e5), ("b", 1.0)])}
    assert in_order(line) == ["a", "b"]


def test_the_tightest_goes_first() -> None:
    line = {
        "no deadline": ticket(),
        "much room": ticket(deadline=NOW + 5000, seconds=100),
        "little room": ticket(deadline=NOW + 5000, seconds=4800),
    }
    assert in_order(line) == ["little room", "much room", "no deadline"]


def test_who_has_no_deadline_goes_first_after_a_day() -> None:
    line = {"patient": ticket(joined=NOW - DAY), "tight": ticket(deadline=NOW + 120, seconds=60)}
    assert first(line, NOW) == "patient"


@pytest.mark.parametrize(
    ("about", "enters"),
    [
        ({"deadline": NOW + 100}, True),
        ({"deadline": NOW + 100, "seconds": None}, False),
        ({"deadline": None}, False),
        ({"deadline": NOW + 5000}, False),
        ({"deadline": NOW + 30}, False),
    ],
    ids=["late if it waited", "of unknown length", "no deadline", "in time if it waited", "late anyway"],
)
def test_one_that_works_is_stopped_for_one_that_would_be_late_and_need_not_be(
    about: dict[str, Any], enters: bool
) -> None:
    line = {"works": ticket(state="works", seconds=1000.0), "comes": ticket(**about)}
    assert (first(line, NOW) == "comes") is enters


def test_nobody_is_made_late() -> None:
    works = ticket(state="works", seconds=1000.0, deadline=NOW + 1050)
    assert first({"works": works, "comes": ticket(deadline=NOW + 100)}, NOW) == "works"


def test_one_that_was_stopped_goes_on_before_others_begin() -> None:
    line = {"a": ticket(joined=NOW - 5), "b": ticket(state="paused")}
    assert first(line, NOW) == "b"
    assert first(line | {"c": ticket(state="works")}, NOW) == "c"


def test_each_begins_where_the_one_before_ends_and_nothing_is_known_behind_the_unknown() -> None:
    line = {"a": ticket(state="works", seconds=30.0), "b": ticket(joined=NOW + 1), "c": ticket(joined=NOW + 2)}
    assert [(own.start, own.end) for own in expected(line, NOW)] == [
        (NOW, NOW + 30),
        (NOW + 30, NOW + 90),
        (NOW + 90, NOW + 150),
    ]
    unknown = line | {"b": ticket(joined=NOW + 1, seconds=None)}
    assert [(own.start, own.end) for own in expected(unknown, NOW)][1:] == [(NOW + 30, None), (None, None)]
