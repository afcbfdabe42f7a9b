"""Prompt tables: good rows are kept as they are, bad rows and bad files name file, line and column."""

from __future__ import annotations

import csv
import json
import re
import time
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.read import read_prompts
from emoe_audit.prompts.table import MAX_PROMPT, write_csv

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40).filter(
    str.strip
)


def write(folder: Path, content: str | bytes, name: str = "prompts.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_only_the_prompt_is_required(tmp_path: Path) -> None:
    table = read_prompts(write(tmp_path, "prompt\na dog\na cat\n"))
    prompt = list(table.prompts())[1]
    assert (prompt.prompt, prompt.prompt_id, prompt.source_id) == ("a cat", "row-3", "row-3")
    assert (prompt.language, prompt.region) == ("und", None)


def test_tags_are_put_in_their_usual_case_and_other_columns_are_kept(tmp_path: Path) -> None:
    table = read_prompts(write(tmp_path, "prompt,language,region,job\n狗,ZH_hant,de,nurse\n"))
    assert table.frame.loc[0, ["language", "region", "job"]].tolist() == ["zh-Hant", "DE", "nurse"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_byte_order_mark_and_line_ends_change_nothing(tmp_path: Path, encoding: str, line_end: str) -> None:
    content = line_end.join(["prompt,language", "chien,fr", ""]).encode(encoding)
    table = read_prompts(write(tmp_path, content))
    assert table.frame["prompt"].tolist() == ["chien"]


@settings(deadline=None, max_examples=40)
@given(
    prompts=st.lists(TEXT, min_size=1, max_size=5),
    extra=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10),
)
def test_hostile_text_survives_writing_and_reading(
    prompts: list[str], extra: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    with (folder / "in.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["prompt", "note"], *([prompt, extra] for prompt in prompts)])
    first = read_prompts(folder / "in.csv")
    assert first.frame["prompt"].tolist() == prompts
    assert (first.frame["note"].fillna("") == extra).all()
    write_csv(first, folder / "out.csv")
    again = read_prompts(folder / "out.csv")
    pd.testing.assert_frame_equal(again.frame.fillna(""), first.frame.fillna(""))


def test_json_lines_and_parquet_give_the_same_rows_as_csv(tmp_path: Path) -> None:
    rows = [
        {"prompt_id": "1", "prompt": 'a "dog", so', "language": "en"},
        {"prompt_id": "2", "prompt": "chien", "language": "fr"},
    ]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    write(tmp_path, "\n".join(json.dumps(row) for row in rows), "a.jsonl")
    pd.DataFrame(rows).to_parquet(tmp_path / "a.parquet")
    tables = [read_prompts(tmp_path / name) for name in ("a.csv", "a.jsonl", "a.parquet")]
    assert len({table.sha256 for table in tables}) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"prompts\.csv: the file is empty; it needs a header line"),
        ("prompt,language\n", r"no prompt can be used: .*no row under the header"),
        ("promt,language\na dog,en\n", r"prompts\.csv:1: no column 'prompt' .*column 1 is called 'promt', rename it"),
        ("words;language\na dog;en\n", r"prompts\.csv:1: no column 'prompt' among 'words', 'language'"),
        ("prompt,prompt\na,b\n", r"prompts\.csv:1: two columns are called 'prompt'"),
        ('prompt,language\n"a\ndog",en\na cat,en,fr\n', r"prompts\.csv:4: 3 fields, the header has 2"),
        ('prompt\n"a dog\n', r"prompts\.csv:2: not valid CSV: unexpected end of data"),
        ("prompt\nchien fidèle\n".encode("latin-1"), r"prompts\.csv:\d: not UTF-8; save it as UTF-8"),
        ("prompt\na dog\n".encode("utf-16"), r"prompts\.csv:1: not UTF-8 but UTF-16; save it as UTF-8"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)), r"prompts\.csv:1: a binary file, not a table"),
        ("prompt,language\na dog,english\n", r"prompts\.csv:2: column language: 'english' is not .*nearest is 'en'"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_says_why_and_where(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(PromptTableError, match=message):
        read_prompts(write(tmp_path, content))


def test_a_zip_file_called_csv_is_a_binary_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "prompts.csv", "w") as archive:
        archive.writestr("a", "prompt\na dog\n")
    with pytest.raises(PromptTableError, match="binary file"):
        read_prompts(tmp_path / "prompts.csv")


def test_a_missing_file_and_an_unknown_format_say_so(tmp_path: Path) -> None:
    with pytest.raises(PromptTableError, match="no such file"):
        read_prompts(tmp_path / "none.csv")
    with pytest.raises(PromptTableError, match=r"cannot tell the format from '\.xlsx'; use \.csv"):
        read_prompts(write(tmp_path, "x", "prompts.xlsx"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2,,en,", "column prompt: the prompt is empty"),
        ("2,   ,en,", "column prompt: the prompt is empty"),
        ("1,a cat,en,", "column prompt_id: '1' stands in an earlier row too"),
        ("2,a cat,klingonese!,", "column language: 'klingonese!' is not a BCP-47 language tag"),
        ("2,a cat,en,Germany", "column region: 'Germany' is neither .*nearest is 'DE'"),
        ("2,a cat,en,UK", "column region: 'UK' is not an ISO 3166 country; United Kingdom is 'GB'"),
        ("2,a\0cat,en,", "column prompt: the prompt holds a NUL"),
        (f"2,{'x' * (MAX_PROMPT + 1)},en,", r"column prompt: the prompt has 20,001 characters"),
        (f"{'x' * 1001},a cat,en,", r"column prompt_id: 'x+'... has 1,001 characters, at most 1,000 are taken"),
        ("a\0b,a cat,en,", "column prompt_id: .* holds a NUL or a lone surrogate"),
        ("2,a cat,e\0n,", "column language: .* is not a BCP-47 language tag; use for example"),
        (f"2,a cat,{'x' * 5000},", "column language: 'x{60}' is not a BCP-47 language tag; use for example"),
        (f"2,a cat,en,{'x' * 5000}", "column region: 'x{60}' is neither an ISO 3166 country"),
    ],
    ids=range(13),
)
def test_a_bad_row_is_left_out_with_line_and_column_and_the_rest_stays(tmp_path: Path, line: str, message: str) -> None:
    content = f"prompt_id,prompt,language,region\n1,a dog,en,155\n{line}\n3,a cow,en,\n"
    table = read_prompts(write(tmp_path, content))
    assert table.frame["prompt_id"].tolist() == ["1", "3"]
    (error,) = table.row_errors
    assert error.line == 3
    assert re.search(rf"prompts\.csv:3: {message}", error.message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"prompt": "a"}\n{"prompt": \n', r"a\.jsonl:2:\d+: not valid JSON"),
        ('["a"]\n', r"a\.jsonl:1:1: expected a JSON object"),
        ('{"words": "a"}\n', r"a\.jsonl:1: no column 'prompt' among 'words'"),
    ],
)
def test_bad_json_lines_name_line_and_column(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(PromptTableError, match=message):
        read_prompts(write(tmp_path, content, "a.jsonl"))


def test_a_lone_surrogate_is_a_row_fault(tmp_path: Path) -> None:
    table = read_prompts(write(tmp_path, '{"prompt": "\\ud800"}\n{"prompt": "dog"}\n', "a.jsonl"))
    assert table.row_errors[0].message.endswith("which is no text")


def test_a_torn_parquet_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(PromptTableError, match="not a readable Parquet file"):
        read_prompts(write(tmp_path, b"PAR1 and then nothing", "a.parquet"))


def test_a_line_of_a_gigabyte_is_refused_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    with path.open("wb") as file:
        file.write(b"prompt\n")
        file.truncate(1_000_000_000)
    with path.open("r+b") as file:
        file.seek(7)
        file.write(b"a" * 3_000_000)
    started = time.perf_counter()
    with pytest.raises(PromptTableError, match=r"long\.csv:2:1000001: the line is longer than 1,000,000 characters"):
        read_prompts(path)
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    ("cell", "held"),
    [
        (["a cat", "kitty"], r"a list of 2 \('a cat' \.\.\.\)"),
        ({"en": "a dog"}, r"a mapping of 1 \('en' \.\.\.\)"),
        (True, "true"),
        (5, "the number 5"),
        (0.5, "the number 0.5"),
        (10**20, "the number 100000000000000000000"),
    ],
)
def test_a_prompt_that_is_no_text_is_a_row_error_that_says_what_the_cell_holds(
    tmp_path: Path, cell: object, held: str
) -> None:
    content = "".join(json.dumps({"prompt": own}) + "\n" for own in ("a dog", cell))
    (error,) = read_prompts(write(tmp_path, content, "a.jsonl")).row_errors
    assert re.search(rf"a\.jsonl:2: column prompt: the cell holds {held}, which is no text", error.message)


