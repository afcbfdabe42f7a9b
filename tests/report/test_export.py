from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from emoe_audit.cli.export import export as command
from emoe_audit.errors import AuditError, StoreError
from emoe_audit.report import export
from emoe_audit.report.export import cell, csv_parts, export_groups, export_results
from emoe_audit.runs.store import RunStore
from tests.synthetic import synthetic_frame, synthetic_plan

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠1", "=cmd|' /C calc'!A0"]
STARTERS = tuple("=+-@\t\r\n＝＋－＠")
CHARACTERS = st.one_of(st.characters(codec="utf-8", exclude_characters="\0"), st.sampled_from("'=+-@,\"\r\n\t"))
NUMBERS = [float("inf"), -0.1, 1e-300, 1 / 3, 5.0]


def read(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, dtype={"key": str, "region": str, "group": str})


def rows_of(file: Path) -> list[list[str]]:
    """By Python's own reader, which takes nothing for a number."""
    with file.open(encoding="utf-8-sig", newline="") as opened:
        return list(csv.reader(opened))


def as_it_was(text: str) -> str:
    """What the module's docstring says of how to have a text back."""
    return text[1:] if re.match("'+[=+\\-@\t\r\n＝＋－＠]", text) else text


def prompts_run(path: Path, prompts: list[str], **columns: list[Any]) -> RunStore:
    """A run of some prompts with scores, and with further columns of the prompt table."""
    frame = synthetic_frame(len(prompts)).assign(prompt=prompts)
    store = RunStore.open(path, plan=synthetic_plan())
    store.write_prompts([frame[["key", "prompt_id", "source_id", "prompt", "language", "region"]].assign(**columns)])
    store.append("scores", frame[["key", "disagreement", "n_tokens", "truncated"]])
    return store


def test_every_prompt_is_a_row_with_all_columns_of_the_results(run: RunStore, tmp_path: Path) -> None:
    exported = read(export_results(run, tmp_path / "run.csv"))
    expected = run.query("SELECT * FROM results").sort_values("prompt_id", ignore_index=True)
    pd.testing.assert_frame_equal(exported, expected.fillna(np.nan), check_dtype=False)


def test_the_table_of_groups_is_the_one_that_is_stored(run: RunStore, tmp_path: Path) -> None:
    exported = read(export_groups(run, tmp_path / "groups.csv"))
    expected = pd.read_parquet(run.path / "analysis" / "groups.parquet").sort_values(["by", "group", "measure"])
    pd.testing.assert_frame_equal(exported, expected.reset_index(drop=True), check_dtype=False)


def test_no_text_can_run_in_a_spreadsheet(tmp_path: Path) -> None:
    store = prompts_run(tmp_path / "run", FORMULAS, **{"=style": FORMULAS[::-1]})
    header, *rows = rows_of(export_results(store, tmp_path / "run.csv"))
    assert "'=style" in header
    texts = [text for row in rows for name, text in zip(header, row, strict=True) if name in ("prompt", "'=style")]
    assert sorted(texts) == sorted(f"'{formula}" for formula in FORMULAS * 2)


def test_hostile_prompts_come_back_as_they_were(hostile_run: RunStore, tmp_path: Path) -> None:
    exported = read(export_results(hostile_run, tmp_path / "run.csv"))
    expected = hostile_run.query("SELECT prompt, style FROM results ORDER BY prompt_id")
    for column in ("prompt", "style"):
        assert exported[column].map(as_it_was).to_list() == expected[column].to_list()


@settings(deadline=None)
@given(st.lists(st.text(CHARACTERS), min_size=1))
def test_any_text_is_made_safe_and_comes_back(texts: list[str]) -> None:
    content = "".join(csv_parts([pd.DataFrame({"text": pd.Series(texts, dtype=object), "n": range(len(texts))})]))
    by_pandas = pd.read_csv(io.StringIO(content, newline=""), keep_default_na=False, dtype={"text": object})
    by_python = [row[0] for row in csv.reader(io.StringIO(content, newline=""))][1:]
    for found in (by_pandas["text"].to_list(), by_python):
        assert not any(text.startswith(STARTERS) for text in found)
        assert [as_it_was(text) for text in found] == texts


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_numbers_stay_the_same_numbers(numbers: list[float]) -> None:
    content = "".join(csv_parts([pd.DataFrame({"x": numbers})]))
    assert [float(row["x"]) for row in csv.DictReader(io.StringIO(content))] == numbers


