"""The validity check as a part of a run: stored once, told on the first screen, never in the way of the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from emoe_audit.audit import run_audit
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.report.collect import collect
from emoe_audit.runs.store import RunStore
from emoe_audit.scoring.calibration import calibrate, calibration_captions
from emoe_audit.scoring.loading import load_engine
from emoe_audit.types import EnsembleSpec, ImageConfig, ScoringConfig
from emoe_audit.validity import check as check_module
from emoe_audit.validity.check import check
from emoe_audit.validity.outcome import Check

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def few_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that languages are known by, where a test does not ask what the check finds."""

    def few(spec: EnsembleSpec) -> pd.DataFrame:
        return calibration_captions(spec).iloc[:30]

    monkeypatch.setattr("emoe_audit.scoring.calibration.calibration_captions", few)


SCORING = ScoringConfig(n_noise=1, batch_size=8, device="cpu", check_pairs=1)
NO_IMAGES = ImageConfig(n_images=0)


def run(spec: EnsembleSpec, out: Path, check_pairs: int = 1) -> RunStore:
    scoring = replace(SCORING, check_pairs=check_pairs)
    run_audit(default_prompts(spec), spec, out, scoring=scoring, images=NO_IMAGES)
    return RunStore.open(out)


def test_a_run_keeps_what_the_check_finds(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    engine, captions = load_engine(tiny_spec, SCORING), calibration_captions(tiny_spec)
    found = check(engine, captions, calibrate(engine, captions), n_per_language=1)
    data = collect(run(tiny_spec, tmp_path / "run"))
    validity = data.validity
    assert validity is not None
    assert data.ranking == "relative_disagreement", "the first that a run of random weights measured"
    assert found.default_score is None
    assert validity.default_score == found.default_score
    np.testing.assert_allclose(validity.alignment, found.alignment, rtol=1e-5)
    assert {own.score: own.sign for own in validity.scores} == {own.name: own.sign for own in found.scores}
    for own in found.scores:
        kept = validity.of(own.name)
        assert kept is not None
        assert {probe: share.mean for probe, share in kept.shares.items()} == {
            result.probe: result.share.value for result in own.probes
        }
        assert {probe: beyond.mean for probe, beyond in kept.beyond.items()} == {
            result.probe: result.beyond.value for result in own.probes
        }


@pytest.mark.usefixtures("few_captions")
def test_a_run_without_the_check_says_so_and_a_later_start_makes_it(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    data = collect(run(tiny_spec, tmp_path / "run", check_pairs=0))
    assert data.validity is None
    assert "was not tested" in data.verdict.validity
    assert collect(run(tiny_spec, tmp_path / "run")).validity is not None


@pytest.mark.usefixtures("few_captions")
def test_the_check_is_made_once(tiny_spec: EnsembleSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = collect(run(tiny_spec, tmp_path / "run")).validity
    monkeypatch.setattr(check_module, "check", lambda *_args, **_options: pytest.fail("checked again"))
    assert collect(run(tiny_spec, tmp_path / "run")).validity == first is not None


@pytest.mark.usefixtures("few_captions")
def test_another_run_of_the_ensemble_takes_what_was_found_unless_it_is_to_check_again(
    tiny_spec: EnsembleSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(tiny_spec, tmp_path / "first")
    made: list[str] = []

    def watched(*given: Any, **options: Any) -> Check:
        made.append("again")
        return check(*given, **options)

    monkeypatch.setattr(check_module, "check", watched)
    second = run(tiny_spec, tmp_path / "second")
    for table in ("validity", "calibration"):
        assert first.query(f"SELECT * FROM {table}").equals(second.query(f"SELECT * FROM {table}"))
    assert not made
    scoring = replace(SCORING, check="again")
    run_audit(default_prompts(tiny_spec), tiny_spec, tmp_path / "second", scoring=scoring, images=NO_IMAGES)
    assert made == ["again"]


def test_a_check_that_cannot_be_made_does_not_stop_the_run(
    tiny_spec: EnsembleSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_module, "make_pairs", lambda *_args, **_options: [])
    store = run(tiny_spec, tmp_path / "run")
    assert store.is_complete
    assert "could not be checked" in store.errors()[0].message
