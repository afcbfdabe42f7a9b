"""Tones asked for and shown: a run whose pictures show what each test says, judged by one who sees exactly that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.spec import EMBEDDED, load_spec
from emoe_audit.ground.depicted import asked_and_shown, trained_shares
from emoe_audit.prompts.emoji import SOURCE_LANGUAGE
from emoe_audit.quality.attributes import TONES, subjects
from emoe_audit.quality.labelled import LabelledImages
from emoe_audit.types import EnsembleSpec
from tests.quality.exact_judge import ExactJudge


@pytest.fixture(scope="module")
def spec() -> EnsembleSpec:
    return load_spec("emoji-a")


@pytest.fixture(scope="module")
def names(spec: EnsembleSpec) -> pd.Series:
    return subjects(spec)[SOURCE_LANGUAGE]


def caption(concept: str, tone: str) -> str:
    return f"{concept}: {tone} skin tone"


def labelled_by(judge: ExactJudge, names: pd.Series) -> LabelledImages:
    rows = [(key, concept, tone) for key, concept in names.items() for tone in TONES]
    frame = pd.DataFrame(rows, columns=["source_id", "concept", "class"])
    return LabelledImages(frame=frame, images=[judge.picture(caption(concept, tone)) for _, concept, tone in rows])


def run_of(folder: Path, judge: ExactJudge, names: pd.Series, shown: Callable[[str, int], str]) -> pd.DataFrame:
    """Every subject in every tone; `shown` gives the tone of the picture for the tone asked and the subject's place."""
    rows = []
    for place, (key, concept) in enumerate(names.items()):
        for tone, modifier in TONES.items():
            image = f"{key}-{tone}.png"
            judge.picture(caption(concept, shown(tone, place))).save(folder / image)
            rows.append({"source_id": f"{key}-{modifier:x}", "skin_tone": tone, "image": image})
    plain = {"source_id": "1f600", "skin_tone": None, "image": "nowhere.png"}
    return pd.DataFrame([*rows, plain, rows[0] | {"image": None}])


def test_shares_of_training_are_those_of_the_published_plan(spec: EnsembleSpec) -> None:
    plan = yaml.safe_load((EMBEDDED / spec.name / "plan.yaml").read_text(encoding="utf-8"))
    assert trained_shares(spec) == pytest.approx(plan["skin_tones"], abs=0.01)


def test_a_tone_that_is_drawn_as_another_is_told_and_the_others_are_shown_as_asked(
    spec: EnsembleSpec, names: pd.Series, tmp_path: Path
) -> None:
    judge = ExactJudge()
    results = run_of(
        tmp_path, judge, names, lambda tone, place: "medium-light" if tone == "light" and place % 4 else tone
    )
    table = asked_and_shown(results, tmp_path, spec, judge, labelled_by(judge, names), n_boot=200)
    own = table.set_index(["asked", "shown"])
    assert own.loc[("light", "medium-light"), "share_corrected"] == pytest.approx(0.75, abs=0.03)
    assert own.loc[("light", "light"), "share_seen"] == 0.25
    assert own.loc[("light", "light"), "low"] < 0.25 < own.loc[("light", "light"), "high"]
    for tone in list(TONES)[1:]:
        assert own.loc[(tone, tone), "share_corrected"] == pytest.approx(1, abs=0.03)
    assert set(own["n_images"]) == set(own["n_sources"]) == {24}
    assert own.loc["light", "coverage"].tolist() == [trained_shares(spec)["light"]] * 5
    assert set(table["verdict"]) == {""}


def test_what_cannot_be_said_has_its_reason(spec: EnsembleSpec, names: pd.Series, tmp_path: Path) -> None:
    judge = ExactJudge()
    results = run_of(tmp_path, judge, names[:9], lambda tone, place: tone)
    table = asked_and_shown(results, tmp_path, spec, judge, labelled_by(judge, names), n_boot=50)
    assert table["share_corrected"].isna().all()
    assert set(table["verdict"]) == {"fewer than 20 captions"}


def test_an_ensemble_that_does_not_say_its_training_is_refused(spec: EnsembleSpec) -> None:
    with pytest.raises(EnsembleError, match="says of no skin_tone how often it was seen in training"):
        trained_shares(replace(spec, training_coverage=None))
