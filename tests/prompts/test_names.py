"""Columns that are called otherwise than the audit calls them: taken where that is plain, and said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.read import read_prompts
from emoe_audit.prompts.table import PromptTable


def read(folder: Path, content: str, name: str = "t.csv") -> PromptTable:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return read_prompts(path)


@pytest.mark.parametrize("name", ["caption", "text", "Prompt", "TEXT"])
def test_the_prompt_by_another_name_is_taken_and_said(tmp_path: Path, name: str) -> None:
    table = read(tmp_path, f"{name},language\na dog,en\n")
    assert table.frame["prompt"].tolist() == ["a dog"]
    assert table.warnings == (f"column {name!r} is taken for 'prompt'",)


@pytest.mark.parametrize(
    ("name", "value", "known", "expected"),
    [
        ("lang", "fi", "language", "fi"),
        ("locale", "pt_BR", "language", "pt-BR"),
        ("Language Code", "eng", "language", "en"),
        ("country", "deu", "region", "DE"),
        ("Source ID", "s1", "source_id", "s1"),
    ],
)
def test_tags_and_ids_by_another_name_are_taken_and_said(
    tmp_path: Path, name: str, value: str, known: str, expected: str
) -> None:
    table = read(tmp_path, f"prompt,{name}\na dog,{value}\n")
    assert table.frame[known].tolist() == [expected]
    assert table.warnings == (f"column {name!r} is taken for {known!r}",)
    assert name not in table.frame


def test_a_known_column_that_is_there_is_the_one_that_counts(tmp_path: Path) -> None:
    table = read(tmp_path, "prompt,caption,language,lang\na dog,a cat,en,de\n")
    assert table.frame.loc[0, ["prompt", "caption", "language", "lang"]].tolist() == ["a dog", "a cat", "en", "de"]
    assert table.warnings == ()


def test_two_columns_that_could_be_the_prompt_are_asked_about(tmp_path: Path) -> None:
    with pytest.raises(PromptTableError, match="columns 'caption', 'text' could each be the prompt; call one of them"):
        read(tmp_path, "caption,text\na dog,a cat\n")


def test_two_columns_that_could_be_the_language_are_both_kept_as_they_are(tmp_path: Path) -> None:
    table = read(tmp_path, "prompt,lang,locale\na dog,en,en_US\n")
    assert table.frame.loc[0, ["language", "lang", "locale"]].tolist() == ["und", "en", "en_US"]
    assert table.warnings == ("columns 'lang', 'locale' could each be the language; call one of them 'language'",)


def test_countries_by_name_stay_a_column_of_their_own(tmp_path: Path) -> None:
    table = read(tmp_path, "prompt,country\na dog,Germany\na cat,Kenya\n")
    assert table.frame["country"].tolist() == ["Germany", "Kenya"]
    assert table.frame["region"].isna().all()
    assert "column 'country' is not taken for 'region': 'Germany' is neither" in table.warnings[0]
    assert table.row_errors == ()


def test_a_name_that_is_nearly_known_is_asked_about(tmp_path: Path) -> None:
    table = read(tmp_path, "prompt,langauge\na dog,en\n")
    assert table.warnings == ("no column 'language'; if 'langauge' is meant, rename it",)


@pytest.mark.parametrize(
    ("name", "content"),
    [("t.csv", "source_id,en,de\n1,a dog,ein Hund\n"), ("t.jsonl", '{"source_id": 1, "en": "a dog", "de": "Hund"}\n')],
)
def test_a_table_with_a_column_for_each_language_is_told_how_to_become_one_of_prompts(
    tmp_path: Path, name: str, content: str
) -> None:
    message = r"columns that are languages: 'en', 'de'; make one row a prompt of them: emoe-audit prompts join"
    with pytest.raises(PromptTableError, match=message):
        read(tmp_path, content, name)


def test_a_column_without_a_name_and_one_of_a_name_that_is_taken_are_said(tmp_path: Path) -> None:
    table = read(tmp_path, ",prompt,note,note\n0,a dog,1,2\n")
    assert table.frame.columns.tolist()[5:] == ["note"]
    told: Any = " ".join(table.warnings)
    assert "of columns that have one name, the first is read: 'note'" in told
    assert "columns without a name in the header are left out" in told


def test_captions_of_crossmodal_are_told_how_to_become_prompts(tmp_path: Path) -> None:
    with pytest.raises(PromptTableError, match=r"captions of Crossmodal-3600; .* emoe-audit prompts xm3600 CAPTIONS"):
        read(tmp_path, '{"image/key": "1", "en": {"caption": ["a dog"]}}\n', "captions.jsonl")
