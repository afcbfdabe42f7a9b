"""Real images: read from one folder and nowhere else, and what the judge makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
from PIL import Image

from emoe_audit.errors import QualityError
from emoe_audit.quality.clip_score import ClipJudge
from emoe_audit.quality.reference import (
    Pictures,
    judge_by_group,
    judge_references,
    read_pictures,
    reference_column,
)
from emoe_audit.types import EnsembleSpec

COLOURS = ["red", "green", "blue", "white"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A picture of each colour, beside a folder that is not to be read."""
    (tmp_path / "real" / "deep").mkdir(parents=True)
    for colour in COLOURS:
        Image.new("RGB", (64, 64), colour).save(tmp_path / "real" / "deep" / f"{colour}.png")
    Image.new("RGB", (64, 64), "black").save(tmp_path / "secret.png")
    return tmp_path / "real"


def prompts(names: Sequence[str | None], **columns: Sequence[object]) -> pd.DataFrame:
    return pd.DataFrame({"prompt_id": [f"p{i}" for i in range(len(names))], "reference_image": names} | columns)


def mean_colours(images: Sequence[Image.Image]) -> np.ndarray:
    """Features that can be read: the mean of each colour."""
    return np.array([np.asarray(image, dtype=np.float32).mean(axis=(0, 1)) for image in images])


def test_images_are_read_by_name_each_once(folder: Path) -> None:
    seen: list[int] = []

    def counted(images: Sequence[Image.Image]) -> np.ndarray:
        seen.append(len(images))
        return mean_colours(images)

    names = ["deep/red.png", "deep/blue.png", None, "deep/red.png", ""]
    found = read_pictures(prompts(names), folder, "reference_image", counted)
    assert seen == [2]
    assert found.place.tolist() == [0, 1, -1, 0, -1]
    assert found.features.tolist() == [[255, 0, 0], [0, 0, 255]]
    assert not found.row_errors


def test_many_images_are_read_some_at_a_time(folder: Path) -> None:
    names = []
    for value in range(130):
        Image.new("L", (2, 2), value).save(folder / f"{value}.png")
        names.append(f"{value}.png")
    found = read_pictures(prompts(names), folder, "reference_image", mean_colours)
    assert found.features[found.place, 0].tolist() == list(range(130))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("../secret.png", "lies outside"),
        ("../../../../../../etc/passwd", "lies outside"),
        ("/etc/passwd", "lies outside"),
        ("deep/../../secret.png", "lies outside"),
        ("link.png", "lies outside"),
        ("gone.png", "is not in"),
        ("deep", "is not in"),
        ("nul\0.png", "is no file name"),
        ("x" * 300, "is no file name"),
        ("text.png", "is not an image that can be read"),
        ("cut.png", "is not an image that can be read"),
        ("drawing.ppm", "is not an image that can be read"),
    ],
)
def test_a_name_that_leads_elsewhere_is_a_row_error_and_stops_nobody(name: str, told: str, folder: Path) -> None:
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "text.png").write_text("no image")
    (folder / "cut.png").write_bytes((folder / "deep" / "red.png").read_bytes()[:60])
    Image.new("RGB", (8, 8)).save(folder / "drawing.ppm")
    names = [name, "deep/green.png", name]
    found = read_pictures(prompts(names), folder, "reference_image", mean_colours)
    assert found.place.tolist() == [-1, 0, -1]
    assert [(error.prompt_id, error.column, error.stage) for error in found.row_errors] == [
        ("p0", "reference_image", "image"),
        ("p2", "reference_image", "image"),
    ]
    assert all(told in error.message and len(error.message) < 1000 for error in found.row_errors)


def test_where_nothing_can_be_read_there_are_no_features(folder: Path) -> None:
    found = read_pictures(prompts([None, "gone.png"]), folder, "reference_image", mean_colours)
    assert len(found.features) == 0
    assert found.place.tolist() == [-1, -1]


def test_the_column_is_found_or_told() -> None:
    assert reference_column(pd.DataFrame(columns=["prompt", "image_file"])) == "image_file"
    with pytest.raises(QualityError, match="add a column reference_image or image_file"):
        reference_column(pd.DataFrame(columns=["prompt"]))


