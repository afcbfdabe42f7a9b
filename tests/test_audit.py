"""The whole audit on the tiny ensemble: complete, resumable, patient with bad rows, blind to nothing that changed."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from emoe_audit.audit import run_audit
from emoe_audit.errors import AuditError, StoreError
from emoe_audit.experts.spec import load_spec
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.prompts.table import PromptTable, table_of
from emoe_audit.quality import attributes
from emoe_audit.quality.candidates import draw_candidates
from emoe_audit.runs.store import RunStore
from emoe_audit.steps import scores
from emoe_audit.steps.images import choose_for_images, source_captions
from emoe_audit.steps.prompts import take_prompts
from emoe_audit.steps.scores import score_pending
from emoe_audit.types import EnsembleSpec, ImageConfig, Prompt, ScoringConfig
from tests.processes import running, wait_for_lines
from tests.synthetic import synthetic_plan

pytestmark = pytest.mark.slow

SCORING = ScoringConfig(n_noise=2, batch_size=8, device="cpu", check_pairs=0)
IMAGES = ImageConfig(n_images=8, num_inference_steps=2, batch_size=4, device="cpu")


@pytest.fixture(scope="module")
def prompts(tiny_spec: EnsembleSpec) -> PromptTable:
    return default_prompts(tiny_spec)


@pytest.fixture(scope="module")
def finished(tiny_spec: EnsembleSpec, prompts: PromptTable, tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    out = tmp_path_factory.mktemp("runs") / "whole"
    run_audit(prompts, tiny_spec, out, scoring=SCORING, images=IMAGES, command="emoe-audit run")
    return RunStore.open(out)


def rows(n: int, **columns: object) -> PromptTable:
    frame = pd.DataFrame(
        {
            "prompt_id": [str(i) for i in range(n)],
            "source_id": [str(i // 2) for i in range(n)],
            "prompt": [f"prompt {i}" for i in range(n)],
            "language": ["en", "de"] * (n // 2),
            "region": None,
        }
        | columns
    )
    return table_of(frame, "test")


class Counting:
    """An engine that scores a prompt by its length, and cannot bear the word `poison`."""

    ensemble_hash = "e" * 64

    def __init__(self) -> None:
        self.seen: list[str] = []

    def score(self, prompts: Sequence[Prompt]) -> pd.DataFrame:
        if any("poison" in prompt.prompt for prompt in prompts):
            raise RuntimeError("cannot bear it")
        self.seen += [prompt.prompt for prompt in prompts]
        lengths = [float(len(prompt.prompt)) for prompt in prompts]
        values = [
            np.nan if "empty" in prompt.prompt else length for prompt, length in zip(prompts, lengths, strict=True)
        ]
        ids = [prompt.prompt_id for prompt in prompts]
        return pd.DataFrame({"prompt_id": ids, "disagreement": values, "relative_disagreement": values})


def started(path: Path, table: PromptTable) -> RunStore:
    store = RunStore.open(path, plan=synthetic_plan())
    take_prompts(store, table)
    return store


def test_every_prompt_is_scored_and_whole_captions_are_drawn(finished: RunStore, prompts: PromptTable) -> None:
    results = finished.query("SELECT * FROM results")
    assert len(results) == len(prompts.frame)
    assert results["relative_disagreement"].notna().all()
    drawn = results[results["image"].notna()]
    assert len(drawn) == 8
    assert (drawn.groupby("source_id").size() == results["language"].nunique()).all()
    assert finished.is_complete
    assert (finished.path / "report.html").stat().st_size < 5_000_000
    assert json.loads((finished.path / "report.json").read_text())


def test_quality_is_what_the_judge_says_of_the_stored_image(finished: RunStore, tiny_spec: EnsembleSpec) -> None:
    from emoe_audit.quality.clip_score import ClipJudge, cosines

    row = finished.query("SELECT * FROM results WHERE image IS NOT NULL AND language = 'ja'").iloc[0]
    assert tiny_spec.judge is not None
    judge = ClipJudge(tiny_spec.judge, device="cpu")
    with Image.open(finished.path / row["image"]) as image:
        seen = judge.image_features([image])
    native, source = (cosines(seen, judge.text_features([text]))[0] for text in (row["prompt"], row["source_prompt"]))
    assert [row["clip_cosine"], row["clip_cosine_source"]] == pytest.approx([native, source], abs=1e-5)
    candidates = draw_candidates(tiny_spec)
    others = [text for text in candidates.captions if text != row["source_prompt"]]
    assert len(others) == 99
    assert row["source_rank"] == 1 + (cosines(seen, judge.text_features(others)) > source).sum()
    plan = finished.plan()
    assert (plan.candidates_hash, plan.n_candidates) == (candidates.sha256, 100)


def test_a_second_start_computes_nothing(
    finished: RunStore, prompts: PromptTable, tiny_spec: EnsembleSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emoe_audit.scoring.engine.ScoringEngine.score", lambda *_: pytest.fail("scored again"))
    monkeypatch.setattr("emoe_audit.quality.images.ImageMaker.__init__", lambda *_: pytest.fail("drew again"))
    before = finished.query("SELECT * FROM results ORDER BY prompt_id")
    result = run_audit(prompts, tiny_spec, finished.path, scoring=SCORING, images=IMAGES)
    assert (result.n_scored, result.n_images, result.n_errors) == (len(prompts.frame), 8, 0)
    pd.testing.assert_frame_equal(finished.query("SELECT * FROM results ORDER BY prompt_id"), before)


def test_other_weights_are_noticed(finished: RunStore, prompts: PromptTable, tiny_copy: Path) -> None:
    delta = next((tiny_copy / "experts").glob("*/unet_delta.safetensors"))
    weights = load_file(delta)
    weights[next(key for key in weights if "down_blocks" in key and "to_q" in key)] += 1
    save_file(weights, delta)
    with pytest.raises(StoreError, match="other ensemble"):
        run_audit(prompts, load_spec(tiny_copy), finished.path, scoring=SCORING, images=IMAGES)


def test_another_judge_is_noticed(finished: RunStore, prompts: PromptTable, tiny_copy: Path) -> None:
    weights = tiny_copy / "judge" / "open_clip_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 0x10
    weights.write_bytes(content)
    with pytest.raises(StoreError, match="other drawing model or judge"):
        run_audit(prompts, load_spec(tiny_copy), finished.path, scoring=SCORING, images=IMAGES)


def test_the_same_text_in_two_rows_is_scored_once_and_stands_in_both(tmp_path: Path) -> None:
    store = started(tmp_path / "run", rows(4, prompt=["a", "b", "a", "b"]))
    engine = Counting()
    score_pending(store, engine, lambda *_: None)
    assert sorted(engine.seen) == ["a", "b"]
    assert store.query("SELECT disagreement FROM results")["disagreement"].tolist() == [1.0] * 4


def test_a_prompt_that_fails_is_recorded_and_the_others_are_scored(tmp_path: Path) -> None:
    store = started(tmp_path / "run", rows(4, prompt=["a", "poison", "empty", "bcd"]))
    score_pending(store, Counting(), lambda *_: None)
    scored = store.query("SELECT prompt FROM results WHERE disagreement IS NOT NULL ORDER BY prompt")
    assert scored["prompt"].tolist() == ["a", "bcd"]
    messages = {error.prompt_id: error.message for error in store.errors()}
    assert messages["1"] == "RuntimeError: cannot bear it"
    assert "not a finite number" in messages["2"]
    assert len(messages) == 2


def test_a_fault_of_all_prompts_is_not_blamed_on_each(tmp_path: Path) -> None:
    store = started(tmp_path / "run", rows(4, prompt=["poison 1", "poison 2", "poison 3", "poison 4"]))
    with pytest.raises(AuditError, match=r"none of 4 prompts passes the stage 'score', .*cannot bear it"):
        score_pending(store, Counting(), lambda *_: None)


def test_images_go_to_captions_in_most_languages_within_the_bound(tmp_path: Path) -> None:
    table = rows(6, source_id=["x", "x", "y", "y", "z", "w"])
    store = started(tmp_path / "run", table)
    chosen = choose_for_images(store, ImageConfig(n_images=5))
    sources = chosen["source_id"].tolist()
    assert sorted(sources[:4]) == ["x", "x", "y", "y"]
    assert sources[4:] in (["w"], ["z"])
    assert choose_for_images(store, ImageConfig(n_images=1))["source_id"].tolist() in (["w"], ["z"])
    assert set(choose_for_images(store, ImageConfig(n_images=5), among=["y", "w"])["source_id"]) == {"y", "w"}


def test_source_captions_are_the_english_ones_unless_a_column_says_so(tmp_path: Path) -> None:
    store = started(tmp_path / "a", rows(4))
    assert source_captions(store) == {"0": "prompt 0", "1": "prompt 2"}
    other = started(tmp_path / "b", rows(4, source_prompt=["u", "u", None, None]))
    assert source_captions(other) == {"0": "u"}


def test_english_of_a_place_is_where_captions_come_from(tmp_path: Path) -> None:
    tags = ["en-US", "de", "en-GB", "en", "de", "enm"]
    table = rows(6, language=tags, source_id=["0", "0", "1", "1", "2", "2"])
    assert source_captions(started(tmp_path / "a", table)) == {"0": "prompt 0", "1": "prompt 3"}
    assert attributes.source_captions(table.frame).fillna("").tolist() == [*["prompt 0"] * 2, *["prompt 3"] * 2, "", ""]


def test_an_ensemble_without_a_judge_says_what_to_do(
    tiny_spec: EnsembleSpec, prompts: PromptTable, tmp_path: Path
) -> None:
    with pytest.raises(AuditError, match=r"names no judge; add `judge:` .*--n-images 0"):
        run_audit(prompts, replace(tiny_spec, judge=None), tmp_path / "run", scoring=SCORING, images=IMAGES)


def test_a_run_killed_ten_times_equals_an_uninterrupted_one(
    finished: RunStore, tiny_spec: EnsembleSpec, tmp_path: Path
) -> None:
    work = (slow_audit, Path(tiny_spec.base.source).parent, tmp_path / "run")
    rng = np.random.default_rng(0)
    for _ in range(10):
        with running(*work) as (_process, out, _):
            wait_for_lines(out, int(rng.integers(1, 5)))
            time.sleep(float(rng.uniform(0, 0.1)))
    with running(*work) as (process, _out, _):
        process.join()
        assert process.exitcode == 0
    store = RunStore.open(tmp_path / "run")
    ours, theirs = (s.query("SELECT * FROM results ORDER BY key") for s in (store, finished))
    assert ours["key"].tolist() == theirs["key"].tolist()
    for column in ("disagreement", "relative_disagreement", "feature_power"):
        np.testing.assert_allclose(ours[column], theirs[column], rtol=1e-6)
    np.testing.assert_allclose(ours["clip_cosine"], theirs["clip_cosine"], atol=1e-6)
    assert store.is_complete


def slow_audit(ensemble: Path, out: Path) -> None:
    """An audit that stores its scores three by three and says at once how far it is."""
    scores.SCORE_CHUNK = 3
    spec = load_spec(ensemble)
    images = ImageConfig(n_images=8, num_inference_steps=2, batch_size=2, device="cpu")
    scoring = ScoringConfig(n_noise=2, batch_size=8, device="cpu", check_pairs=0)
    run_audit(default_prompts(spec), spec, out, scoring=scoring, images=images, progress=partial(print, flush=True))
