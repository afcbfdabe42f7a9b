"""COCO captions, read through pycocotools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.coco import read_coco, sample_coco
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.prompts.read import read_prompts
from emoe_audit.types import EnsembleSpec, ExpertSpec

CAPTIONS = {"dog": {"en": "dog", "de": "Hund"}, "cat": {"en": "cat", "de": "Katze"}, "cow": {"en": "cow"}}


def coco_file(path: Path, **changes: Any) -> Path:
    images = [{"id": i, "file_name": f"{name}.png"} for i, name in enumerate(CAPTIONS, start=1)]
    annotations = [
        {"id": 10 * i + j, "image_id": i, "language": language, "caption": caption}
        for i, captions in enumerate(CAPTIONS.values(), start=1)
        for j, (language, caption) in enumerate(captions.items())
    ]
    path.write_text(json.dumps({"images": images, "annotations": annotations} | changes))
    return path


def spec(captions: Path | None) -> EnsembleSpec:
    base = ExpertSpec(name="base", source="base")
    return EnsembleSpec(name="x", base=base, experts=(base,), captions=str(captions) if captions else None)


def test_each_annotation_is_a_prompt_and_keeps_its_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = read_prompts(coco_file(tmp_path / "captions.json"))
    assert table.frame["prompt"].tolist() == ["dog", "Hund", "cat", "Katze", "cow"]
    assert table.frame["image_id"].tolist() == ["1", "1", "2", "2", "3"]
    assert table.frame["language"].tolist() == ["en", "de", "en", "de", "en"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a COCO file"),
        ("[1]", "not a COCO file"),
        ("{}", "no annotations"),
        ('{"images": [], "annotations": []}', "no annotations"),
        ('{"images": [], "annotations": [{"id": 1, "image_id": 1, "bbox": []}]}', "annotation 1 has no caption"),
    ],
)
def test_other_json_is_told_what_is_missing(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(PromptTableError, match=message):
        read_coco(tmp_path / "x.json")


def test_default_prompts_take_the_same_images_in_every_language(tmp_path: Path) -> None:
    table = default_prompts(spec(coco_file(tmp_path / "c.json")), n_concepts=100)
    assert table.frame["prompt_id"].tolist() == ["dog-de", "dog-en", "cat-de", "cat-en"]
    assert table.frame["source_prompt"].tolist() == ["dog", "dog", "cat", "cat"]
    assert table.frame["source_id"].tolist() == ["dog", "dog", "cat", "cat"]


def test_more_concepts_keep_the_earlier_ones(tmp_path: Path) -> None:
    one, two = (
        set(default_prompts(spec(coco_file(tmp_path / "c.json")), n_concepts=n).frame["source_id"]) for n in (1, 2)
    )
    assert one < two


def test_an_ensemble_without_captions_wants_a_table() -> None:
    with pytest.raises(PromptTableError, match="brings no captions of its own; give a prompt table"):
        default_prompts(spec(None))


def five_captions(path: Path, n_images: int = 20) -> Path:
    """As in COCO: five captions an image, in no language that the file would name."""
    annotations = [
        {"id": 5 * image + number, "image_id": image, "caption": f"caption {number} of image {image}"}
        for image in range(n_images)
        for number in range(5)
    ]
    path.write_text(json.dumps({"images": [{"id": i} for i in range(n_images)], "annotations": annotations}))
    return path


def test_a_sample_holds_one_caption_of_each_of_some_images_or_all(tmp_path: Path) -> None:
    file = five_captions(tmp_path / "captions.json")
    one, every = (sample_coco(file, n_images=7, all_captions=all_captions).frame for all_captions in (False, True))
    assert one["image_id"].nunique() == len(one) == 7
    assert every.groupby("image_id").size().tolist() == [5] * 7
    assert set(one["prompt_id"]) < set(every["prompt_id"])
    assert one["source_id"].tolist() == one["prompt_id"].tolist(), "another caption is not a translation"


def test_a_larger_sample_holds_the_smaller_one_and_another_seed_draws_others(tmp_path: Path) -> None:
    file = five_captions(tmp_path / "captions.json")
    small, large, other = (
        set(sample_coco(file, n_images=n, seed=seed).frame["prompt_id"]) for n, seed in ((5, 0), (10, 0), (5, 1))
    )
    assert small < large
    assert small != other


def test_a_language_is_given_where_the_file_says_none_and_kept_where_it_does(tmp_path: Path) -> None:
    unknown = sample_coco(five_captions(tmp_path / "five.json"), language="en").frame
    assert set(unknown["language"]) == {"en"}
    known = sample_coco(coco_file(tmp_path / "known.json"), language="fr").frame
    assert known.groupby("language").size().to_dict() == {"de": 2, "en": 3}, "one caption in each language"
