"""How many images whole captions need is said before anything is scored."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoe_audit.prompts.captions import caption_warnings, choose_captions
from emoe_audit.prompts.table import check_rows
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.images import choose_for_images
from emoe_audit.steps.prompts import take_prompts
from emoe_audit.types import ImageConfig
from tests.synthetic import synthetic_plan

TAGS = ["en", "de", "fi", "fr", "es"]


def prompts(*widths: int) -> pd.DataFrame:
    """A caption for each number, in as many languages."""
    pairs = [(place, tag) for place, width in enumerate(widths) for tag in TAGS[:width]]
    rows = [{"source_id": f"s{place}", "prompt": f"{place} {tag}", "language": tag} for place, tag in pairs]
    return check_rows(enumerate(rows, start=1), "t").frame


@pytest.mark.parametrize(
    ("widths", "n_images", "expected"),
    [
        ((3, 3), 2, 0),
        ((3, 3), 3, 3),
        ((3, 3), 5, 3),
        ((3, 3), 6, 6),
        ((5, 2, 2), 4, 4),
        ((5, 2, 2), 6, 5),
        ((5, 2, 2), 8, 7),
        ((3,), 0, 0),
    ],
)
def test_whole_captions_are_drawn(widths: tuple[int, ...], n_images: int, expected: int) -> None:
    assert choose_captions(prompts(*widths), n_images).n_images == expected


def test_a_text_of_two_captions_takes_one_image() -> None:
    rows = [("six", "en", "six"), ("six", "fi", "kuusi"), ("spruce", "en", "spruce"), ("spruce", "fi", "kuusi")]
    frame = pd.DataFrame(rows, columns=["source_id", "language", "prompt"])
    assert choose_captions(frame, 2).n_images == 2
    both = choose_captions(frame, 3)
    assert sorted(both.source_ids) == ["six", "spruce"]
    assert both.n_images == 3


def test_captions_of_as_many_languages_are_drawn_by_lot() -> None:
    frame = prompts(*[2] * 40)
    first = [choose_captions(frame, 2, seed).source_ids for seed in range(30)]
    assert first == [choose_captions(frame, 2, seed).source_ids for seed in range(30)]
    assert len(set(first)) > 10


@settings(deadline=None, max_examples=25)
@given(widths=st.lists(st.integers(1, 5), min_size=1, max_size=6), n_images=st.integers(1, 15))
def test_as_many_are_drawn_as_the_run_chooses(
    widths: list[int], n_images: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    frame = prompts(*widths)
    store = RunStore.open(tmp_path_factory.mktemp("r") / "run", plan=synthetic_plan())
    rows = [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
    take_prompts(store, check_rows(enumerate(rows), "t"))
    chosen = choose_for_images(store, ImageConfig(n_images=n_images))
    assert chosen["key"].nunique() == choose_captions(frame, n_images).n_images
    sizes = chosen["source_id"].value_counts()
    assert (sizes == frame["source_id"].value_counts().reindex(sizes.index)).all()


def test_too_few_images_for_one_caption_are_told_with_how_many_it_needs() -> None:
    (told,) = caption_warnings(prompts(4, 3), 2)
    assert told.startswith("no image is drawn: a caption is drawn in all of its languages")
    assert told.endswith("'s0' has 4 prompts, and --n-images is 2; give --n-images 3 or more, or 0")
    assert caption_warnings(prompts(3, 2), 3) == []
    assert caption_warnings(prompts(3, 2), 0) == []


def test_a_caption_that_is_too_large_is_told_and_the_others_are_drawn() -> None:
    frame = prompts(5, 3, 3, 2)
    assert choose_captions(frame, 4).n_images == 3
    (told,) = caption_warnings(frame, 4)
    assert told.startswith("1 of 4 captions are not drawn")
    assert told.endswith("'s0' has 5 prompts, and --n-images is 4; give --n-images 5 or more, or 0")


def test_prompts_that_are_all_translations_of_one_another_in_one_language_are_told(tmp_path: Path) -> None:
    rows = [{"source_id": "coco", "prompt": f"a dog {place}", "language": "en"} for place in range(6)]
    frame = check_rows(enumerate(rows, start=1), "t").frame
    one, none_drawn = caption_warnings(frame, 4)
    assert "all 6 prompts have the source_id 'coco', so they count as translations of one caption" in one
    assert "'coco' has 6 prompts, and --n-images is 4" in none_drawn
    assert caption_warnings(prompts(5), 320) == [], "one caption in five languages is one caption"
