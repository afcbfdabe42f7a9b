"""A figure and what it is held against."""

from __future__ import annotations

import pytest

from tests.benchmarks.gpu.findings import Finding, line, read, written


@pytest.mark.parametrize(
    ("value", "holds"), [(0.9, False), (1.0, True), (1.5, True), (2.0, True), (2.1, False), (float("nan"), False)]
)
def test_a_figure_holds_between_its_bounds_and_never_if_it_is_missing(value: float, holds: bool) -> None:
    assert Finding(what="it", value=value, at_least=1, at_most=2).holds == holds


def test_a_figure_without_bounds_only_tells() -> None:
    own = Finding(what="prompts_per_second", value=3.0)
    assert own.holds
    assert line(own).split() == ["prompts_per_second", "3"]


def test_a_line_says_what_failed_and_against_what() -> None:
    assert line(Finding(what="share", value=0.25, at_least=0.5)).split() == [
        *("FAIL", "share", "0.25", "at", "least", "0.5")
    ]


def test_findings_come_through_from_another_process() -> None:
    own = [Finding(what="a", value=1.0), Finding(what="b", value=2.0, at_least=1, at_most=3)]
    assert read(written(own)) == own
