"""The default prompts of an ensemble: whole concepts, and as many of each kind of group as of plain ones."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.emoji import caption_matrix, default_prompts
from emoe_audit.types import EnsembleSpec, ExpertSpec


@pytest.fixture
def planted(tiny_spec: EnsembleSpec, tmp_path: Path) -> EnsembleSpec:
    """The tiny ensemble's eight captions, three of them said to be flags and two to have a skin tone."""
    assert tiny_spec.captions is not None
    coco = json.loads(Path(tiny_spec.captions).read_text(encoding="utf-8"))
    regions, tones = ["014", "155", "155"], ["dark", "light"]
    groups = [*[{}] * 3, *({"region": region} for region in regions), *({"skin_tone": tone} for tone in tones)]
    coco["images"] = [image | group for image, group in zip(coco["images"], groups, strict=True)]
    (tmp_path / "captions.json").write_text(json.dumps(coco), encoding="utf-8")
    return dataclasses.replace(tiny_spec, captions=str(tmp_path / "captions.json"))


def test_every_chosen_concept_comes_in_every_language_with_its_english_caption(tiny_spec: EnsembleSpec) -> None:
    frame = default_prompts(tiny_spec, n_concepts=5).frame
    assert frame.groupby("source_id")["language"].agg(sorted).tolist() == [["de", "en", "hi", "ja"]] * 5
    english = frame[frame["language"] == "en"].set_index("source_id")["prompt"]
    assert (frame["source_prompt"] == frame["source_id"].map(english)).all()


def test_the_seed_chooses_the_concepts(tiny_spec: EnsembleSpec) -> None:
    chosen = [set(default_prompts(tiny_spec, n_concepts=3, seed=s).frame["source_id"]) for s in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_as_many_of_each_kind_are_sampled_and_say_their_group(planted: EnsembleSpec) -> None:
    frame = default_prompts(planted, n_concepts=2).frame
    concepts = frame.drop_duplicates("source_id")
    assert concepts["region"].notna().sum() == concepts["skin_tone"].notna().sum() == 2
    assert len(concepts) == 6


def test_the_matrix_holds_a_column_a_language_and_the_groups(planted: EnsembleSpec) -> None:
    matrix = caption_matrix(planted)
    assert list(matrix.columns) == ["source_id", "region", "skin_tone", "de", "en", "hi", "ja"]
    assert matrix["region"].dropna().tolist() == ["014", "155", "155"]


def test_the_matrix_is_the_readers_own_and_that_of_the_file_as_it_is_now(planted: EnsembleSpec) -> None:
    del caption_matrix(planted)["de"]
    assert "de" in caption_matrix(planted)
    path = Path(str(planted.captions))
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"language": "de"', '"language": "nl"'), encoding="utf-8")
    assert list(caption_matrix(planted).columns)[3:] == ["en", "hi", "ja", "nl"]


def test_an_ensemble_without_captions_asks_for_a_table(tiny_spec: EnsembleSpec) -> None:
    with pytest.raises(PromptTableError, match="tiny brings no captions of its own; give a prompt table"):
        default_prompts(dataclasses.replace(tiny_spec, captions=None))


def own_captions(folder: Path, captions: list[tuple[object, str]]) -> EnsembleSpec:
    """An ensemble with two images, of two captions each."""
    coco = {
        "images": [{"id": place, "file_name": name} for place, name in enumerate(["dog.png", "cat.png"])],
        "annotations": [
            {"id": place, "image_id": place // 2, "language": language, "caption": caption}
            for place, (language, caption) in enumerate(captions)
        ],
    }
    (folder / "captions.json").write_text(json.dumps(coco), encoding="utf-8")
    base = ExpertSpec(name="base", source="base")
    return EnsembleSpec(name="own", base=base, experts=(base,), captions=str(folder / "captions.json"))


def test_captions_that_can_be_no_prompts_are_left_out_and_told(tmp_path: Path) -> None:
    captions: list[tuple[object, str]] = [
        *(("en", "a dog"), ("xx-yy-zz", "ein Hund")),
        *(("en", " "), ("xx-yy-zz", "eine Katze")),
    ]
    table = default_prompts(own_captions(tmp_path, captions))
    assert table.frame[["source_id", "prompt", "language"]].values.tolist() == [["dog", "a dog", "en"]]
    assert sorted(error.column or "" for error in table.row_errors) == ["language", "language", "prompt"]


def test_a_language_that_is_no_text_is_none(tmp_path: Path) -> None:
    captions: list[tuple[object, str]] = [("en", "a dog"), ({}, "ein Hund"), ("en", "a cat"), (5, "eine Katze")]
    matrix = caption_matrix(own_captions(tmp_path, captions))
    assert matrix.set_index("source_id")["en"].to_dict() == {"dog": "a dog", "cat": "a cat"}
    assert matrix.columns.tolist() == ["source_id", "region", "skin_tone", "en"]
