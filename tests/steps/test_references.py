"""The images of a run against real ones, in a whole audit of the tiny ensemble."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emoe_audit.audit import run_audit
from emoe_audit.errors import QualityError
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.prompts.table import table_of
from emoe_audit.quality.clip_score import ClipJudge
from emoe_audit.report import collect
from emoe_audit.runs.store import RunStore
from emoe_audit.types import EnsembleSpec, ImageConfig, ScoringConfig

pytestmark = pytest.mark.slow

SCORING = ScoringConfig(n_noise=1, batch_size=8, device="cpu", check_pairs=0)


@pytest.fixture(scope="module")
def run(tiny_spec: EnsembleSpec, tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """A run whose prompt table names a real image of each caption, one of which is not there."""
    folder = tmp_path_factory.mktemp("real")
    frame = default_prompts(tiny_spec).frame
    named = frame.assign(reference_image=frame["source_id"].rank(method="dense").map("{:.0f}.png".format))
    for place, name in enumerate(sorted(set(named["reference_image"]))[1:]):
        pixels = np.random.default_rng(place).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    images = ImageConfig(n_images=8, num_inference_steps=1, device="cpu", reference_images=str(folder))
    out = tmp_path_factory.mktemp("runs") / "real"
    run_audit(table_of(named, "real"), tiny_spec, out, scoring=SCORING, images=images)
    return RunStore.open(out)


def test_the_judge_is_asked_what_it_makes_of_the_real_image_of_each_prompt(run: RunStore) -> None:
    rows = run.query("SELECT * FROM results JOIN real_images USING (prompt_id)")
    plan = run.plan()
    judge = ClipJudge(str(plan.ensemble.judge), device="cpu")
    row = rows.dropna(subset=["reference_cosine"]).iloc[0]
    with Image.open(Path(str(plan.images.reference_images)) / row.reference_image) as image:
        expected = float((judge.image_features([image]) @ judge.text_features([row.prompt]).T)[0, 0])
    assert row.reference_cosine == pytest.approx(expected, abs=1e-5)


def test_a_real_image_that_is_not_there_is_a_row_error_and_kills_nothing(run: RunStore) -> None:
    missing = [error for error in run.errors() if "is not in" in error.message]
    assert len(missing) == len(run.query("SELECT * FROM prompts WHERE reference_image = '1.png'"))
    assert run.is_complete


def test_the_report_shows_every_group_against_real_images(run: RunStore) -> None:
    shown = {(own.by, own.group): own.reference_cosine for own in collect(run).against_real}
    table = run.query("SELECT * FROM judge_bias WHERE \"by\" = 'language'").set_index("group")["reference_cosine"]
    assert {group: shown["language", group] for group in table.index} == pytest.approx(table.to_dict())


def test_prompts_that_name_no_real_image_say_how_to_name_one(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    images = ImageConfig(n_images=0, device="cpu", reference_images=str(tmp_path))
    with pytest.raises(QualityError, match="add a column reference_image or image_file"):
        run_audit(default_prompts(tiny_spec), tiny_spec, tmp_path / "run", scoring=SCORING, images=images)