def test_the_cosine_of_a_real_image_is_that_of_open_clip(folder: Path, tiny_spec: EnsembleSpec) -> None:
    assert tiny_spec.judge is not None
    names = [f"deep/{colour}.png" for colour in COLOURS]
    results = prompts(names, prompt=["rot", "grün", "blue", "white"], language=["de", "de", "en", "en"])
    results["clip_cosine"] = [0.5, np.nan, 0.25, 0.0]
    judge = ClipJudge(tiny_spec.judge, device="cpu")
    real = read_pictures(results, folder, "reference_image", judge.image_features)
    judged = judge_references(results, real, judge)
    model, _, preprocess = open_clip.create_model_and_transforms(tiny_spec.judge)
    with torch.no_grad():
        seen = model.encode_image(torch.stack([preprocess(Image.new("RGB", (64, 64), c)) for c in COLOURS]))
        meant = model.encode_text(open_clip.get_tokenizer(tiny_spec.judge)(results["prompt"].tolist()))
    expected = torch.nn.functional.cosine_similarity(seen, meant).numpy()
    np.testing.assert_allclose(judged["reference_cosine"], expected, atol=1e-5)
    lacking = judged["clip_cosine_minus_reference"]
    np.testing.assert_allclose(lacking, [0.5 - expected[0], np.nan, 0.25 - expected[2], -expected[3]], atol=1e-5)


class EnglishReader(ClipJudge):
    """Reads numbers: `en 3` as direction 3; of every other language it takes all prompts for the same."""

    def __init__(self) -> None:
        self.size = 8

    def text_features(self, texts: Sequence[str]) -> np.ndarray:
        flat = np.full(self.size, self.size**-0.5, dtype=np.float32)
        rows = [np.eye(self.size, dtype=np.float32)[int(t[3:])] if t.startswith("en") else flat for t in texts]
        return np.stack(rows)


def eight_in(languages: Sequence[str]) -> tuple[pd.DataFrame, Pictures]:
    """Eight captions in each language, of which each but the last has a real image that shows just what it says."""
    rows = [(f"{language} {i}", language, 0.3, i) for language in languages for i in range(8)]
    results = pd.DataFrame(rows, columns=["prompt", "language", "clip_cosine", "place"])
    return results, Pictures(features=np.eye(8, dtype=np.float32), place=results.pop("place").replace(7, -1))


def test_what_the_judge_cannot_read_shows_on_real_images() -> None:
    results, real = eight_in(["en", "fi"])
    judged = results.join(judge_references(results, real, EnglishReader()))
    table = judge_by_group(judged, "language").set_index("group")
    assert table["n_prompts"].tolist() == [7, 7]
    assert table["chance_rank"].tolist() == [4.5, 4.5]
    assert table.loc["en", "reference_cosine"] == pytest.approx(1)
    assert table.loc["fi", "reference_cosine"] == pytest.approx(8**-0.5)
    assert table["reference_rank"].to_dict() == {"en": 1, "fi": 4.5}
    assert table.loc["en", "clip_cosine_minus_reference"] == pytest.approx(0.3 - 1)
    assert table.loc["fi", "clip_cosine_minus_reference"] == pytest.approx(0.3 - 8**-0.5)


def test_the_rank_of_a_prompt_is_counted_among_the_prompts_of_its_language() -> None:
    rng = np.random.default_rng(0)
    unit = {name: row / np.linalg.norm(row) for name in "abcdefgh" for row in [rng.normal(size=3).astype(np.float32)]}

    class Known(EnglishReader):
        def text_features(self, texts: Sequence[str]) -> np.ndarray:
            return np.stack([unit[text] for text in texts])

    results = pd.DataFrame({"prompt": list("abcdeefgh"), "language": ["en"] * 6 + ["de"] * 3, "clip_cosine": 0.1})
    seen = rng.normal(size=(9, 3)).astype(np.float32)
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    judged = judge_references(results, Pictures(features=seen, place=pd.Series(range(9))), Known())
    for place, row in results.iterrows():
        others = set(results["prompt"][results["language"] == row["language"]]) - {row["prompt"]}
        image = seen[int(str(place))]
        better = sum(float(image @ unit[other]) > float(image @ unit[row["prompt"]]) for other in others)
        assert judged.loc[place, "reference_rank"] == 1 + better
        assert judged.loc[place, "chance_rank"] == (len(others) + 2) / 2


def test_a_single_prompt_of_a_language_has_a_cosine_and_no_rank() -> None:
    results = pd.DataFrame({"prompt": ["en 1", "en 2", "fi 1"], "language": ["en", "en", "fi"], "clip_cosine": 0.3})
    real = Pictures(features=np.eye(8, dtype=np.float32), place=pd.Series([1, 2, 1]))
    judged = judge_references(results, real, EnglishReader())
    assert judged.loc[2, ["reference_rank", "chance_rank"]].isna().all()
    assert judged["reference_cosine"].notna().all()


def test_without_real_images_there_is_nothing_to_say() -> None:
    results, real = eight_in(["en"])
    nothing = Pictures(features=np.empty((0, 0), dtype=np.float32), place=real.place * 0 - 1)
    judged = judge_references(results, nothing, EnglishReader())
    assert judged.isna().all(axis=None)
    assert judge_by_group(results.join(judged), "language").empty
