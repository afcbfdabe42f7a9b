"""Translations join by caption and become pairs; captions of one image join by image and never do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from emoe_audit.analysis.paired import within_caption_differences
from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.join import join_translations, read_xm3600
from emoe_audit.prompts.read import read_prompts
from emoe_audit.prompts.table import write_csv

TABLE = "prompt_id,source_id,prompt,language,region,job\n1,dog,a dog,en,GB,\n2,cat,a cat,en,,vet\n"
IMAGES = "prompt_id,prompt,language,image_id,image_file\n1,a dog,en,0a1,dog.png\n2,a cat,en,0b2,cat.png\n"


def write(folder: Path, content: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def xm3600(path: Path, **changes: Any) -> Path:
    """As published: a line an image, a list of captions for each locale, written independently."""
    lines = [
        {
            "image/key": "0a1",
            "image/locale": "sw",
            "en": captions("A brown dog on a road", "Dog walking"),
            "fi": captions("Koira kävelee tiellä"),
        },
        {"image/key": "0b2", "image/locale": "fi", "fil": captions("Isang pusa")},
    ]
    lines[0] |= changes
    path.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n", encoding="utf-8")
    return path


def captions(*texts: str) -> dict[str, Any]:
    return {"caption": list(texts), "caption/tokenized": [text.split() for text in texts]}


def test_columns_of_languages_become_rows_of_the_same_caption(tmp_path: Path) -> None:
    wide = write(tmp_path, "source_id,fi,de\ndog,koira,ein Hund\ncat,,eine Katze\n", "wide.csv")
    frame = join_translations(write(tmp_path, TABLE), [wide]).frame
    assert frame[["source_id", "language", "prompt"]].to_numpy().tolist() == [
        ["dog", "en", "a dog"],
        ["cat", "en", "a cat"],
        ["dog", "fi", "koira"],
        ["dog", "de", "ein Hund"],
        ["cat", "de", "eine Katze"],
    ]
    assert set(frame["parallel"]) == {"translation"}
    assert frame["translation_source"].isna().tolist() == [True, True, False, False, False]
    assert set(frame["translation_source"].dropna()) == {"human"}


def test_a_translation_takes_what_it_lacks_from_its_caption(tmp_path: Path) -> None:
    long = write(tmp_path, "source_id,language,prompt,job\ndog,fi,koira,\ncat,fi,kissa,nurse\n", "fi.csv")
    frame = join_translations(write(tmp_path, TABLE), [long]).frame.set_index("prompt_id")
    assert frame.loc["dog-fi", ["region", "source_prompt"]].tolist() == ["GB", "a dog"]
    assert frame.loc["cat-fi", ["job", "source_prompt"]].tolist() == ["nurse", "a cat"]


def test_a_file_that_says_who_translated_is_believed(tmp_path: Path) -> None:
    content = "source_id,language,prompt,translation_source\ndog,fi,koira,machine: a/b\ncat,fi,kissa,\n"
    frame = join_translations(write(tmp_path, TABLE), [write(tmp_path, content, "fi.csv")]).frame
    assert frame["translation_source"].tolist()[2:] == ["machine: a/b", "human"]
    wide = write(tmp_path, "source_id,fi,translation_source\ndog,koira,machine: a/b\n", "wide.csv")
    assert join_translations(write(tmp_path, TABLE), [wide]).frame["translation_source"].tolist()[2:] == [
        "machine: a/b"
    ]


def test_a_table_with_columns_of_languages_stands_alone_and_its_first_is_the_original(tmp_path: Path) -> None:
    wide = write(tmp_path, "source_id,de,en\ndog,ein Hund,a dog\n", "wide.csv")
    frame = join_translations(wide, []).frame
    assert frame["prompt_id"].tolist() == ["dog-de", "dog-en"]
    assert frame["translation_source"].fillna("").tolist() == ["", "human"]
    assert frame["source_prompt"].tolist() == ["ein Hund", "ein Hund"]


def test_a_caption_without_translations_is_not_called_parallel(tmp_path: Path) -> None:
    long = write(tmp_path, "source_id,language,prompt\ndog,fi,koira\n", "fi.csv")
    frame = join_translations(write(tmp_path, TABLE), [long]).frame
    assert frame["parallel"].fillna("").tolist() == ["translation", "", "translation"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cow,fi,lehmä", r"fi\.csv: row-2 is left out: source_id 'cow' is in no row of .*table\.csv"),
        ("dog,,koira", r"fi\.csv: row-2 is left out: a translation needs a language"),
        ("dog,en,the dog", r"fi\.csv: row-2 is left out: 'dog' has another prompt in 'en' already"),
        ("dog,finnish,koira", r"fi\.csv:2: column language: 'finnish' is not a BCP-47 language tag"),
    ],
)
def test_a_translation_that_belongs_to_nothing_is_left_out_and_said(tmp_path: Path, line: str, message: str) -> None:
    long = write(tmp_path, f"source_id,language,prompt\n{line}\ncat,fi,kissa\n", "fi.csv")
    table = join_translations(write(tmp_path, TABLE), [long])
    assert table.frame["prompt"].tolist() == ["a dog", "a cat", "kissa"]
    (error,) = table.row_errors
    assert pd.Series([error.message]).str.contains(message).item(), error.message


def test_a_file_that_repeats_the_source_adds_nothing_and_complains_of_nothing(tmp_path: Path) -> None:
    long = write(tmp_path, "source_id,language,prompt\ndog,en,a dog\ndog,fi,koira\n", "fi.csv")
    table = join_translations(write(tmp_path, TABLE), [long])
    assert (len(table.frame), table.row_errors) == (3, ())


def test_a_joined_table_is_read_again_as_it_was_written(tmp_path: Path) -> None:
    long = write(tmp_path, "source_id,language,prompt\ndog,fi,koira\n", "fi.csv")
    table = join_translations(write(tmp_path, TABLE), [long])
    write_csv(table, tmp_path / "joined.csv")
    again = read_prompts(tmp_path / "joined.csv").frame
    pd.testing.assert_frame_equal(again.fillna(""), table.frame.fillna(""), check_dtype=False)


def test_nothing_to_join_is_said(tmp_path: Path) -> None:
    with pytest.raises(PromptTableError, match=r"table\.csv: nothing to join; give a file of translations"):
        join_translations(write(tmp_path, TABLE), [])


def test_captions_of_an_image_are_sources_of_their_own(tmp_path: Path) -> None:
    frame = read_xm3600(xm3600(tmp_path / "captions.jsonl")).frame
    assert frame["prompt"].tolist() == ["A brown dog on a road", "Dog walking", "Koira kävelee tiellä", "Isang pusa"]
    assert frame["language"].tolist() == ["en", "en", "fi", "fil"]
    assert frame["image_id"].tolist() == ["0a1", "0a1", "0a1", "0b2"]
    assert frame["image_file"].tolist() == ["0a1.jpg", "0a1.jpg", "0a1.jpg", "0b2.jpg"]
    assert frame["image_locale"].tolist() == ["sw", "sw", "sw", "fi"]
    assert frame["source_id"].is_unique
    assert set(frame["parallel"]) == {"image"}


def test_captions_of_an_image_are_never_compared_as_translations(tmp_path: Path) -> None:
    frame = read_xm3600(xm3600(tmp_path / "captions.jsonl")).frame
    results = frame.assign(score=range(len(frame)))
    assert within_caption_differences(results, "language", "score").count().sum() == 0


def test_captions_join_a_table_by_image_and_take_its_file(tmp_path: Path) -> None:
    images = write(tmp_path, IMAGES.replace("0b2", "0c3"), "images.csv")
    table = join_translations(images, [xm3600(tmp_path / "captions.jsonl")])
    frame = table.frame
    assert frame["image_id"].tolist() == ["0a1", "0c3", "0a1", "0a1", "0a1"]
    assert frame["image_file"].tolist() == ["dog.png", "cat.png", "dog.png", "dog.png", "dog.png"]
    assert frame["parallel"].fillna("").tolist() == ["image", "", "image", "image", "image"]
    assert frame["source_id"].is_unique
    assert frame["source_prompt"].fillna("").tolist() == ["a dog", "a cat", "A brown dog on a road", "Dog walking", ""]
    (error,) = table.row_errors
    assert error.message.endswith(f"0b2-fil-1 is left out: image_id '0b2' is in no row of {images}")


def test_a_table_of_captions_of_images_joins_by_image_as_well(tmp_path: Path) -> None:
    write_csv(read_xm3600(xm3600(tmp_path / "captions.jsonl")), tmp_path / "captions.csv")
    frame = join_translations(write(tmp_path, IMAGES, "images.csv"), [tmp_path / "captions.csv"]).frame
    assert frame["parallel"].tolist() == ["image"] * 6
    assert frame["source_id"].is_unique


def test_captions_of_images_want_a_table_of_images(tmp_path: Path) -> None:
    with pytest.raises(PromptTableError, match=r"table\.csv: no column 'image_id', on which .*captions\.jsonl joins"):
        join_translations(write(tmp_path, TABLE), [xm3600(tmp_path / "captions.jsonl")])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"image/key": "a", "en": {"caption": "one"}}', r"c\.jsonl:1: 'en' must hold a list of texts under 'caption'"),
        ('{"image/key": "a", "en": {"caption": [1]}}', r"c\.jsonl:1: 'en' must hold a list of texts"),
        ('{"image/key": "a"}\n{"key": "b"}', r"c\.jsonl:2: expected a JSON object with 'image/key'"),
        ('{"image/key": "a"}\n{"image/key": ', r"c\.jsonl:2:\d+: not valid JSON"),
        ('{"image/key": "a", "image/locale": "en"}', r"no prompt can be used: .*c\.jsonl: no row"),
        (
            '{"image/key": "a", "english": {"caption": ["x"]}}',
            r"c\.jsonl:1: column language: 'english' is not a BCP-47",
        ),
    ],
)
def test_a_broken_file_of_captions_names_line_and_locale(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(PromptTableError, match=message):
        read_xm3600(write(tmp_path, content, "c.jsonl"))


@pytest.mark.parametrize("name", ["wide.csv", "wide.jsonl", "wide.parquet"])
def test_a_table_with_columns_of_languages_is_read_in_every_format(tmp_path: Path, name: str) -> None:
    rows = pd.DataFrame({"source_id": ["dog", "cat"], "en": ["a dog", "a cat"], "fi": ["koira", None]})
    if name.endswith("csv"):
        rows.to_csv(tmp_path / name, index=False, sep=";")
    elif name.endswith("jsonl"):
        rows.to_json(tmp_path / name, orient="records", lines=True)
    else:
        rows.to_parquet(tmp_path / name)
    assert join_translations(tmp_path / name, []).frame["prompt"].tolist() == ["a dog", "koira", "a cat"]


def test_english_of_a_place_is_the_source_where_there_is_no_plainer(tmp_path: Path) -> None:
    base = write(tmp_path, "source_id,prompt,language\ndog,ein Hund,de-DE\ndog,a dog,en-US\n")
    frame = join_translations(base, [write(tmp_path, "source_id,fi\ndog,koira\n", "fi.csv")]).frame
    assert set(frame["source_prompt"]) == {"a dog"}
    plainer = write(tmp_path, "source_id,prompt,language\ndog,a hound,en\ndog,a dog,en-US\n")
    frame = join_translations(plainer, [tmp_path / "fi.csv"]).frame
    assert set(frame["source_prompt"]) == {"a hound"}


def test_the_tag_that_a_caption_was_given_is_not_its_translations(tmp_path: Path) -> None:
    base = write(tmp_path, "source_id,prompt,language\ndog,a dog,eng\n")
    frame = join_translations(base, [write(tmp_path, "source_id,fi\ndog,koira\n", "fi.csv")]).frame
    assert frame["language_given"].fillna("").tolist() == ["eng", ""]


def test_what_is_read_otherwise_is_said_of_every_table(tmp_path: Path) -> None:
    base = write(tmp_path, "source_id,prompt,lang\ndog,a dog,en\n")
    other = write(tmp_path, "source_id,prompt,language,image\ndog,koira,fi,a.png\n", "fi.csv")
    warnings = join_translations(base, [other]).warnings
    assert warnings[0] == "column 'lang' is taken for 'language'"
    assert "'image'" in warnings[1]


def test_a_locale_without_captions_is_left_out_alone(tmp_path: Path) -> None:
    table = read_xm3600(xm3600(tmp_path / "captions.jsonl", te=None, fr={"caption": None}))
    assert len(table.frame) == 4
    assert [error.message.split(": ", 1)[1][:5] for error in table.row_errors] == ["'te' ", "'fr' "]
