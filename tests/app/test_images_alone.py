"""The pages of a run of a model of which images alone are known."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from emoe_audit.runs.store import RunStore
from tests.app.opened import opened
from tests.illustrated import illustrated_run, images_alone_run

pytestmark = pytest.mark.slow
PAGES = ("overview", "languages", "regions", "prompts", "quality", "try_prompt", "method")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    images_alone_run(folder / "closed")
    illustrated_run(folder / "scored", 200)
    return folder


@pytest.fixture(scope="module")
def results(root: Path) -> pd.DataFrame:
    return RunStore.open(root / "closed").query("SELECT * FROM results")


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_and_speaks_of_no_uncertainty_that_there_is_not(root: Path, page: str) -> None:
    app = opened(root, page, run="closed")
    said = " ".join(str(own.value) for kind in (app.subheader, app.caption, app.info) for own in kind)
    if page in ("quality", "try_prompt"):
        assert "mages alone are known of this model" in said
    else:
        assert "most unsure" not in said


def test_the_worst_drawn_language_comes_first(root: Path, results: pd.DataFrame) -> None:
    app = opened(root, "overview", run="closed")
    shown = app.dataframe[0].value["CLIP cosine, source caption"].to_list()
    means = results.groupby("language")["clip_cosine_source"].mean().sort_values()
    assert shown == pytest.approx(means.head(len(shown)).to_list())
    assert "Where it draws worst" in " ".join(str(own.proto.body) for own in app.get("html"))


def test_prompts_are_listed_from_the_worst_drawn_on(root: Path, results: pd.DataFrame) -> None:
    shown = opened(root, "prompts", run="closed").dataframe[0].value
    expected = results.sort_values(["clip_cosine_source", "prompt_id"]).head(len(shown))
    assert shown["prompt_id"].to_list() == expected["prompt_id"].to_list()
    best = opened(root, "prompts", run="closed", order="best").dataframe[0].value
    assert best["clip_cosine_source"].is_monotonic_decreasing


def test_a_prompt_shows_all_of_its_images(root: Path, results: pd.DataFrame) -> None:
    own = results.dropna(subset=["image"]).iloc[0]
    app = opened(root, "prompts", run="closed", prompt=own["prompt_id"])
    head = next(str(block.proto.body) for block in app.get("html") if 'class="head' in str(block.proto.body))
    assert head.count("<img ") == 2
    assert "Drawn better than" in head


def test_a_scored_run_and_a_closed_model_are_compared_by_their_images(root: Path) -> None:
    app = opened(root, "compare", run="scored", **{"with": "closed"})
    said = " ".join(str(own.value) for own in (*app.warning, *app.caption))
    assert "judged by" in said and "same" in said, "the runs name different judges"
