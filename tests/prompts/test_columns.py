"""Columns that the audit does not know: whatever they hold, the frame can be stored, read again and grouped by."""

from __future__ import annotations

import datetime as dt
import io
import re
import string
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoe_audit.analysis.grouping import group_columns
from emoe_audit.prompts.columns import KNOWN, RESERVED, frame_of
from emoe_audit.prompts.table import check_rows
from emoe_audit.quality.reference import JUDGED
from emoe_audit.runs import views
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.prompts import take_prompts
from emoe_audit.types import SET_ASIDE
from tests.synthetic import synthetic_plan

NAMES = st.one_of(
    st.text(max_size=6),
    st.text("aA", min_size=1, max_size=2),
    st.sampled_from([*sorted(RESERVED), "Key", "IMAGE", "Language", "image (yours)", "language_given", "group", "by"]),
)
CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.text("\0\ud800a", max_size=3),
    st.binary(max_size=3),
    st.dates(),
    st.datetimes(),
    st.timedeltas(),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)
ROWS = st.lists(
    st.dictionaries(NAMES.filter(lambda name: name not in KNOWN), CELLS, max_size=4), min_size=1, max_size=4
)


def rows(*extra: dict[str, Any]) -> list[dict[str, Any]]:
    known = {"source_id": "s", "prompt": "a dog", "language": "en", "region": None}
    return [{"prompt_id": str(place)} | known | own for place, own in enumerate(extra)]


@settings(deadline=None, max_examples=100)
@given(extra=ROWS)
def test_whatever_cells_hold_the_frame_is_stored_and_every_value_can_be_compared(extra: list[dict[str, Any]]) -> None:
    frame = check_rows(enumerate(rows(*extra), start=1), "t").frame
    again = pd.read_parquet(io.BytesIO(frame.to_parquet()))
    assert (again["prompt"].tolist(), [*again]) == (["a dog"] * len(extra), [*frame])
    assert len({name.casefold() for name in frame}) == len(frame.columns)
    assert all(hash(value) is not None for column in frame for value in frame[column])


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(extra=ROWS)
def test_whatever_cells_hold_a_run_answers_with_its_rows(
    extra: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = check_rows(enumerate(rows(*extra), start=1), "t")
    store = RunStore.open(tmp_path_factory.mktemp("r") / "run", plan=synthetic_plan())
    take_prompts(store, table)
    stored = store.query("SELECT * FROM results")
    assert len(stored) == len(extra)
    assert stored["prompt"].tolist() == ["a dog"] * len(extra)
    assert len({name.casefold() for name in stored}) == len(stored.columns)
    for column in group_columns([store.query("SELECT * FROM prompts")]):
        assert stored.groupby(column).size().sum() <= len(extra)


def test_every_column_that_a_run_measures_is_reserved() -> None:
    translations = re.search(r"\((.*)\)", views.NO_TRANSLATIONS)
    assert translations is not None
    written = [*views.COLUMNS.values(), translations[1]]
    measured = {column.split()[0] for table in written for column in table.split(", ")}
    assert measured | set(JUDGED) <= RESERVED | set(KNOWN)


@pytest.mark.parametrize("name", ["image", "Image", "clip_cosine", "Language", "KEY", "n_noise"])
def test_a_column_whose_name_the_run_needs_is_kept_under_another_and_not_grouped_by(name: str) -> None:
    frame, (told,) = frame_of(rows({name: "a"}, {name: "b"}), "t")
    assert frame[f"{name}{SET_ASIDE}"].tolist() == ["a", "b"]
    assert told.startswith(f"set aside, as the run has columns of these names: {name!r}; each is kept with ' (yours)'")
    assert group_columns([frame.drop(columns=list(KNOWN))]) == []


def test_names_that_differ_in_case_alone_are_kept_apart() -> None:
    frame, _ = frame_of(rows({"job": 1, "Job": 2, "JOB": 3}), "t")
    assert frame.iloc[0, 5:].to_dict() == {"job": 1, "Job (yours)": 2, "JOB 2 (yours)": 3}


@pytest.mark.parametrize(
    ("values", "expected", "told"),
    [
        ([1, "random"], ["1", "random"], "column 'x' holds numbers and texts; all are kept as texts"),
        ([True, "no", 2.5], ["true", "no", "2.5"], "column 'x' holds numbers and texts and true or false; all are"),
        ([2**63, 1], [str(2**63), "1"], "column 'x' holds numbers and whole numbers beyond 64 bits; all are kept as"),
        (["a\0b", "\ud800"], ["a\ufffdb", "\ufffd"], "column 'x' holds NUL or lone surrogates, which are no text"),
        ([{"a": 1}, 2], None, "column 'x' is left out: it holds mappings, neither texts nor numbers"),
        ([["a"], b"a"], None, "column 'x' is left out: it holds bytes and lists, neither texts nor numbers"),
        ([dt.timedelta(1), None], ["1 day, 0:00:00", None], "column 'x' holds times; all are kept as texts"),
        ([dt.datetime(9999, 1, 1)], ["9999-01-01 00:00:00"], "column 'x' holds times; all are kept as texts"),
    ],
)
def test_what_is_of_several_kinds_or_of_none_is_said_once(values: list[Any], expected: Any, told: str) -> None:
    frame, warnings = frame_of(rows(*({"x": value} for value in values)), "t")
    assert [warning[: len(told)] for warning in warnings] == [told]
    assert (frame["x"].astype(object).where(frame["x"].notna(), None).tolist() if "x" in frame else None) == expected


def test_columns_of_one_kind_are_as_they_were_and_nothing_is_said() -> None:
    values: dict[str, Any] = {"n": 1, "x": 0.5, "b": True, "t": "a", "d": dt.date(2020, 1, 1), "m": Decimal("1.5")}
    frame, told = frame_of(rows(values, dict.fromkeys(values)), "t")
    assert told == ()
    assert frame.iloc[0, 5:].to_dict() == values | {"m": 1.5}
    assert frame.iloc[1, 5:].isna().all()


def test_a_name_with_a_line_break_or_without_end_is_made_a_name() -> None:
    frame, told = frame_of(rows({"rating\n(1-5)": 1, "x" * 500: 2, "\0": 3}), "t")
    assert frame.columns.tolist()[5:] == ["rating (1-5)", "x" * 200, "column"]
    assert told[0] == "column 'rating\\n(1-5)' is called 'rating (1-5)'"


def test_more_cells_than_are_taken_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOE_AUDIT_MAX_CELLS", "20")
    with pytest.raises(Exception, match="t: 21 cells of a table, at most 20 are taken; set EMOE_AUDIT_MAX_CELLS"):
        frame_of(rows({"a": 1}, {"b": 1}, {})[:3], "t")


def test_columns_of_many_names_are_read_in_order() -> None:
    names = list(string.ascii_lowercase)
    frame, _ = frame_of(rows(*({name: 1} for name in names)), "t")
    assert frame.columns.tolist() == ["prompt_id", "source_id", "prompt", "language", "region", *names]


def test_a_table_that_is_read_is_kept_by_the_run_as_it_was_read(tmp_path: Path) -> None:
    table = check_rows(enumerate(rows({"image": "a.jpg", "job": "vet"}), start=1), "t")
    store = RunStore.open(tmp_path / "run", plan=synthetic_plan())
    take_prompts(store, table)
    kept = store.query("SELECT * FROM results").iloc[0]
    assert (kept["image (yours)"], kept["job"], kept["image"]) == ("a.jpg", "vet", None)
