"""A study planned from a pilot run: against plain arithmetic, a t test that is simulated, and a real run's pace."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from emoe_audit.decisions.pilot import CaptionPlan, plan_captions
from emoe_audit.errors import AuditError
from emoe_audit.runs.store import RunStore
from emoe_audit.types import EnsembleSpec, ImageConfig, ScoringConfig
from tests.synthetic import LANGUAGES, synthetic_frame, synthetic_plan, synthetic_run

N_CAPTIONS = 40


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    return synthetic_run(tmp_path_factory.mktemp("pilot") / "run", N_CAPTIONS * len(LANGUAGES))


def differences_from(results: pd.DataFrame, measure: str, reference: str) -> pd.DataFrame:
    table = results.pivot(index="source_id", columns="language", values=measure)
    return table.drop(columns=reference).sub(table[reference], axis=0)


def test_captions_prompts_and_images_follow_from_the_pilots_spread(pilot: RunStore) -> None:
    plan = plan_captions(pilot, "clip_cosine", "language", 0.02, reference="en")
    differences = differences_from(pilot.query("SELECT * FROM results"), "clip_cosine", "en")
    assert plan.sd_of_differences == pytest.approx(differences.std(ddof=1).max())
    assert (plan.n_tests, plan.pilot_captions) == (len(LANGUAGES) - 1, N_CAPTIONS)
    assert plan.prompts == plan.images == plan.captions * len(LANGUAGES)


def test_that_many_captions_find_the_gap_as_often_as_was_asked(pilot: RunStore) -> None:
    plan = plan_captions(pilot, "clip_cosine", "language", 0.04, reference="en", power=0.7)
    drawn = np.random.default_rng(0).normal(0.04, plan.sd_of_differences, (4000, plan.captions))
    found = ttest_1samp(drawn, 0, axis=1).pvalue < 0.05 / plan.n_tests
    assert found.mean() == pytest.approx(0.7, abs=0.04)


def test_a_gap_as_small_as_the_pilot_shows_needs_the_pilots_captions(pilot: RunStore) -> None:
    plan = plan_captions(pilot, "clip_cosine", "language", 0.02)
    again = plan_captions(pilot, "clip_cosine", "language", plan.pilot_gap * 1.0001)
    assert (plan.reference, plan.n_tests) == ("the mean of the others", len(LANGUAGES))
    assert again.captions == N_CAPTIONS


def test_a_score_needs_no_images(pilot: RunStore) -> None:
    plan = plan_captions(pilot, "relative_disagreement", "language", 0.01)
    assert plan.images == 0
    assert plan.prompts == plan.captions * len(LANGUAGES)


def test_without_the_ensemble_the_numbers_stay_and_the_time_says_why(pilot: RunStore) -> None:
    plan = plan_captions(pilot, "relative_disagreement", "language", 0.01)
    assert plan.time.startswith("not known: /nowhere/")
    assert CaptionPlan(**json.loads(json.dumps(plan.to_json(), allow_nan=False))) == plan


def test_with_the_ensemble_the_time_is_measured(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    scoring = ScoringConfig(n_noise=1, device="cpu", check_pairs=0)
    images = ImageConfig(num_inference_steps=1, device="cpu")
    store = RunStore.open(tmp_path / "run", plan=synthetic_plan(ensemble=tiny_spec, scoring=scoring, images=images))
    frame = synthetic_frame(N_CAPTIONS)
    store.write_prompts([frame[["key", "prompt_id", "source_id", "prompt", "language", "region"]]])
    store.append("quality", frame[["key", "source_id", "image", "image_seed", "clip_cosine"]])
    plan = plan_captions(store, "clip_cosine", "language", 1.0)
    assert plan.images > 0
    assert re.fullmatch(r"[\d.]+ (s|min|h)", plan.time)


@pytest.mark.parametrize(
    ("measure", "by", "gap", "reference", "message"),
    [
        ("clip_cosin", "language", 0.1, None, r"run: no column 'clip_cosin'; there are .*clip_cosine"),
        ("clip_cosine", "lang", 0.1, None, r"run: no column 'lang'; there are "),
        ("prompt", "language", 0.1, None, r"column 'prompt' is no measure; name one of numbers, as clip_cosine"),
        ("clip_cosine", "region", 0.1, None, r"no two captions have a clip_cosine in several groups of region"),
        ("clip_cosine", "language", 0.1, "xx", r"no prompt with a clip_cosine has language 'xx'; choose one of ar"),
        ("clip_cosine", "language", 0.0, None, r"gap must be a number above 0, not 0"),
    ],
)
def test_what_cannot_be_planned_is_said(
    pilot: RunStore, measure: str, by: str, gap: float, reference: str | None, message: str
) -> None:
    with pytest.raises(AuditError, match=message):
        plan_captions(pilot, measure, by, gap, reference=reference)
