"""One reader for every table: what stands between the fields, rows by line, and bounds before the work."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoe_audit.errors import PromptTableError
from emoe_audit.readers.tables import Broken, Table, open_table

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


def write(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def opened(path: Path, *known: str) -> Table:
    return open_table(path, PromptTableError, known.__contains__)


def rows(path: Path, *known: str) -> list[tuple[int, Any]]:
    return list(opened(path, *known).rows)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff", "sep={}\n", "\ufeffsep={}\r\n", '"sep={}"\n', "\n\n"])
def test_what_stands_between_the_fields_is_found_however_the_file_starts(tmp_path: Path, mark: str, start: str) -> None:
    lines = ["a,b", '"x{0}y",1', "", "z,2"]
    content = start.format(mark) + "\n".join(line.replace(",", mark) for line in lines).format(mark)
    first = 2 + start.count("\n")
    expected = [(first, {"a": f"x{mark}y", "b": "1"}), (first + 2, {"a": "z", "b": "2"})]
    assert rows(write(tmp_path, content)) == expected


def test_another_mark_is_taken_where_the_file_declares_it(tmp_path: Path) -> None:
    assert rows(write(tmp_path, "sep=|\na|b\n1|2\n")) == [(3, {"a": "1", "b": "2"})]


def test_names_that_are_looked_for_decide_before_the_number_of_fields(tmp_path: Path) -> None:
    path = write(tmp_path, "prompt,a;b;c;d\ndog,1\n")
    assert rows(path, "prompt") == [(2, {"prompt": "dog", "a;b;c;d": "1"})]


@settings(deadline=None, max_examples=60)
@given(cells=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5), mark=st.sampled_from(",;\t"))
def test_the_rows_are_those_of_pythons_own_reader(
    cells: list[tuple[str, str]], mark: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=mark).writerows([("left", "right"), *cells])
    found = [row for _, row in rows(write(tmp_path_factory.mktemp("t"), file.getvalue()))]
    assert [(row["left"], row["right"]) for row in found] == [pair for pair in cells if any(pair)]


def test_lines_of_a_spreadsheet_that_hold_nothing_are_no_rows(tmp_path: Path) -> None:
    assert rows(write(tmp_path, "a;b\n1;2\n;\n;\n")) == [(2, {"a": "1", "b": "2"})]


def test_a_column_without_a_name_is_left_out_and_said_where_it_holds_anything(tmp_path: Path) -> None:
    index, empty = opened(write(tmp_path, ",a\n0,x\n")), opened(write(tmp_path, "a,,\nx,,\n", "u.csv"))
    assert (index.columns, index.unnamed, list(index.rows)) == (["a"], True, [(2, {"a": "x"})])
    assert (empty.columns, empty.unnamed) == (["a"], False)


def test_of_columns_of_one_name_the_first_is_read_and_one_that_is_looked_for_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "note,prompt,note\n1,x,2\n")
    table = opened(path, "prompt")
    assert (table.twice, list(table.rows)) == (("note",), [(2, {"note": "1", "prompt": "x"})])
    with pytest.raises(PromptTableError, match=r"t\.csv:1: two columns are called 'note'"):
        opened(path, "note")


@pytest.mark.parametrize(
    ("name", "content", "at"),
    [
        ("t.csv", "a,b\n1,2,3\n4,5\n", "f:2: 3 fields, the header has 2; put quotes"),
        ("t.jsonl", '{"a": 1,}\n{"a": 2}\n', "f:1:9: not valid JSON"),
        ("t.jsonl", '[1]\n{"a": 2}\n', "f:1:1: expected a JSON object"),
        ("t.jsonl", '{"a": 1, "a": 2}\n{"a": 2}\n', "f:1:1: not valid JSON: key 'a' is given twice"),
        ("t.jsonl", '{"a": 1, " a": 2}\n{"a": 2}\n', "f:1:1: two fields of one name"),
        ("t.jsonl", "[" * 100_000 + '\n{"a": 2}\n', "f:1:1: not valid JSON: nested more than 64 levels deep"),
        ("t.jsonl", '{"a": ' + "[" * 70 + "]" * 70 + '}\n{"a": 2}\n', "f:1:1: not valid JSON: nested more than 64"),
        ("t.jsonl", '[{"a": 1}]\n{"a": 2}\n', "f:1:1: a JSON array, not JSON lines; write one object a line"),
        ("t.jsonl", '[\n{"a": 1}\n]\n', "f:1:1: a JSON array, not JSON lines; write one object a line"),
    ],
)
def test_a_row_that_cannot_be_read_says_why_and_the_others_are_read(
    tmp_path: Path, name: str, content: str, at: str
) -> None:
    (line, broken), (_, row), *_ = rows(write(tmp_path, content, name))
    assert isinstance(broken, Broken)
    assert broken.at(f"f:{line}").startswith(at)
    assert isinstance(row, dict)


def test_whole_numbers_beyond_64_bits_stand_as_their_digits(tmp_path: Path) -> None:
    many = "1" + "0" * 5000
    content = f'{{"a": {2**63 - 1}, "b": {2**63}, "c": {many}, "d": -1}}\n'
    ((_, row),) = rows(write(tmp_path, content, "t.jsonl"))
    assert row == {"a": 2**63 - 1, "b": str(2**63), "c": many, "d": -1}


def test_the_columns_of_json_lines_are_those_of_all_rows(tmp_path: Path) -> None:
    path = write(tmp_path, '{"a": 1}\nbroken\n{"b": 2, "a": 3}\n', "t.jsonl")
    assert opened(path).columns == ["a", "b"]


def test_columns_of_parquet_that_hold_neither_texts_nor_numbers_are_not_read(tmp_path: Path) -> None:
    table = pa.table(
        {
            "n": pa.array([1]),
            "text": pa.array(["a"]).dictionary_encode(),
            "day": pa.array([dt.date(2020, 1, 1)]),
            "image": pa.array([{"bytes": b"x", "path": "x.png"}]),
            "tags": pa.array([["a", "b"]]),
            "raw": pa.array([b"\xff"]),
            "caption": pa.array([["a cat"]]),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    found = opened(tmp_path / "t.parquet", "caption")
    assert found.left_out == {"image": "mappings", "tags": "lists", "raw": "bytes"}
    assert list(found.rows) == [(1, {"n": 1, "text": "a", "day": dt.date(2020, 1, 1), "caption": ["a cat"]})]


def test_more_columns_rows_and_characters_than_are_taken_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("COLUMNS", "ROWS", "CELL"):
        monkeypatch.setenv(f"EMOE_AUDIT_MAX_{limit}", "40" if limit == "CELL" else "2")
        names = "abc" if limit == "COLUMNS" else "a"
        text = "x" * 50 if limit == "CELL" else "x"
        content = {
            "csv": ",".join(names) + "\n" + (",".join(text for _ in names) + "\n") * 3,
            "jsonl": "".join(json.dumps({name: text}) + "\n" for name in (names if len(names) > 1 else "aaa")),
        }
        for suffix, own in content.items():
            path = write(tmp_path, own, f"{limit}.{suffix}")
            with pytest.raises(PromptTableError, match=f"EMOE_AUDIT_MAX_{limit}"):
                rows(path)
        monkeypatch.delenv(f"EMOE_AUDIT_MAX_{limit}")


def test_a_long_text_in_parquet_is_told_with_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"a": ["x", "x" * 50]}), tmp_path / "t.parquet")
    monkeypatch.setenv("EMOE_AUDIT_MAX_CELL", "40")
    with pytest.raises(PromptTableError, match=r"t\.parquet:2: column a: 50 characters"):
        rows(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder", "a folder; give the table that lies in it"),
        ("none.csv", "none.csv: no such file"),
        ("x" * 300, "File name too long|no such file"),
        ("a\0b", "no such file"),
    ],
)
def test_what_is_no_file_is_told(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(PromptTableError, match=message):
        opened(tmp_path / name)
