"""Which files of a folder are whose images, and what becomes of files that only call themselves images."""

from __future__ import annotations

import resource
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from emoe_audit.errors import QualityError
from emoe_audit.quality.brought import LONG_EDGE, SHORT_EDGE, Onlooker, find_images, stamp_of
from emoe_audit.quality.candidates import Candidates, draw_candidates
from emoe_audit.quality.clip_score import ClipJudge
from emoe_audit.quality.judging import Judging
from emoe_audit.readers.pictures import ending_of
from emoe_audit.types import EnsembleSpec
from tests.quality.hostile_images import look_at, write_hostile_images

MIB = 1024**2


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def prompts(*ids: str, **columns: list[str | None]) -> pd.DataFrame:
    return pd.DataFrame({"prompt_id": list(ids), **columns})


@pytest.mark.parametrize(
    ("there", "found"),
    [
        (["a.png"], ["a.png"]),
        (["a.JPG"], ["a.JPG"]),
        (["a_10.png", "a_9.png", "a_0.png"], ["a_0.png", "a_9.png", "a_10.png"]),
        (["a-seed7.webp", "a-seed12.webp"], ["a-seed7.webp", "a-seed12.webp"]),
        (["a.sample_3.gif"], ["a.sample_3.gif"]),
        (["a/1.png", "a/0.png"], ["a/0.png", "a/1.png"]),
        (["a/samples/x.png"], ["a/samples/x.png"]),
        (["a.png", "a_1.png"], ["a.png", "a_1.png"]),
    ],
)
def test_images_are_found_by_the_id_of_their_prompt(there: list[str], found: list[str], tmp_path: Path) -> None:
    images = find_images(prompts("a", "b"), touched(tmp_path, *there, "b.png"))
    assert list(images.files["a"]) == found
    assert not images.unused and not images.row_errors


def test_of_two_ids_that_fit_the_longer_one_has_the_image(tmp_path: Path) -> None:
    found = find_images(prompts("a", "a_1"), touched(tmp_path, "a.png", "a_1.png", "a_1_2.png"))
    assert found.files == {"a": ("a.png",), "a_1": ("a_1.png", "a_1_2.png")}


def test_an_id_with_marks_is_found_however_a_system_writes_it(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "käse")
    found = find_images(prompts(unicodedata.normalize("NFC", "käse")), touched(tmp_path, f"{name}.png"))
    assert found.files == {"käse": (f"{name}.png",)}


def test_an_id_of_several_folders_is_a_path(tmp_path: Path) -> None:
    assert find_images(prompts("x/y"), touched(tmp_path, "x/y.png")).files == {"x/y": ("x/y.png",)}


def test_a_column_names_a_file_or_a_folder_and_leaves_the_rest_to_the_ids(tmp_path: Path) -> None:
    touched(tmp_path, "p1.png", "of b/2.png", "of b/1.png", "c.png", "a.png", "strange.img")
    named = prompts("a", "b", "c", "d", image_file=["p1.png", "of b", None, "strange.img"])
    found = find_images(named, tmp_path)
    assert found.files == {
        "a": ("p1.png",), "b": ("of b/1.png", "of b/2.png"), "c": ("c.png",), "d": ("strange.img",)
    }  # fmt: skip
    assert found.unused == ("a.png",), "its prompt names another one"


@pytest.mark.parametrize("name", ["gone.png", "../outside.png", "/etc/passwd", "a\0b.png", "x" * 5000, ".."])
def test_a_name_that_leads_nowhere_is_an_error_of_its_row(name: str, tmp_path: Path) -> None:
    (tmp_path / "outside.png").write_bytes(b"")
    found = find_images(prompts("a", "b", image_file=[name, "b.png"]), touched(tmp_path / "in", "b.png"))
    assert found.files == {"b": ("b.png",)}
    (error,) = found.row_errors
    assert (error.prompt_id, error.column, error.stage) == ("a", "image_file", "image")


def test_a_prompt_without_an_image_is_an_error_of_its_row_and_other_files_are_said(tmp_path: Path) -> None:
    found = find_images(
        prompts("a", "b"), touched(tmp_path, "a.png", "z.png", ".hidden.png", "notes.txt", ".git/b.png")
    )
    (error,) = found.row_errors
    assert error.prompt_id == "b" and str(tmp_path) in error.message
    assert found.unused == ("z.png",)


def test_a_folder_in_which_nothing_belongs_to_a_prompt_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(QualityError, match=r"1 images, 'z\.png' first.*'p 1\.png' for the prompt 'p 1'"):
        find_images(prompts("p 1"), touched(tmp_path, "z.png"))
    with pytest.raises(QualityError, match="holds no image"):
        find_images(prompts("p 1"), touched(tmp_path / "empty", "a.txt"))
    with pytest.raises(QualityError, match="no such folder"):
        find_images(prompts("p 1"), tmp_path / "gone")


