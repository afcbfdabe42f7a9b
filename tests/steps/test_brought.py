"""Images brought along: a model of which nothing else is known, and an ensemble whose images were drawn elsewhere."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from emoe_audit.audit import run_audit, score_share
from emoe_audit.decisions.compare import compare_runs
from emoe_audit.decisions.evidence import read_standing
from emoe_audit.decisions.gate import Policy, Rule, judge_run
from emoe_audit.errors import AuditError, QualityError, StoreError
from emoe_audit.experts.images_alone import images_alone
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.prompts.table import PromptTable, check_rows, table_of
from emoe_audit.readers.pictures import numbered
from emoe_audit.report import collect
from emoe_audit.report.render import sections_of
from emoe_audit.runs.shares import Share
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.images import judge_pending
from emoe_audit.steps.mending import mend
from emoe_audit.types import EnsembleSpec, ImageConfig, ScoringConfig

pytestmark = pytest.mark.slow

SCORING = ScoringConfig(n_noise=1, batch_size=8, device="cpu", check_pairs=0)
DRAWN = ImageConfig(n_images=32, num_inference_steps=1, device="cpu", per_prompt=2)
ALL = "SELECT * FROM results ORDER BY prompt_id"
QUALITY = ["clip_cosine", "clip_cosine_source", "source_rank", "image_agreement", "n_images"]
SCORED_SECTIONS = {"quality", "refusal", "abstention", "experts", "correlations"}


@pytest.fixture(scope="module")
def original(tiny_spec: EnsembleSpec, tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """A run that drew its images itself, two of each prompt."""
    out = tmp_path_factory.mktemp("runs") / "original"
    run_audit(default_prompts(tiny_spec), tiny_spec, out, scoring=SCORING, images=DRAWN)
    return RunStore.open(out)


@pytest.fixture(scope="module")
def model(tiny_spec: EnsembleSpec) -> EnsembleSpec:
    """A model of which nothing is known, judged as the ensemble is."""
    folder = Path(tiny_spec.base.source).parent
    return replace(images_alone("closed", str(folder / "judge")), captions=tiny_spec.captions)


def given(run: RunStore, folder: Path) -> Path:
    """The images of a run as another model would bring them."""
    folder.mkdir()
    for row in run.query(ALL).itertuples():
        for number in range(1, int(row.n_images) + 1):
            shutil.copy(run.path / numbered(str(row.image), number), folder / f"{row.prompt_id}_{number}.png")
    return folder


def brought(folder: Path) -> ImageConfig:
    return ImageConfig(device="cpu", brought=str(folder))


@pytest.fixture(scope="module")
def images(original: RunStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return given(original, tmp_path_factory.mktemp("given") / "images")


@pytest.fixture(scope="module")
def run(
    tiny_spec: EnsembleSpec, model: EnsembleSpec, images: Path, tmp_path_factory: pytest.TempPathFactory
) -> RunStore:
    out = tmp_path_factory.mktemp("runs") / "brought"
    run_audit(default_prompts(tiny_spec), model, out, images=brought(images))
    return RunStore.open(out)


def test_every_number_of_the_images_is_that_of_the_run_which_drew_them(original: RunStore, run: RunStore) -> None:
    before, now = original.query(ALL), run.query(ALL)
    assert before["prompt_id"].to_list() == now["prompt_id"].to_list()
    for measure in QUALITY:
        np.testing.assert_allclose(now[measure], before[measure], atol=1e-6, err_msg=measure)
    measured = "SELECT * FROM {} WHERE measure IN ('clip_cosine', 'clip_cosine_source') ORDER BY ALL"
    for table in ("groups", "gaps", "disparity"):
        ours, theirs = (own.query(measured.format(table)) for own in (original, run))
        pd.testing.assert_frame_equal(ours, theirs, atol=1e-5)
    bounds = "SELECT * FROM image_bounds ORDER BY language"
    pd.testing.assert_frame_equal(original.query(bounds), run.query(bounds), atol=1e-4)


def test_a_gate_says_the_same_of_both(original: RunStore, run: RunStore) -> None:
    policy = Policy(
        rules=(Rule(by="language", measure="clip_cosine_source", figure="gap", at_least=-0.001),), min_sources=2
    )
    verdicts = [[(own.group, own.verdict) for own in judge_run(store, policy)] for store in (original, run)]
    assert verdicts[0] == verdicts[1]


def test_nothing_is_scored_and_sections_that_need_scores_are_absent(run: RunStore) -> None:
    report = collect(run)
    shown = {anchor for anchor, _ in sections_of(report)}
    assert run.query("SELECT * FROM scores").empty
    assert not shown & SCORED_SECTIONS
    assert shown >= {"verdict", "groups", "gaps", "gallery", "judge", "agreement", "limits"}
    assert report.ranking == "clip_cosine_source"
    means = [row.mean(report.ranking) for row in report.groups[0].rows]
    assert means == sorted(means), "the worst group comes first"
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "by its images" in page and "prompts scored" not in page


def test_what_the_ranking_rests_on_is_what_is_known_of_the_judge(run: RunStore) -> None:
    standing = read_standing(run)
    assert standing.rung == "unproven"
    assert "how well it reads English is not known" in standing.sentence


def test_a_second_start_judges_nothing_anew(run: RunStore, model: EnsembleSpec, tiny_spec: EnsembleSpec) -> None:
    before = {file: file.stat().st_mtime_ns for file in (run.path / "images").rglob("*.png")}
    run_audit(default_prompts(tiny_spec), model, run.path, images=run.plan().images)
    assert {file: file.stat().st_mtime_ns for file in (run.path / "images").rglob("*.png")} == before


def test_own_ensemble_and_closed_model_are_compared_by_their_images(original: RunStore, run: RunStore) -> None:
    found = compare_runs(original, run)
    assert found.score == "clip_cosine_source"
    assert found.n_prompts == len(run.query(ALL))
    assert max(abs(own.difference) for own in found.groups) < 1e-6, "they are the same images"


def test_images_of_other_judges_are_not_compared(original: RunStore, run: RunStore, tmp_path: Path) -> None:
    other = RunStore.open(shutil.copytree(run.path, tmp_path / "other"))
    plan = other.plan()
    with other.locked():
        other.ledger.reopen()
        other.plan_anew(replace(plan, ensemble=replace(plan.ensemble, judge="ViT-B-32/openai")))
        other.finish()
    with pytest.raises(StoreError, match="same --judge"):
        compare_runs(original, RunStore.open(other.path))


def some(tiny_spec: EnsembleSpec) -> PromptTable:
    frame = default_prompts(tiny_spec).frame
    return table_of(frame[frame["source_id"].isin(sorted(frame["source_id"].unique())[:2])], "some")


def test_an_ensemble_is_scored_and_its_images_are_those_that_were_brought(
    tiny_spec: EnsembleSpec, images: Path, original: RunStore, tmp_path: Path
) -> None:
    run_audit(some(tiny_spec), tiny_spec, tmp_path / "run", scoring=SCORING, images=brought(images))
    run = RunStore.open(tmp_path / "run")
    found = run.query(ALL).set_index("prompt_id")
    before = original.query(ALL).set_index("prompt_id").loc[found.index]
    np.testing.assert_allclose(found["relative_disagreement"], before["relative_disagreement"], rtol=1e-4)
    np.testing.assert_allclose(found["clip_cosine"], before["clip_cosine"], atol=1e-6)
    assert {"quality", "correlations"} <= {anchor for anchor, _ in sections_of(collect(run))}


def test_prompts_of_the_same_text_have_images_of_their_own(model: EnsembleSpec, tmp_path: Path) -> None:
    """Drawn, a text has one image; a service may be asked twice, from two places."""
    (tmp_path / "images").mkdir()
    for name, colour in (("here", "red"), ("there", "blue")):
        Image.new("RGB", (64, 64), colour).save(tmp_path / "images" / f"{name}.png")
    rows = [{"prompt_id": own, "prompt": "a dog", "language": "en", "source_id": "dog"} for own in ("here", "there")]
    run_audit(
        check_rows(enumerate(rows, start=1), "twice"), model, tmp_path / "run", images=brought(tmp_path / "images")
    )
    found = RunStore.open(tmp_path / "run").query(ALL)
    assert found["image"].nunique() == 2
    assert found["clip_cosine"].nunique() == 2


def test_what_lacks_an_image_or_has_a_broken_one_is_a_row_error_and_the_rest_is_judged(
    model: EnsembleSpec, images: Path, tiny_spec: EnsembleSpec, tmp_path: Path
) -> None:
    table = some(tiny_spec)
    gone, broken, half = table.frame["prompt_id"].to_list()[:3]
    folder = Path(shutil.copytree(images, tmp_path / "images"))
    for number in (1, 2):
        (folder / f"{gone}_{number}.png").unlink()
        (folder / f"{broken}_{number}.png").write_bytes(b"no image")
    (folder / f"{half}_1.png").write_bytes(b"no image")
    run_audit(table, model, tmp_path / "run", images=brought(folder))
    run = RunStore.open(tmp_path / "run")
    found = run.query(ALL).set_index("prompt_id")
    assert found.loc[[gone, broken], "clip_cosine"].isna().all()
    assert found["clip_cosine"].notna().sum() == len(found) - 2
    assert found.loc[half, "n_images"] == 1
    errors = [(own.stage, own.prompt_id) for own in run.errors()]
    assert sorted(errors) == sorted([("image", gone), *[("image", broken)] * 2, ("image", half)])


def test_an_image_that_is_exchanged_is_judged_anew_and_a_further_one_as_well(
    model: EnsembleSpec, images: Path, tiny_spec: EnsembleSpec, tmp_path: Path
) -> None:
    table, folder, out = some(tiny_spec), Path(shutil.copytree(images, tmp_path / "images")), tmp_path / "run"
    first, second = table.frame["prompt_id"].to_list()[:2]
    late = folder / f"{second}_1.png", folder / f"{second}_2.png"
    kept = [own.read_bytes() for own in late]
    for own in late:
        own.unlink()
    run_audit(table, model, out, images=brought(folder))
    before = RunStore.open(out).query(ALL).set_index("prompt_id")
    for own, content in zip(late, kept, strict=True):
        own.write_bytes(content)
    for number in (1, 2):
        Image.new("RGB", (64, 64), "green").save(folder / f"{first}_{number}.png")
    run_audit(table, model, out, images=brought(folder))
    now = RunStore.open(out).query(ALL).set_index("prompt_id")
    assert np.isnan(before.loc[second, "clip_cosine"]) and np.isfinite(now.loc[second, "clip_cosine"])
    assert before.loc[first, "clip_cosine"] != now.loc[first, "clip_cosine"]
    others = before.index.difference([first, second])
    assert before.loc[others, "clip_cosine"].equals(now.loc[others, "clip_cosine"])
    assert not RunStore.open(out).errors()


@pytest.mark.parametrize("lost", ["images", "sights", "quality"])
def test_what_is_damaged_is_judged_again(lost: str, run: RunStore, tmp_path: Path) -> None:
    store = RunStore.open(shutil.copytree(run.path, tmp_path / "run"), plan=run.plan())
    expected = store.query(ALL)[QUALITY]
    damaged = sorted((store.path / lost).rglob("*.p*"))[-1]
    damaged.write_bytes(b"damaged")
    with store.locked():
        mend(store)
        judge_pending(store)
    found = store.query("SELECT * FROM prompts LEFT JOIN quality USING (key, source_id) ORDER BY prompt_id")
    pd.testing.assert_frame_equal(found[QUALITY[:3]], expected[QUALITY[:3]], atol=1e-6)
    assert len(store.query("SELECT * FROM sights")) == len(expected)


def test_the_folder_of_a_run_that_was_received_is_read_at_a_user_s_word_alone(
    run: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another user"))
    received = RunStore.open(shutil.copytree(run.path, tmp_path / "run"), mending=True)
    with pytest.raises(StoreError, match=r"--trust-run.*images: "), received.locked():
        judge_pending(received)
    received.load_from(replace(run.plan().ensemble, name="mine"))
    with pytest.raises(StoreError, match="only at your word"), received.locked():
        judge_pending(received)


def test_what_cannot_be_is_said_before_anything_is_made(model: EnsembleSpec, tmp_path: Path, images: Path) -> None:
    table = check_rows([(1, {"prompt": "a dog", "prompt_id": "nobody"})], "table")
    with pytest.raises(QualityError, match="no such folder"):
        run_audit(table, model, tmp_path / "a", images=brought(tmp_path / "gone"))
    with pytest.raises(QualityError, match="names no judge"):
        run_audit(table, replace(model, judge=None), tmp_path / "b", images=brought(images))
    with pytest.raises(QualityError, match=r"none that belongs to a prompt; expected is 'nobody\.png'"):
        run_audit(table, model, tmp_path / "c", images=brought(images))
    with pytest.raises(AuditError, match="nothing to score"):
        score_share(table, model, tmp_path / "d", Share(number=1, of=2), images=brought(images))
