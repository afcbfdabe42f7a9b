"""Tables from the field, each as it was brought (`tests/field/`): read as it is meant, or told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.join import join_translations, read_xm3600
from emoe_audit.prompts.read import read_prompts
from emoe_audit.quality.imported import read_quality

FIELD = Path(__file__).parents[1] / "field"


def test_image_column_is_set_aside_and_said() -> None:
    table = read_prompts(FIELD / "image-column" / "prompts.csv")
    assert "image" not in table.frame
    assert table.frame["image (yours)"].tolist() == [f"00000{place}.jpg" for place in range(6)]
    (told,) = table.warnings
    assert told.startswith("set aside, as the run has columns of these names: 'image'; each is kept with ' (yours)'")


@pytest.mark.parametrize("name", ["silent.jsonl", "silent.parquet", "traceback.jsonl", "traceback.parquet"])
def test_own_measure_column_is_set_aside_and_said(name: str) -> None:
    table = read_prompts(FIELD / "own-measure-column" / name)
    own = table.frame.columns.tolist()[5:]
    assert "clip_cosine (yours)" in own or "n_tokens (yours)" in own
    assert all(column.endswith(" (yours)") for column in own)
    assert len(table.warnings) == 1


def test_export_roundtrip_every_column_of_the_run_is_set_aside() -> None:
    table = read_prompts(FIELD / "export-roundtrip" / "prompts.csv")
    assert len(table.frame) == 6
    kept = [name for name in table.frame.columns[5:] if not name.endswith(" (yours)")]
    assert kept == ["translation_text", "translation_mid_block"], "scores of an earlier version"
    assert len(table.warnings) == 1


@pytest.mark.parametrize(
    ("name", "left_out"),
    [("prompts.parquet", "they hold mappings"), ("bytes_and_list.parquet", "they hold bytes")],
)
def test_hf_image_parquet_is_read_without_its_images_and_says_so(name: str, left_out: str) -> None:
    table = read_prompts(FIELD / "hf-image-parquet" / name)
    assert len(table.frame) > 0
    assert table.row_errors == ()
    assert left_out in " ".join(table.warnings)


def test_mixed_jsonl_is_stored_as_text_and_says_so() -> None:
    table = read_prompts(FIELD / "mixed-jsonl" / "prompts.jsonl")
    assert table.frame["seed"].tolist() == ["1", "random"]
    assert table.warnings == ("column 'seed' holds numbers and texts; all are kept as texts",)


def test_list_caption_is_a_row_error_that_says_what_the_cell_holds() -> None:
    with pytest.raises(PromptTableError) as caught:
        read_prompts(FIELD / "list-caption" / "prompts.jsonl")
    for held in ("a list of 2 ('a cat' ...)", "a mapping of 1 ('en' ...)", "true"):
        assert f"column prompt: the cell holds {held}, which is no text" in str(caught.value)
    with pytest.raises(PromptTableError, match="the cell holds a list of"):
        read_prompts(FIELD / "list-caption" / "prompts.parquet")


@pytest.mark.parametrize(
    ("name", "tags", "given"),
    [
        ("prompts.csv", ["en-US", "de-DE", "fi-FI"], None),
        ("eng.csv", ["en", "de", "fi"], ["eng_Latn", "deu_Latn", "fin_Latn"]),
    ],
)
def test_en_us_and_eng_are_english(name: str, tags: list[str], given: list[str] | None) -> None:
    frame = read_prompts(FIELD / "en-us" / name).frame
    assert frame["language"].tolist() == tags * 2
    assert (frame["language_given"].tolist() if "language_given" in frame else None) == (given and given * 2)


def test_aliases_are_one_group_and_the_given_tag_is_kept() -> None:
    frame = read_prompts(FIELD / "aliases" / "prompts.csv").frame
    assert frame["language"].tolist() == ["he", "he", "en", "en"] * 3
    assert frame["language_given"].fillna("").tolist() == ["iw", "", "", "eng"] * 3


@pytest.mark.parametrize("name", ["semicolon.csv", "tabs.csv", "sep.csv"])
def test_excel_delimiters_are_read(name: str) -> None:
    frame = read_prompts(FIELD / "excel-delimiters" / name).frame
    assert frame.loc[0, ["source_id", "language", "prompt"]].tolist() == ["apple", "en", "a red apple"]


def test_excel_delimiters_are_read_in_tables_of_translations_and_of_ratings() -> None:
    joined = join_translations(FIELD / "excel-delimiters" / "wide_semicolon.csv", []).frame
    assert joined["prompt"].tolist() == ["a red apple", "ein roter Apfel"]
    rated = read_quality(FIELD / "excel-delimiters" / "ratings.csv", ["stars"], prompt_ids=["row-2"])
    assert rated.frame["stars"].tolist() == [4.5], "where commas are decimal"


def test_lang_column_and_country_are_taken_and_said() -> None:
    table = read_prompts(FIELD / "lang-column" / "prompts.csv")
    assert table.frame["language"].tolist() == ["en", "de", "fi"] * 2
    assert table.frame["region"].tolist() == ["GB", "DE", "FI"] * 2
    assert set(table.warnings) == {
        "column 'lang' is taken for 'language'",
        "column 'country' is taken for 'region'",
    }


def test_region_hints_are_not_needed() -> None:
    table = read_prompts(FIELD / "region-hints" / "prompts.csv")
    assert table.frame["region"].tolist() == ["US", "DE", "019", "002", "155", "GB", "DE", "IN", "CN", "FR"]
    assert table.row_errors == ()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("null_caption.json", "null_caption.json:2: annotation 2 (id 11): its caption is null, which is no text"),
        ("float_id.json", "float_id.json:2: annotation 2: id and image_id must be a whole number or a text"),
        ("no_id.json", "no_id.json:2: annotation 2 has no id; captions are needed"),
    ],
)
def test_coco_bad_annotation_is_left_out_and_said(name: str, message: str) -> None:
    table = read_prompts(FIELD / "coco-bad-annotation" / name)
    assert table.frame["prompt"].tolist() == ["a red apple", "a house"]
    (error,) = table.row_errors
    assert error.message.endswith(message)


def test_xm3600_null_is_left_out_and_said() -> None:
    table = read_xm3600(FIELD / "xm3600-null" / "captions.jsonl")
    assert table.frame["prompt"].tolist() == ["a cat", "a dog", "koira"]
    (error,) = table.row_errors
    assert error.message.endswith("captions.jsonl:1: 'te' must hold a list of texts under 'caption'")


def test_a_folder_as_prompts_says_so() -> None:
    with pytest.raises(PromptTableError, match="aliases: a folder; give the table that lies in it"):
        read_prompts(FIELD / "aliases")
