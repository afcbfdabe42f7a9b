"""Tables with a column for each language."""

from __future__ import annotations

from pathlib import Path

import pytest

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.wide import is_wide, language_of, read_wide


def write(folder: Path, content: str | bytes, name: str = "wide.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_columns_named_after_languages_are_texts_and_the_others_are_fields(tmp_path: Path) -> None:
    (row,) = read_wide(write(tmp_path, "source_id,job,en,zh_hant\n7,nurse,a nurse, 護理師 \n"))
    assert row.texts == {"en": "a nurse", "zh-Hant": "護理師"}
    assert row.fields == {"source_id": "7", "job": "nurse"}
    assert row.line == 2


@pytest.mark.parametrize("column", ["en", "fil", "sr-Latn", "pt_br", "id"])
def test_languages_that_cldr_knows_are_columns_of_texts(column: str) -> None:
    assert language_of(column) is not None


@pytest.mark.parametrize("column", ["job", "age", "key", "name", "source_id", "prompt", "image_id", "", "noun"])
def test_other_words_are_not_even_where_they_are_rare_tags(column: str) -> None:
    assert language_of(column) is None


def test_a_row_is_named_by_the_line_on_which_it_starts(tmp_path: Path) -> None:
    rows = list(read_wide(write(tmp_path, 'en,fi\n"a\ndog",koira\n\na cat,kissa\n')))
    assert [(row.line, row.texts["fi"]) for row in rows] == [(2, "koira"), (5, "kissa")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"wide\.csv:1: no column is a language among nothing"),
        ("job,text\nnurse,x\n", r"wide\.csv:1: no column is a language among 'job', 'text'; name them 'en'"),
        ("en,fi\na dog,koira\na, cat,kissa\n", r"wide\.csv:3: 3 fields, the header has 2; put quotes"),
        ('en,fi\n"a dog,koira\n', r"wide\.csv:2: not valid CSV: unexpected end of data"),
        ("en,fr\na dog,ch\xeen\n".encode("latin-1"), r"wide\.csv:\d: not UTF-8; save it as UTF-8"),
    ],
)
def test_a_table_that_cannot_be_read_says_why_and_where(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(PromptTableError, match=message):
        list(read_wide(write(tmp_path, content)))


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(PromptTableError, match=r"none\.csv: no such file"):
        list(read_wide(tmp_path / "none.csv"))


@pytest.mark.parametrize(
    ("name", "header", "expected"),
    [
        ("a.csv", "source_id,en,fi", True),
        ("a.csv", "prompt,language", False),
        ("a.csv", "prompt,en", False),
        ("a.csv", "text,label", False),
        ("a.jsonl", "source_id,en,fi", False),
    ],
)
def test_a_table_of_prompts_is_told_from_one_of_languages(
    tmp_path: Path, name: str, header: str, expected: bool
) -> None:
    assert is_wide(write(tmp_path, header + "\n", name)) is expected


def test_two_columns_of_one_language_are_told(tmp_path: Path) -> None:
    for header in ("en,eng_Latn", "en,en", "he,heb_Hebr"):
        with pytest.raises(PromptTableError, match=r"are the same language, '(en|he)'"):
            list(read_wide(write(tmp_path, f"{header}\na,b\n")))


@pytest.mark.parametrize("column", ["eng_Latn", "cmn-Hant", "cat_Latn"])
def test_a_tag_with_its_script_is_a_language(column: str) -> None:
    assert language_of(column) is not None


@pytest.mark.parametrize("column", ["cat", "may", "per", "mac", "fin"])
def test_a_word_that_is_another_code_of_a_language_is_none(column: str) -> None:
    assert language_of(column) is None


def test_a_cell_that_holds_no_text_is_told_with_its_line(tmp_path: Path) -> None:
    file = write(tmp_path, '{"en": "a dog", "fi": "koira"}\n{"en": ["a cat"], "fi": 5}\n', "wide.jsonl")
    rows = read_wide(file)
    assert next(rows).texts == {"en": "a dog", "fi": "koira"}
    with pytest.raises(PromptTableError, match=r"wide\.jsonl:2: column en: the cell holds lists, which is no text"):
        next(rows)
