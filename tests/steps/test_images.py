"""A word that means two things is drawn once, and judged against each of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from emoe_audit.analysis.refusal import judged
from emoe_audit.audit import start_run
from emoe_audit.errors import StoreError
from emoe_audit.prompts.table import PromptTable, check_rows
from emoe_audit.quality.candidates import draw_candidates
from emoe_audit.quality.clip_score import ClipJudge
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.images import choose_for_images, judge_pending
from emoe_audit.types import EnsembleSpec, ImageConfig, ScoringConfig

pytestmark = pytest.mark.slow

SCORING = ScoringConfig(n_noise=1, device="cpu", check_pairs=0)
IMAGES = ImageConfig(n_images=3, num_inference_steps=1, device="cpu")
ALL = "SELECT * FROM results ORDER BY prompt_id"
HOMONYMS = [("six", "en", "six"), ("six", "fi", "kuusi"), ("spruce", "en", "spruce"), ("spruce", "fi", "kuusi")]
"""Finnish *kuusi* is the number and the tree."""


def table() -> PromptTable:
    rows = [
        {"source_id": source, "language": language, "prompt": prompt, "prompt_id": f"{source}-{language}"}
        for source, language, prompt in HOMONYMS
    ]
    return check_rows(enumerate(rows, start=1), "homonyms")


def drawn(spec: EnsembleSpec, out: Path, images: ImageConfig = IMAGES) -> RunStore:
    store = start_run(table(), spec, out, SCORING, images, command="emoe-audit run")
    with store.locked():
        judge_pending(store)
    return store


@pytest.fixture(scope="module")
def run(tiny_spec: EnsembleSpec, tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    return drawn(tiny_spec, tmp_path_factory.mktemp("homonyms") / "run")


def test_a_homonym_has_one_score_and_one_image_and_the_quality_of_each_caption(
    run: RunStore, tiny_spec: EnsembleSpec
) -> None:
    results = run.query(ALL).set_index("prompt_id")
    six, spruce = results.loc["six-fi"], results.loc["spruce-fi"]
    assert six["key"] == spruce["key"]
    assert six["image"] == spruce["image"]
    assert six["relative_disagreement"] == spruce["relative_disagreement"]
    assert len(list((run.path / "images").rglob("*.png"))) == 3
    judge = ClipJudge(str(tiny_spec.judge), device="cpu")
    with Image.open(run.path / six["image"]) as image:
        (seen,) = judge.image_features([image])
    candidates = draw_candidates(tiny_spec).captions
    for row, caption in ((six, "six"), (spruce, "spruce")):
        others = [own for own in candidates if own != caption]
        others = others if len(others) == 99 else others[:-1]
        cosine = (seen @ judge.text_features([caption]).T).item()
        assert row["clip_cosine_source"] == pytest.approx(cosine, abs=1e-5)
        assert row["source_rank"] == 1 + (judge.text_features(others) @ seen > cosine).sum()
    assert six["clip_cosine_source"] != spruce["clip_cosine_source"]


def test_a_homonym_can_be_misread_as_one_caption_and_not_as_the_other(run: RunStore) -> None:
    """The risk is that of the prompts, not of the texts."""
    quality = run.query("SELECT * FROM quality")
    quality["source_rank"] = np.where(quality["source_id"] == "six", 1.0, 60.0)
    store = RunStore.open(run.path.parent / "made", plan=run.plan())
    store.write_prompts([run.query("SELECT * FROM prompts")])
    store.append("scores", run.query("SELECT * FROM scores"))
    store.append("quality", quality)
    assert judged(store.query(ALL), "disagreement", [])["loss"].tolist() == [0, 0, 1, 1]


def test_what_is_judged_is_not_drawn_again(run: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emoe_audit.quality.images.ImageMaker.__init__", lambda *_: pytest.fail("drew again"))
    judge_pending(run)


def test_a_caption_that_was_lost_is_judged_again_by_the_same_image(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    store = drawn(tiny_spec, tmp_path / "run")
    before = store.query(ALL)
    store.keep("quality", lambda rows: rows["source_id"] != "spruce")
    assert len(store.query("SELECT * FROM quality")) == 2
    with store.locked():
        judge_pending(store)
    pd.testing.assert_frame_equal(store.query(ALL), before)


def test_a_homonym_whose_other_caption_is_not_drawn_counts_for_one(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    store = drawn(tiny_spec, tmp_path / "run", ImageConfig(n_images=2, num_inference_steps=1, device="cpu"))
    (source,) = set(store.query("SELECT source_id FROM quality")["source_id"])
    results = store.query(ALL)
    assert (results["image"].notna() == (results["source_id"] == source)).all()


def test_images_of_other_candidates_do_not_join_a_run(
    tiny_spec: EnsembleSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = start_run(table(), tiny_spec, tmp_path / "run", SCORING, IMAGES)
    monkeypatch.setattr("emoe_audit.quality.candidates.N_CANDIDATES", 99)
    with pytest.raises(StoreError, match="ranked among other captions than those of today"):
        judge_pending(store)
    with pytest.raises(StoreError, match="a run with other captions that the judge chooses among"):
        start_run(table(), tiny_spec, tmp_path / "run", SCORING, IMAGES)


def test_what_is_never_drawn_stands_in_the_log(
    tiny_spec: EnsembleSpec, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    drawn(tiny_spec, tmp_path / "run", ImageConfig(n_images=1, num_inference_steps=1, device="cpu"))
    assert "no image is drawn: a caption is drawn in all of its languages" in caplog.text


def test_where_no_caption_fits_nothing_is_left_to_do(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    one = ImageConfig(n_images=1, num_inference_steps=1, device="cpu")
    store = start_run(table(), tiny_spec, tmp_path / "run", SCORING, one)
    assert choose_for_images(store, one).empty
    judge_pending(store, lambda *said: told.append(said))
    assert told == [("images", 0, 0)]