@pytest.mark.parametrize(("text", "written"), [("a\0b", "a\ufffdb"), ("\ud800", "\ufffd"), ("\0=1", "\ufffd=1")])
def test_what_is_no_text_is_replaced(text: str, written: str) -> None:
    assert cell(text) == written


def test_the_file_opens_in_the_right_encoding_and_has_the_lines_of_rfc_4180(run: RunStore, tmp_path: Path) -> None:
    content = export_groups(run, tmp_path / "groups.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbfby,group,measure,")
    assert content.count(b"\r\n") == content.count(b"\n") == 1 + len(run.query("SELECT * FROM groups"))


@pytest.mark.slow
@pytest.mark.parametrize("size", [7, 60, 120])
def test_the_file_does_not_depend_on_how_many_rows_are_held(
    size: int, own_run: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = export_results(own_run, tmp_path / "whole.csv").read_bytes()
    monkeypatch.setattr(export, "CHUNK_ROWS", size)
    assert export_results(own_run, tmp_path / "parts.csv").read_bytes() == whole


def test_whole_numbers_stay_whole_where_some_are_missing(tmp_path: Path) -> None:
    store = prompts_run(tmp_path / "run", ["a", "b"])
    scores = store.query("SELECT * FROM scores")
    (shard,) = (tmp_path / "run" / "scores").iterdir()
    shard.unlink()
    store.append("scores", scores[:1])
    header, first, second = rows_of(export_results(store, tmp_path / "run.csv"))
    place = header.index("n_tokens")
    assert [first[place], second[place]] == ["", str(scores["n_tokens"][0])]


def test_groups_of_a_run_that_is_not_analysed_are_refused(tmp_path: Path) -> None:
    store = prompts_run(tmp_path / "run", ["a"])
    with pytest.raises(StoreError, match="not analysed yet; run `emoe-audit analyze"):
        export_groups(store, tmp_path / "groups.csv")


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(run: RunStore, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(AuditError, match=r"taken: cannot be written: .*; make room, or write elsewhere"):
        export_results(run, tmp_path / "taken")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_an_export_that_fails_leaves_the_file_that_was_there(run: RunStore, tmp_path: Path) -> None:
    file = tmp_path / "run.csv"
    file.write_text("before")

    def broken(_value: object) -> object:
        raise MemoryError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(export, "cell", broken)
        export_results(run, file)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


def test_numbers_are_not_made_texts(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": NUMBERS, "n": pd.array([-1, None, 3, 4, 5], dtype="Int64"), "b": np.arange(5) > 2})
    rows = list(csv.reader(io.StringIO("".join(csv_parts([frame])))))[1:]
    assert [row[1:] for row in rows] == [["-1", "False"], ["", "False"], ["3", "False"], ["4", "True"], ["5", "True"]]
    assert [float(row[0]) for row in rows] == NUMBERS


@pytest.mark.parametrize(
    ("what", "start"),
    [
        ("csv", "\ufeffkey,prompt_id,"),
        ("groups", "\ufeffby,group,"),
        ("model-card", "---\nmodel-index:\n- name: synthetic"),
    ],
)
def test_the_command_writes_what_is_asked_for(what: str, start: str, run: RunStore, tmp_path: Path) -> None:
    file = tmp_path / "out"
    done = CliRunner().invoke(command, [str(run.path), "--what", what, "--out", str(file), "--json"])
    assert json.loads(done.output) == {"file": str(file)}
    assert file.read_text(encoding="utf-8").startswith(start)
