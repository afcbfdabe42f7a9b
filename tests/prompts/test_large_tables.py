"""Tables that are read some rows at a time: the same, whatever is held at once, and no more memory for more rows."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pandas as pd
import pytest

from emoe_audit.prompts import spool
from emoe_audit.prompts import table as tables
from emoe_audit.prompts.captions import choose_captions, compact, too_large
from emoe_audit.prompts.language_check import MOST_LOOKED_AT, language_warnings
from emoe_audit.prompts.read import read_prompts
from emoe_audit.prompts.table import PromptTable
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.prompts import take_prompts
from tests.synthetic import synthetic_plan

MIXED: list[dict[str, object]] = [
    {"prompt": "a dog", "language": "en", "prompt_id": "1", "rank": 1, "job": "nurse", "seen": True},
    {"prompt": "ein Hund", "language": "de", "prompt_id": "2", "rank": None, "job": 7, "seen": None},
    {"prompt": "", "language": "en", "prompt_id": "3"},
    {"prompt": "un chien", "language": "fr", "prompt_id": "1", "rank": 3},
    {"prompt": "un perro", "language": "es", "prompt_id": "4", "rank": 2.5, "tags": ["a"]},
    {"prompt": "a cat", "language": "english", "prompt_id": "5"},
    {"prompt": "kissa", "language": "fi", "prompt_id": "2", "late": "x"},
    {"prompt": "a cow", "prompt_id": "6", "job": "a\0b"},
]


def read(folder: Path, rows: list[dict[str, object]]) -> PromptTable:
    file = folder / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_prompts(file)


@pytest.mark.parametrize("held", [1, 2, 3, 5])
def test_a_table_is_the_same_however_much_of_it_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    """Kinds of cells, ids that come twice and columns that come late are known only when all rows were seen."""
    whole = read(tmp_path, MIXED)
    monkeypatch.setattr(tables, "PART", held)
    monkeypatch.setattr(spool, "HELD_BYTES", 100)
    parted = read(tmp_path, MIXED)
    assert parted.n_prompts == whole.n_prompts == len(parted.frame) == 4
    assert parted.row_errors == whole.row_errors
    assert [error.line for error in parted.row_errors] == [3, 4, 6, 7]
    assert parted.warnings == whole.warnings
    assert parted.sha256 == whole.sha256
    pd.testing.assert_frame_equal(parted.frame, whole.frame, check_dtype=False)
    assert "late" not in parted.frame, "which stands only in a row that is left out"


@pytest.mark.parametrize("held", [1, 3])
def test_its_parts_are_stored_as_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    stored = []
    for place, size in enumerate((held, 100)):
        monkeypatch.setattr(tables, "PART", size)
        store = RunStore.open(tmp_path / str(place), plan=synthetic_plan())
        take_prompts(store, read(tmp_path, MIXED))
        stored.append(store.query("SELECT * FROM prompts ORDER BY prompt_id"))
    pd.testing.assert_frame_equal(*stored)
    assert stored[0]["rank"].tolist()[2:4] == [2.5, pytest.approx(float("nan"), nan_ok=True)]


def test_columns_may_come_in_any_part_and_numbers_be_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[dict[str, object]] = [{"prompt": f"p{place}", "prompt_id": f"{place}"} for place in range(8)]
    rows[2] |= {"a": "x"}
    rows[4] |= {"b": "y", "n": 2**60}
    rows[6] |= {"c": True, "n": 0.5}
    rows[7] |= {"n": 3}
    stored = []
    for size in (2, 100):
        monkeypatch.setattr(tables, "PART", size)
        store = RunStore.open(tmp_path / str(size), plan=synthetic_plan())
        table = read(tmp_path, rows)
        take_prompts(store, table)
        stored.append((table.sha256, store.query("SELECT * FROM prompts ORDER BY prompt_id")))
    assert stored[0][0] == stored[1][0]
    pd.testing.assert_frame_equal(stored[0][1], stored[1][1])
    assert stored[0][1]["n"].dropna().tolist() == [2.0**60, 0.5, 3.0]
    assert stored[0][1]["c"].dropna().tolist() == [True]


def test_four_times_the_rows_take_no_more_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PART", 500)
    monkeypatch.setattr(spool, "HELD_BYTES", 50_000)
    peaks = []
    for n in (5_000, 20_000):
        rows: list[dict[str, object]] = [{"prompt": f"a picture of number {place:09}"} for place in range(n)]
        read(tmp_path, rows[:1])
        (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        del rows
        tracemalloc.start()
        store = RunStore.open(tmp_path / f"run{n}", plan=synthetic_plan())
        take_prompts(store, read_prompts(tmp_path / "prompts.jsonl"))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert store.query("SELECT count(*) AS n FROM prompts")["n"].item() == n
    assert peaks[1] < 2 * peaks[0]


def test_captions_are_chosen_alike_from_texts_and_from_what_stands_for_them() -> None:
    rows = pd.DataFrame(
        {
            "source_id": [f"s{place % 30}" for place in range(200)],
            "language": [f"l{place % 7}" for place in range(200)],
            "prompt": [f"text {place % 41}" for place in range(200)],
        }
    )
    small = compact([rows.iloc[:70], rows.iloc[70:90], rows.iloc[90:]])
    for n_images in (0, 5, 23, 60, 200):
        assert choose_captions(small, n_images, seed=3) == choose_captions(rows, n_images, seed=3)
        assert too_large(small, n_images) == too_large(rows, n_images)


def test_of_a_tag_so_many_different_prompts_are_looked_at_wherever_they_stand() -> None:
    german = [f"ein rotes Haus Nummer {place} steht am Ufer des Flusses" for place in range(40)]
    parts = [
        pd.DataFrame({"prompt_id": [str(number)], "prompt": [text], "language": ["en"]})
        for number, text in enumerate(german)
    ]
    assert language_warnings(parts) == language_warnings([pd.concat(parts)])
    assert "look like de" in language_warnings(parts)[0]
    english = [f"a red house of number {place} by the river" for place in range(MOST_LOOKED_AT)]
    before = pd.DataFrame({"prompt_id": map(str, range(len(english))), "prompt": english, "language": "en"})
    assert language_warnings([before, *parts]) == []
