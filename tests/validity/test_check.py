"""The check on ensembles of random weights, of which nothing holds, and what it costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from emoe_audit.analysis.calibration import Calibration
from emoe_audit.errors import EnsembleError
from emoe_audit.prompts.shipped import shipped_captions
from emoe_audit.scoring.calibration import calibrate, calibration_captions
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.scoring.loading import load_engine
from emoe_audit.types import EnsembleSpec, Prompt, ScoringConfig
from emoe_audit.validity.check import alignment, check, draw
from emoe_audit.validity.outcome import Check, ScoreCheck
from emoe_audit.validity.probes import MOST_TEXTS
from tests.validity.asked import texts_asked_for

SCORING = ScoringConfig(n_noise=1, batch_size=64, device="cpu")


@pytest.fixture(scope="module")
def engine(tiny_spec: EnsembleSpec) -> ScoringEngine:
    return load_engine(tiny_spec, SCORING)


@pytest.fixture(scope="module")
def found(tiny_spec: EnsembleSpec, engine: ScoringEngine) -> Check:
    captions = calibration_captions(tiny_spec)
    return check(engine, captions, calibrate(engine, captions), n_per_language=4)


def of(found: Check, name: str) -> ScoreCheck:
    return next(score for score in found.scores if score.name == name)


def test_nothing_holds_on_random_weights_in_four_languages(found: Check) -> None:
    assert {score.sign for score in found.scores} == {"unclear"}
    assert found.default_score is None
    assert 0 < found.alignment < 1


def test_token_counts_cannot_tell_the_texts_of_a_pair_apart(found: Check) -> None:
    probes = of(found, "token_count").probes
    assert {probe.share.value for probe in probes} == {probe.placebo for probe in probes} == {0.5}
    assert 0 < of(found, "relative_disagreement").probes[0].share.value < 1
    assert found.scores[0].name == "translation_disagreement"


def test_captions_that_yield_no_pair_are_refused(engine: ScoringEngine) -> None:
    captions = pd.DataFrame({"en": list("abcdefgh"), "de": list("abcdefgh")})
    with pytest.raises(EnsembleError, match="no pair of real and strange prompts"):
        check(engine, captions, calibrate(engine, captions))


@pytest.mark.slow
def test_at_most_so_many_texts_go_through_the_experts(tiny_spec: EnsembleSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Captions in forty languages; what the experts are asked for is counted where they are asked."""
    engine = load_engine(replace(tiny_spec, captions=None), SCORING)
    passed = texts_asked_for(monkeypatch)
    captions = shipped_captions()
    found = check(engine, captions, calibrate(engine, captions), n_per_language=50)
    assert 300 < sum(passed) <= MOST_TEXTS
    assert found.default_score is None
    assert all(probe.n_languages > 20 for probe in of(found, "disagreement").probes)


def test_captions_are_drawn_in_languages_that_are_known() -> None:
    captions = pd.DataFrame({"en": ["A", "B"], "de": ["C", "D"], "xx": ["E", "F"]})
    known = Calibration(languages=("de", "en"), means=np.zeros((2, 4)), cosines=np.zeros((2, 2, 2)), alike=1.0)
    drawn = draw(captions, known)
    assert list(drawn) == ["de", "en"]
    assert sorted(drawn["en"]) == ["a", "b"]
    assert sorted(drawn.index) == ["0", "1"]


def test_alignment_is_one_for_equal_experts_whatever_each_adds_to_all_prompts() -> None:
    features = torch.randn(1, 20, 30).repeat(3, 1, 1) + torch.randn(3, 1, 30)
    assert alignment(features) == pytest.approx(1, abs=1e-6)


def test_alignment_is_the_mean_correlation_of_what_the_prompts_do() -> None:
    features = torch.randn(3, 20, 30)
    effects = (features - features.mean(dim=1, keepdim=True)).reshape(3, -1).numpy()
    assert alignment(features) == pytest.approx(np.corrcoef(effects)[np.triu_indices(3, 1)].mean(), abs=1e-6)


def test_the_values_of_a_pair_are_those_of_its_texts(tiny_spec: EnsembleSpec, engine: ScoringEngine) -> None:
    """The share by hand: every pair's own texts scored one by one."""
    from emoe_audit.validity.probes import make_pairs
    from emoe_audit.validity.reader import TextReader

    captions = calibration_captions(tiny_spec)
    known = calibrate(engine, captions)
    drawn = draw(captions, known.calibration)
    words = {name: {word for text in captions[name] for word in str(text).casefold().split()} for name in drawn}
    pairs = make_pairs(drawn, words, TextReader(engine=engine).count, n_per_language=1)
    share: dict[str, list[float]] = {}
    for pair in pairs:
        real, strange = (
            engine.score([Prompt(prompt_id="x", prompt=text)])["disagreement"].iloc[0]
            for text in (pair.known, pair.strange)
        )
        share.setdefault(pair.probe, []).append(strange > real)
    found = check(engine, captions, known, n_per_language=1)
    of_check = {probe.probe: probe.share.value for probe in of(found, "disagreement").probes}
    assert of_check == {probe: np.mean(values) for probe, values in share.items()}
