"""Ratings from elsewhere: good cells are averaged by prompt, bad cells name line and column, bad files say why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoe_audit.errors import QualityError
from emoe_audit.quality.imported import read_quality

IDS = ["p1", "p2", "p3"]


def write(folder: Path, content: str | bytes, name: str = "ratings.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_several_ratings_of_a_prompt_are_averaged_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "rater,prompt_id,rating,taste\na,p2,4,1\nb,p2,2,\nc,p1,5,2.5\n")
    found = read_quality(path, ["rating", "taste"], prompt_ids=IDS)
    expected = {"prompt_id": ["p2", "p1"], "rating": [3.0, 5.0], "n_rating": [2, 1]}
    pd.testing.assert_frame_equal(found.frame, pd.DataFrame(expected | {"taste": [1.0, 2.5], "n_taste": [1, 1]}))
    assert not found.row_errors


def test_a_prompt_that_one_column_lacks_is_undefined_there(tmp_path: Path) -> None:
    found = read_quality(write(tmp_path, "prompt_id,a,b\np1,1,\np2,,2\n"), ["a", "b"], prompt_ids=IDS).frame
    np.testing.assert_array_equal(found[["a", "b"]], [[1, np.nan], [np.nan, 2]])
    assert found[["n_a", "n_b"]].to_numpy().tolist() == [[1, 0], [0, 1]]


def test_the_three_formats_give_the_same(tmp_path: Path) -> None:
    rows = [{"prompt_id": "7", "rating": 0.5}, {"prompt_id": "8", "rating": None}, {"prompt_id": "7", "rating": 1}]
    frame = pd.DataFrame(rows)
    frame.to_csv(tmp_path / "r.csv", index=False)
    frame.astype({"prompt_id": int}).to_parquet(tmp_path / "r.parquet")
    write(tmp_path, "\n\n".join(json.dumps(row) for row in rows), "r.jsonl")
    for name in ("r.csv", "r.parquet", "r.jsonl"):
        found = read_quality(tmp_path / name, ["rating"], prompt_ids=["7", "8"])
        assert found.frame.to_dict("records") == [{"prompt_id": "7", "rating": 0.75, "n_rating": 2}]
        assert not found.row_errors


@pytest.mark.parametrize("cell", ["good", "3,5", "1e999", "-inf", "0x10", "4/5"])
def test_what_is_no_number_is_reported_with_line_and_column(cell: str, tmp_path: Path) -> None:
    path = write(tmp_path, f'prompt_id,note,rating\np1,"two\nlines",1\np2,"two\nlines","{cell}"\np3,,3\n')
    found = read_quality(path, ["rating"], prompt_ids=IDS)
    assert found.frame["prompt_id"].tolist() == ["p1", "p3"]
    [error] = found.row_errors
    assert (error.line, error.column, error.prompt_id, error.stage) == (4, "rating", "p2", "read")
    assert error.message == f"{path}:4: column rating: {cell!r} is not a finite number"


@pytest.mark.parametrize("value", [True, [4], {"a": 1}, 10**400, "\u202e4x"])
def test_a_value_of_another_kind_is_reported_too(value: Any, tmp_path: Path) -> None:
    rows = [{"prompt_id": "p1", "rating": value}, {"prompt_id": "p2", "rating": 2}]
    path = write(tmp_path, "\n".join(json.dumps(row) for row in rows), "r.jsonl")
    found = read_quality(path, ["rating"], prompt_ids=IDS)
    assert found.frame["prompt_id"].tolist() == ["p2"]
    assert [(error.line, error.column) for error in found.row_errors] == [(1, "rating")]


def test_prompts_that_the_run_does_not_have_are_reported(tmp_path: Path) -> None:
    path = write(tmp_path, "prompt_id,rating\np1,1\nP1,2\n,3\n")
    found = read_quality(path, ["rating"], prompt_ids=IDS)
    assert found.frame["n_rating"].tolist() == [1]
    assert [(error.line, error.column, error.prompt_id) for error in found.row_errors] == [
        (3, "prompt_id", "P1"),
        (4, "prompt_id", None),
    ]
    assert "the run has no prompt 'P1'" in found.row_errors[0].message


def test_rows_that_cannot_be_read_are_reported_by_line(tmp_path: Path) -> None:
    broken = {
        "r.csv": "prompt_id,rating\np1,1,extra\n\np2,2\n",
        "r.jsonl": '{"prompt_id": "p1", \n[1]\n{"prompt_id": "p2", "rating": 2}\n' + "[" * 100_000,
    }
    lines = {}
    for name, content in broken.items():
        found = read_quality(write(tmp_path, content, name), ["rating"], prompt_ids=IDS)
        assert found.frame["prompt_id"].tolist() == ["p2"]
        lines[name] = [error.line for error in found.row_errors]
    assert lines == {"r.csv": [2], "r.jsonl": [1, 2, 4]}


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("r.csv", "", "no column 'prompt_id' among none"),
        (
            "r.csv",
            "prompt_id,ratings\np1,1\n",
            "no column 'rating' among 'prompt_id', 'ratings'; the nearest is 'rat",
        ),
        ("r.csv", "prompt_id,rating,rating\np1,1,2\n", "two columns are called 'rating'"),
        ("r.csv", "prompt_id,rating\np1,x\n", "no rating can be used: .*r.csv:2: column rating: 'x'"),
        ("r.csv", "prompt_id,rating\np1,\n", "no rating can be used: .*no row with a number"),
        ("r.csv", 'prompt_id,rating\np1,"1"2\n', "r.csv:2: not valid CSV"),
        ("r.csv", "prompt_id,rating\np1,1\n".encode("utf-16"), "not UTF-8"),
        ("r.jsonl", '{"prompt_id": "p1"}\n', "no column 'rating'"),
        ("r.parquet", "no parquet", "not a readable Parquet file"),
        ("r.xlsx", "PK", "cannot tell the format from '.xlsx'; use .csv, .jsonl or .parquet"),
    ],
)
def test_a_file_that_is_no_table_of_ratings_says_why(
    name: str, content: str | bytes, told: str, tmp_path: Path
) -> None:
    with pytest.raises(QualityError, match=told):
        read_quality(write(tmp_path, content, name), ["rating"], prompt_ids=IDS)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(QualityError, match=r"gone\.csv: no such file"):
        read_quality(tmp_path / "gone.csv", ["rating"], prompt_ids=IDS)


@pytest.mark.parametrize(
    ("columns", "taken", "name"),
    [
        (["clip_cosine"], ["clip_cosine"], "clip_cosine"),
        (["noise"], ["n_noise"], "n_noise"),
        (["prompt_id"], [], "prompt_id"),
        (["a", "n_a"], [], "n_a"),
        (["a", "a"], [], "a"),
    ],
)
def test_a_column_that_is_there_already_is_refused(
    columns: list[str], taken: list[str], name: str, tmp_path: Path
) -> None:
    path = write(tmp_path, "prompt_id,clip_cosine,noise,a,n_a\np1,1,2,3,4\n")
    with pytest.raises(QualityError, match=f"a column '{name}' is there already; rename the one in the file"):
        read_quality(path, columns, prompt_ids=IDS, taken=taken)


def test_no_column_or_a_direction_of_an_unknown_one_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "prompt_id,error\np1,1\n")
    with pytest.raises(QualityError, match="name at least one column"):
        read_quality(path, [], prompt_ids=IDS)
    with pytest.raises(QualityError, match="'eror' is none of the columns to import: error"):
        read_quality(path, ["error"], prompt_ids=IDS, lower_is_better=["eror"])


def test_where_lower_is_better_quality_has_the_other_sign(tmp_path: Path) -> None:
    path = write(tmp_path, "prompt_id,error,rating\np1,0.5,3\np2,2,4\n")
    found = read_quality(path, ["error", "rating"], prompt_ids=IDS, lower_is_better=["error"])
    assert found.directions == {"error": "lower", "rating": "higher"}
    assert found.as_quality("error").to_dict() == {"p1": -0.5, "p2": -2.0}
    assert found.as_quality("rating").to_dict() == {"p1": 3.0, "p2": 4.0}
    assert found.frame["error"].tolist() == [0.5, 2.0]


@settings(deadline=None, max_examples=30)
@given(
    ratings=st.lists(st.tuples(st.sampled_from(IDS), st.floats(-1e6, 1e6)), min_size=1, max_size=20),
)
def test_means_and_counts_are_those_of_a_plain_sum(
    ratings: list[tuple[str, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = ["prompt_id,rating", *(f"{prompt_id},{value!r}" for prompt_id, value in ratings)]
    path = write(tmp_path_factory.mktemp("ratings"), "\n".join(lines))
    found = read_quality(path, ["rating"], prompt_ids=IDS).frame
    assert found["prompt_id"].tolist() == list(dict.fromkeys(prompt_id for prompt_id, _ in ratings))
    for row in found.itertuples():
        own = [value for prompt_id, value in ratings if prompt_id == row.prompt_id]
        assert row.n_rating == len(own)
        assert row.rating == pytest.approx(sum(own) / len(own), abs=1e-6)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("prompt_id;rating\np1;4,5\np2;-0,25\np3;3\n", {"p1": 4.5, "p2": -0.25, "p3": 3.0}),
        ("prompt_id\trating\np1\t4.5\n", {"p1": 4.5}),
        ("sep=;\nprompt_id;rating\np1;4,5\n", {"p1": 4.5}),
        ('prompt_id,rating,"note;a;b;c"\np1,4.5,\n', {"p1": 4.5}),
    ],
)
def test_ratings_of_a_spreadsheet_are_read_with_its_commas(
    content: str, expected: dict[str, float], tmp_path: Path
) -> None:
    found = read_quality(write(tmp_path, content), ["rating"], prompt_ids=IDS)
    assert found.as_quality("rating").to_dict() == expected
    assert found.row_errors == ()


def test_thousands_are_no_decimals_between_commas(tmp_path: Path) -> None:
    found = read_quality(write(tmp_path, 'prompt_id,rating\np1,"1,234"\np2,5\n'), ["rating"], prompt_ids=IDS)
    assert [error.line for error in found.row_errors] == [2]


def test_a_folder_is_no_file_of_ratings(tmp_path: Path) -> None:
    with pytest.raises(QualityError, match="a folder; give the table that lies in it"):
        read_quality(tmp_path, ["rating"], prompt_ids=IDS)
