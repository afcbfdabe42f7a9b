"""COCO captions, read through pycocotools."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.coco import read_coco, sample_coco
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.prompts.read import read_prompts
from emoe_audit.types import EnsembleSpec, ExpertSpec

MAX_RATIO = 40
"""Of reading a file of true size to parsing its JSON; measured 13, which is 0.4 s."""
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
        ("{", r"x\.json:1:2: not a COCO file, or one that ends too early"),
        (
            '{"images": [],\n "annotations": [{"id": 1, "cap',
            r"x\.json:2:28: not a COCO file, or one that ends too early",
        ),
        ("[1]", r"not a COCO file: it needs an object with 'images' and 'annotations'"),
        ("{}", r"no 'images'; a COCO captions file lists 'images' and 'annotations'"),
        ('{"annotations": []}', r"no 'images'"),
        ('{"images": []}', r"no 'annotations'"),
        ('{"images": {}, "annotations": []}', r"'images' is no list"),
        ('{"images": [], "annotations": {"1": "a dog"}}', r"'annotations' is no list"),
        ('{"images": [], "annotations": []}', r"no annotations; a COCO captions file lists them"),
        ('{"images": [{"file_name": "a.png"}], "annotations": [{}]}', r"image 1 has no id that is a number or a text"),
        ('{"images": [], "annotations": [7]}', r"annotation 1 is no object with id, image_id and caption"),
        ('{"images": [], "annotations": [{"image_id": 1}]}', r"annotation 1 has no id, caption; captions are needed$"),
        ('{"images": [], "annotations": [{"id": [1], "image_id": 1, "caption": "x"}]}', r"id and image_id must be"),
        (
            '{"images": [], "annotations": [{"id": 7, "image_id": 1, "caption": 5}]}',
            r"1 \(id 7\): its caption is 5, which",
        ),
        ('{"images": [], "annotations": [{"id": 7, "image_id": 1, "caption": null}]}', r"its caption is null"),
    ],
    ids=range(15),
)
def test_other_json_is_told_what_is_missing(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(PromptTableError, match=message):
        read_coco(tmp_path / "x.json")


def test_a_file_of_boxes_is_told_which_file_to_take(tmp_path: Path) -> None:
    box = {"id": 1, "image_id": 1, "category_id": 18, "bbox": [0, 0, 1, 1], "segmentation": [[0, 0]], "iscrowd": 0}
    file = coco_file(tmp_path / "instances.json", annotations=[box], categories=[{"id": 18, "name": "dog"}])
    with pytest.raises(PromptTableError, match=r"annotation 1 has no caption; .*boxes of objects, take captions_\*"):
        read_coco(file)


def test_a_file_that_is_not_text_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    with pytest.raises(PromptTableError, match=r"x\.json: not a COCO file"):
        read_coco(tmp_path / "x.json")


def test_an_id_that_comes_twice_is_left_out_the_second_time(tmp_path: Path) -> None:
    twice = [{"id": 1, "image_id": 1, "caption": caption} for caption in ("a dog", "a cat")]
    table = read_coco(coco_file(tmp_path / "captions.json", annotations=twice))
    assert table.frame["prompt"].tolist() == ["a dog"]
    (error,) = table.row_errors
    assert error.message.endswith("captions.json:2: column prompt_id: '1' stands in an earlier row too")


def test_the_file_of_the_image_is_kept_where_images_have_one(tmp_path: Path) -> None:
    with_files = read_coco(coco_file(tmp_path / "captions.json")).frame
    assert with_files["image_file"].tolist() == ["dog.png", "dog.png", "cat.png", "cat.png", "cow.png"]
    assert "image_file" not in read_coco(five_captions(tmp_path / "five.json")).frame


def true_size(path: Path) -> Path:
    """5,000 images with 5 captions each, in the fields of `captions_val2017.json`."""
    images = [
        {
            "license": 1 + i % 8,
            "file_name": f"{i:012d}.jpg",
            "coco_url": f"http://images.example/val2017/{i:012d}.jpg",
            "height": 426,
            "width": 640,
            "date_captured": "2013-11-14 17:02:52",
            "flickr_url": f"http://farm7.example/6116/{i:010d}_z.jpg",
            "id": i,
        }
        for i in range(5000)
    ]
    annotations = [
        {
            "image_id": i,
            "id": 10 * i + n,
            "caption": f"A man with a red helmet on a small moped, number {i}, view {n}. ",
        }
        for i in range(5000)
        for n in range(5)
    ]
    info = {"description": "COCO 2017 Dataset", "version": "1.0", "year": 2017, "contributor": "COCO Consortium"}
    licenses = [{"url": "http://licence.example/by-nc-sa/2.0/", "id": 1, "name": "Attribution-NonCommercial"}]
    content = {"info": info, "licenses": licenses, "images": images, "annotations": annotations}
    path.write_text(json.dumps(content))
    return path


def cpu_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def test_a_file_of_true_size_is_read_whole_and_soon(tmp_path: Path) -> None:
    file = true_size(tmp_path / "captions_val2017.json")
    frame = read_prompts(file).frame
    assert (len(frame), frame["image_id"].nunique(), frame["source_id"].is_unique) == (25_000, 5000, True)
    assert frame.loc[12, ["prompt_id", "image_id", "image_file"]].tolist() == ["22", "2", "000000000002.jpg"]
    parsing = min(cpu_seconds(lambda: json.loads(file.read_text())) for _ in range(3))
    assert min(cpu_seconds(lambda: read_prompts(file)) for _ in range(2)) < MAX_RATIO * parsing


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


def test_what_is_no_annotation_or_image_is_left_out_by_its_number(tmp_path: Path) -> None:
    annotations = [
        {"id": 1, "image_id": 1, "caption": "{a dog}"},
        *({"id": 2, "image_id": 1}, 7, {"id": True, "image_id": 1, "caption": "a cow"}),
        *(
            {"id": 3, "image_id": 1, "caption": ["a cat"]},
            {"id": 4, "image_id": 1, "caption": "a hen", "language": [1]},
        ),
        {"id": 1, "image_id": 1, "caption": "a fox"},
    ]
    images = [{"id": 1, "file_name": "dog.png"}, {"file_name": "none.png"}]
    table = read_coco(coco_file(tmp_path / "c.json", annotations=annotations, images=images))
    assert table.frame["prompt"].tolist() == ["{a dog}"]
    assert [(error.line, error.message.split(": ", 1)[1]) for error in table.row_errors] == [
        (2, "image 2 has no id that is a number or a text"),
        (2, "annotation 2 has no caption; captions are needed"),
        (3, "annotation 3 is no object with id, image_id and caption"),
        (4, "annotation 4: id and image_id must be a whole number or a text"),
        (5, 'annotation 5 (id 3): its caption is ["a cat"], which is no text'),
        (6, "annotation 6: its language is no text"),
        (7, "column prompt_id: '1' stands in an earlier row too"),
    ]


def test_a_sample_leaves_out_what_is_no_annotation_and_says_so(tmp_path: Path) -> None:
    annotations = [{"id": 1, "image_id": 1, "caption": "a dog"}, {"id": 2, "image_id": 1, "caption": None}]
    table = sample_coco(coco_file(tmp_path / "c.json", annotations=annotations))
    assert table.frame["prompt"].tolist() == ["a dog"]
    assert "annotation 2 (id 2): its caption is null" in table.row_errors[0].message


def test_a_source_id_that_is_null_is_none(tmp_path: Path) -> None:
    annotations = [{"id": n, "image_id": 1, "caption": "a dog", "source_id": None, "language": None} for n in (1, 2)]
    frame = read_coco(coco_file(tmp_path / "c.json", annotations=annotations)).frame
    assert frame["source_id"].tolist() == ["1", "2"]


def test_a_json_array_of_prompts_is_told_how_to_be_written(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('[{"prompt": "a dog"}]')
    with pytest.raises(PromptTableError, match=r"for a table of prompts write one object a line into a \.jsonl file"):
        read_prompts(tmp_path / "x.json")


def test_a_file_of_captions_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = coco_file(tmp_path / "c.json")
    monkeypatch.setenv("EMOE_AUDIT_MAX_CAPTIONS", "100")
    with pytest.raises(PromptTableError, match="bytes of captions, at most 100 are taken; set EMOE_AUDIT_MAX_CAPTIONS"):
        read_coco(file)
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(PromptTableError, match=r"deep\.json: not a COCO file"):
        read_coco(tmp_path / "deep.json")


@pytest.mark.parametrize(
    ("images", "ids", "message"),
    [
        ([{"id": 1}], [1, 1], "an image with captions has no 'file_name', which names its concept"),
        ([{"id": 2, "file_name": "a.png"}], [1, 1], "an image with captions has no 'file_name'"),
        ([{"id": 1, "file_name": "a.png"}], [1, "1"], "some image_id are numbers and some are texts; make them one"),
    ],
)
def test_captions_of_an_ensemble_that_name_no_image_are_told(
    tmp_path: Path, images: list[dict[str, Any]], ids: list[Any], message: str
) -> None:
    annotations = [
        {"id": place, "image_id": image, "caption": "x", "language": tag}
        for place, (image, tag) in enumerate(zip(ids, ("en", "de"), strict=True))
    ]
    with pytest.raises(PromptTableError, match=message):
        default_prompts(spec(coco_file(tmp_path / "c.json", images=images, annotations=annotations)))
