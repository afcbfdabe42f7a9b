"""Parquet from outside: the rows that pyarrow reads, unless a small file claims to be a large one."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emoe_audit.errors import PromptTableError
from emoe_audit.readers.parquet import check_parquet, read_parquet, read_parquet_rows


def write(path: Path, columns: dict[str, object], **options: object) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def test_rows_are_those_of_pyarrow_numbered_from_1(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", {"prompt": [f"dog {n}" for n in range(3000)], "n": list(range(3000))})
    rows = list(read_parquet_rows(path, PromptTableError))
    assert [line for line, _ in rows] == list(range(1, 3001))
    assert [row for _, row in rows] == pq.read_table(path).to_pylist()
    assert list(read_parquet_rows(path, PromptTableError, ["n"]))[2999] == (3000, {"n": 2999})


def test_a_whole_table_is_that_of_pyarrow(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", {"prompt": [f"dog {n}" for n in range(3000)], "n": list(range(3000))})
    assert read_parquet(path, PromptTableError).equals(pq.read_table(path))
    assert read_parquet(path, PromptTableError, ["n"]).equals(pq.read_table(path, columns=["n"]))


def test_pages_that_are_torn_under_a_foot_that_is_whole_end_in_a_message(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", {"prompt": [f"dog {n}" for n in range(3000)]})
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(500) + content[504:])
    check_parquet(path, PromptTableError)
    with pytest.raises(PromptTableError, match=r"t\.parquet: not a readable Parquet file"):
        read_parquet(path, PromptTableError)


def test_a_small_file_that_claims_five_million_rows_is_refused_before_any_is_decoded(tmp_path: Path) -> None:
    path = write(tmp_path / "bomb.parquet", {"prompt": pa.nulls(5_000_000, pa.string())})
    assert path.stat().st_size < 20_000
    with pytest.raises(PromptTableError, match="5,000,000 rows in a file of"):
        check_parquet(path, PromptTableError)


def test_a_text_that_is_said_again_and_again_is_refused_while_it_is_read(tmp_path: Path) -> None:
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 50_000, pa.int32()), pa.array(["x" * 100_000]))
    path = write(tmp_path / "bomb.parquet", {"prompt": texts}, store_schema=False)
    assert path.stat().st_size < 20_000
    check_parquet(path, PromptTableError)
    with pytest.raises(PromptTableError, match="holds more than 200 times the size of its file"):
        list(read_parquet_rows(path, PromptTableError))
    with pytest.raises(PromptTableError, match="holds more than 200 times the size of its file"):
        read_parquet(path, PromptTableError)


def test_a_text_that_is_no_utf_8_is_told(tmp_path: Path) -> None:
    torn = pa.array([b"caf\xe9"], pa.binary()).view(pa.string())
    with pytest.raises(PromptTableError, match=r"latin.parquet: not a readable Parquet file: .*Invalid UTF8"):
        read_parquet(write(tmp_path / "latin.parquet", {"path": torn}), PromptTableError)


def test_what_is_noted_in_the_foot_is_passed_over(tmp_path: Path) -> None:
    noted = pa.table({"key": ["a"]}).replace_schema_metadata({"pandas": b"\xff"})
    pq.write_table(noted, tmp_path / "noted.parquet")
    assert read_parquet(tmp_path / "noted.parquet", PromptTableError).to_pandas()["key"].to_list() == ["a"]


def test_a_table_of_ten_million_short_prompts_is_admitted(tmp_path: Path) -> None:
    numbers = pa.array(range(10_000_000)).cast(pa.string())
    schema = check_parquet(write(tmp_path / "large.parquet", {"prompt": numbers}), PromptTableError)
    assert schema.names == ["prompt"]


def test_more_columns_and_rows_than_are_taken_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = write(tmp_path / "wide.parquet", {f"c{n}": [1] for n in range(501)})
    with pytest.raises(PromptTableError, match="501 columns, at most 500 are taken; set EMOE_AUDIT_MAX_COLUMNS"):
        check_parquet(wide, PromptTableError)
    monkeypatch.setenv("EMOE_AUDIT_MAX_ROWS", "2")
    with pytest.raises(PromptTableError, match="3 rows, at most 2 are taken; set EMOE_AUDIT_MAX_ROWS"):
        check_parquet(write(tmp_path / "long.parquet", {"c": [1, 2, 3]}), PromptTableError)


def test_what_is_no_parquet_is_told(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"prompt": ["a dog"] * 100}), buffer)
    for name, content in {"text": b"no table", "cut": buffer.getvalue()[:-20], "empty": b""}.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(PromptTableError, match=f"{name}: not a readable Parquet file"):
            list(read_parquet_rows(path, PromptTableError))
