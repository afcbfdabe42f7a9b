from __future__ import annotations

import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoe_audit.report.labels import chart_text, clip_text, counted, decimals, group_label, listing, number, share


@pytest.mark.parametrize(
    ("by", "group", "name"),
    [
        ("language", "fi", "Finnish"),
        ("language", "zh-Hant", "Chinese (Traditional)"),
        ("language", "not a tag!", "not a tag!"),
        ("language", "qqq", "qqq"),
        ("region", "419", "Latin America"),
        ("region", "FI", "Finland"),
        ("region", "<b>", "<b>"),
        ("style", "fi", "fi"),
    ],
)
def test_groups_have_english_names_where_one_is_known(by: str, group: str, name: str) -> None:
    assert group_label(by, group) == name


@given(st.text(), st.integers(2, 50))
def test_a_clipped_text_is_one_line_of_bounded_length(text: str, length: int) -> None:
    clipped = clip_text(text, length)
    assert len(clipped) <= length
    assert not any(unicodedata.category(c) in {"Cc", "Zl", "Zp"} for c in clipped)


def test_a_short_text_is_not_clipped() -> None:
    assert clip_text("a cat", 5) == "a cat"
    assert clip_text("a cats", 5) == "a ca…"


@given(st.text())
def test_a_chart_text_holds_no_markup_and_closes_the_direction_it_opens(text: str) -> None:
    shown = chart_text(text)
    assert "<" not in shown and ">" not in shown
    assert shown[0] == "\u2068" and shown[-1] == "\u2069"


def test_direction_overrides_are_taken_out() -> None:
    assert clip_text("a\u202eb", 9) == "a b"


@pytest.mark.parametrize(
    ("values", "places"), [([0.412], 3), ([0.0123], 4), ([12.3, 0.1], 1), ([1234.0], 0), ([], 3), ([math.nan, 0.5], 3)]
)
def test_the_largest_value_of_a_column_gets_three_significant_digits(values: list[float], places: int) -> None:
    assert decimals(values) == places


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [(0.1234, 2, "0.12"), (-0.5, 1, "−0.5"), (math.nan, 2, "–"), (1234.5, 1, "1,234.5"), (2.5e-9, 11, "2.50e-09")],
)
def test_numbers_are_written_for_people(value: float, places: int, text: str) -> None:
    assert number(value, places) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "none"), (0.033, "3.3%"), (1.0, "100%"), (0.5, "50%"), (math.nan, "–")]
)
def test_shares_are_percentages(value: float, text: str) -> None:
    assert share(value) == text


def test_lists_and_counts_read_as_english() -> None:
    assert [listing(["a", "b", "c"][:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert [counted(n, "row") for n in (0, 1, 2000)] == ["0 rows", "1 row", "2,000 rows"]