def test_a_file_that_is_written_anew_has_another_stamp(tmp_path: Path) -> None:
    touched(tmp_path, "a.png")
    before = stamp_of(tmp_path, ["a.png"])
    assert stamp_of(tmp_path, ["a.png"]) == before != stamp_of(tmp_path, ["b.png"])
    (tmp_path / "a.png").write_bytes(b"more")
    assert stamp_of(tmp_path, ["a.png"]) != before


@pytest.fixture(scope="module")
def judge(tiny_spec: EnsembleSpec) -> ClipJudge:
    return ClipJudge(str(tiny_spec.judge), device="cpu")


def test_several_images_are_averaged_and_their_ranks_halved(
    judge: ClipJudge, tiny_spec: EnsembleSpec, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)) for _ in range(3)]
    for number, image in enumerate(images):
        image.save(tmp_path / f"a_{number}.png")
    candidates = draw_candidates(tiny_spec)
    onlooker = Onlooker(Judging(judge, {"s": "dog"}, candidates), tmp_path)
    (looked,) = onlooker.judge(["ein Hund", "nichts"], [["s"], ["t"]], [[f"a_{n}.png" for n in range(3)], []])
    seen, texts = judge.image_features(images), judge.text_features(["ein Hund", "dog", *candidates.captions])
    cosines = seen @ texts.T
    others = np.delete(cosines[:, 2:], candidates.place_of("dog"), axis=1)
    first = looked.rows.iloc[0]
    assert first["n_images"] == 3
    assert first["clip_cosine"] == pytest.approx(cosines[:, 0].mean(), abs=1e-5)
    assert first["clip_cosine_source"] == pytest.approx(cosines[:, 1].mean(), abs=1e-5)
    assert first["source_rank"] == np.median(1 + (others > cosines[:, [1]]).sum(axis=1))
    assert looked.rows.iloc[1][["clip_cosine", "clip_cosine_source", "source_rank"]].isna().all()
    np.testing.assert_allclose(looked.seen[0], seen, atol=1e-5)
    assert [len(own) for own in looked.copies] == [3, 0]


@pytest.mark.parametrize(
    ("size", "kept"),
    [
        *(((64, 64), (64, 64)), ((511, 600), (511, 600)), ((200, 900), (200, 900))),
        *(((1024, 512), (512, 256)), ((800, 1000), (267, 334)), ((40, 2400), (14, 800))),
    ],
)
def test_a_copy_keeps_what_a_judge_needs_of_a_large_image(
    size: tuple[int, int], kept: tuple[int, int], judge: ClipJudge, tmp_path: Path
) -> None:
    Image.new("RGB", size, (9, 99, 199)).save(tmp_path / "a.png")
    onlooker = Onlooker(Judging(judge, {}, Candidates(("dog",))), tmp_path)
    (looked,) = onlooker.judge(["a"], [["s"]], [["a.png"]])
    (copy,) = looked.copies[0]
    (tmp_path / "copy.png").write_bytes(copy)
    with Image.open(tmp_path / "copy.png") as image:
        assert image.size == kept
        assert image.format == ("PNG" if size == kept else "JPEG")
        assert np.abs(np.array(image.getpixel((0, 0))) - (9, 99, 199)).max() <= (0 if size == kept else 3)
    assert min(kept) >= min(SHORT_EDGE, *size) or max(size) > LONG_EDGE


def test_copies_of_a_prompt_are_of_one_kind(judge: ClipJudge, tmp_path: Path) -> None:
    for number, edge in enumerate((64, 600)):
        Image.new("RGB", (edge, edge), "red").save(tmp_path / f"a_{number}.png")
    onlooker = Onlooker(Judging(judge, {}, Candidates(("dog",))), tmp_path)
    (looked,) = onlooker.judge(["a"], [["s"]], [["a_0.png", "a_1.png"]])
    assert [ending_of(copy) for copy in looked.copies[0]] == ["jpg", "jpg"]


def test_many_images_are_judged_some_at_a_time_and_in_order(judge: ClipJudge, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    onlooker = Onlooker(Judging(judge, {}, Candidates(("dog",))), tmp_path)
    files = [["a.png"] * n for n in (40, 40, 1, 100, 0, 1)]
    found = list(onlooker.judge(["a"] * 6, [["s"]] * 6, files))
    assert [(own.prompts.start, own.prompts.stop) for own in found] == [(0, 1), (1, 3), (3, 4), (4, 6)]
    assert [n for own in found for n in own.rows["n_images"]] == [40, 40, 1, 100, 0, 1]


@pytest.mark.slow
def test_no_file_that_calls_itself_an_image_is_misjudged_or_takes_much_memory(judge: ClipJudge, tmp_path: Path) -> None:
    images = write_hostile_images(tmp_path / "images")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert not look_at(judge, tmp_path / "images", images)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert len(images) >= 200
    assert grown < 600 * MIB