def test_bytes_are_no_prompt(tmp_path: Path) -> None:
    pd.DataFrame({"prompt": [b"a dog", b"\xff"]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(PromptTableError, match="column prompt: the cell holds 5 bytes, which is no text"):
        read_prompts(tmp_path / "a.parquet")


@pytest.mark.parametrize("column", ["prompt_id", "source_id", "language", "region"])
def test_ids_and_tags_that_are_no_text_are_row_errors(tmp_path: Path, column: str) -> None:
    content = "".join(json.dumps({"prompt": "a dog", column: own}) + "\n" for own in (None, ["en"]))
    (error,) = read_prompts(write(tmp_path, content, "a.jsonl")).row_errors
    assert error.message.endswith(
        f"a.jsonl:2: column {column}: the cell holds a list of 1 ('en' ...), which is no text"
    )


def test_a_row_of_json_lines_without_a_prompt_is_left_out_alone(tmp_path: Path) -> None:
    table = read_prompts(write(tmp_path, '{"prompt": "a dog"}\n{"language": "en"}\n', "a.jsonl"))
    assert table.frame["prompt"].tolist() == ["a dog"]
    assert table.row_errors[0].message.endswith("a.jsonl:2: column prompt: the prompt is empty")


def test_sixty_columns_or_two_thousand_are_read_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"c{place}" for place in range(2000)]
    path = write(tmp_path, ",".join(["prompt", *names]) + "\n" + "x," + ",".join("1" for _ in names) + "\n")
    with pytest.raises(PromptTableError, match="2,001 columns, at most 500 are taken; set EMOE_AUDIT_MAX_COLUMNS"):
        read_prompts(path)
    monkeypatch.setenv("EMOE_AUDIT_MAX_COLUMNS", "3000")
    assert len(read_prompts(path).frame.columns) == 2005
