"""The check on the tiny ensemble and on made-up scores whose sign is known."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch

from emoe_audit.analysis.intervals import Interval
from emoe_audit.errors import EnsembleError
from emoe_audit.experts.ensemble import load_ensemble
from emoe_audit.prompts.emoji import IMAGE_COLUMNS, caption_matrix
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.types import EnsembleSpec, ScoringConfig
from emoe_audit.validity.check import Check, ProbeResult, ScoreCheck, alignment, check, compare
from emoe_audit.validity.probes import Pair

PAIRS = [
    Pair(probe="pseudo-words", language=language, cluster=language, known="a", strange="b", n_tokens=1)
    for _ in range(10)
    for language in ("en", "de", "fr", "fi", "ja", "ko")
]


def result(low: float, high: float, probe: str = "pseudo-words") -> ProbeResult:
    share = Interval(value=(low + high) / 2, low=low, high=high)
    return ProbeResult(probe=probe, n_pairs=60, n_languages=6, share=share)


def outcome(alignment: float, **signs: tuple[float, float]) -> Check:
    scores = [ScoreCheck(name=name, probes=(result(*interval),)) for name, interval in signs.items()]
    return Check(ensemble="x", ensemble_hash="h", alignment=alignment, scores=tuple(scores))


def test_the_share_counts_the_pairs_in_which_the_strange_half_is_higher() -> None:
    known = pd.Series([0.0] * 60)
    strange = pd.Series([1.0] * 45 + [0.0] * 6 + [-1.0] * 9)
    (found,) = compare(PAIRS, known, strange)
    assert found.share.value == (45 + 3) / 60
    assert (found.n_pairs, found.n_languages, found.sign) == (60, 6, "holds")


def test_a_score_that_falls_on_strange_prompts_is_turned_and_one_that_ties_unclear() -> None:
    zeros = pd.Series(np.zeros(60))
    assert compare(PAIRS, zeros, zeros - 1)[0].sign == "turned"
    assert compare(PAIRS, zeros, zeros)[0].sign == "unclear"


def test_a_pair_without_a_score_is_left_out_and_one_language_says_nothing() -> None:
    known, strange = pd.Series([0.0] * 60), pd.Series([1.0] * 30 + [np.nan] * 30)
    (found,) = compare(PAIRS, known, strange)
    assert (found.n_pairs, found.share.value, found.sign) == (30, 1.0, "holds")
    (alone,) = compare(PAIRS[:1] * 60, known, known + 1)
    assert math.isnan(alone.share.low) and alone.sign == "unclear"


def test_pairs_of_one_cluster_are_drawn_together() -> None:
    alike = [dataclasses.replace(PAIRS[0], cluster=f"{place // 30}") for place in range(60)]
    apart = [dataclasses.replace(PAIRS[0], cluster=f"{place}") for place in range(60)]
    known, strange = pd.Series([0.0] * 60), pd.Series([1.0] * 30 + [-1.0] * 30)
    (two,), (sixty,) = compare(alike, known, strange), compare(apart, known, strange)
    assert (two.share.low, two.share.high) == (0, 1)
    # a share of an even number of independent pairs lies within 1.96 * sqrt(p * (1 - p) / n) of it
    assert sixty.share.low == pytest.approx(0.5 - 1.96 * math.sqrt(0.25 / 60), abs=0.02)
    assert two.n_languages == sixty.n_languages == 1


def test_captions_that_yield_no_pair_are_refused(tiny_spec: EnsembleSpec) -> None:
    engine = ScoringEngine(load_ensemble(tiny_spec, device="cpu"), ScoringConfig(n_noise=1, device="cpu"))
    with pytest.raises(EnsembleError, match="no pair of real and strange prompts"):
        check(engine, pd.DataFrame({"en": ["a", "b"]}))


def test_all_probes_must_agree() -> None:
    good, unclear, turned = result(0.6, 0.8), result(0.4, 0.7), result(0.2, 0.4)
    signs = [ScoreCheck(name="s", probes=p).sign for p in ((good, good), (good, unclear), (good, turned))]
    assert signs == ["holds", "unclear", "turned"]


def test_assumed_probes_decide_nothing() -> None:
    strict, assumed = result(0.6, 0.8), (result(0.1, 0.2, "rare words"), result(0.3, 0.7, "small languages"))
    score = ScoreCheck(name="disagreement", probes=(strict, *assumed))
    assert (score.sign, score.strength) == ("holds", 0.6)
    assert dataclasses.replace(outcome(0.9), scores=(score,)).default_score == "disagreement"
    only = ScoreCheck(name="disagreement", probes=(result(0.6, 0.8, "rare words"),))
    assert only.sign == "unclear" and math.isnan(only.strength)


def test_every_form_of_the_outcome_tells_strict_from_assumed() -> None:
    probes = (result(0.6, 0.8), result(0.1, 0.2, "rare words"))
    found = dataclasses.replace(outcome(0.9), scores=(ScoreCheck(name="disagreement", probes=probes),))
    (published,) = found.to_json()["scores"]
    assert [(p["probe"], p["strict"]) for p in published["probes"]] == [("pseudo-words", True), ("rare words", False)]
    frame = found.to_frame()
    assert frame["strict"].tolist() == [True, False]
    assert frame["sign"].tolist() == ["holds", "holds"]
    lines = found.to_text().splitlines()
    assert lines[0].split() == ["score", "sign", "pseudo-words"]
    assert "0.70 (0.60 to 0.80)" in lines[1] and "0.15" not in lines[1]
    assert lines[3].split() == ["score", "rare", "words", "(assumed)"]
    assert "0.15 (0.10 to 0.20)" in lines[4] and "0.70" not in lines[4]


def test_a_check_without_assumed_probes_has_no_table_of_them() -> None:
    assert "assumed" not in outcome(0.9, disagreement=(0.6, 0.8)).to_text()


def test_the_default_is_the_registered_score_that_holds_most_strongly() -> None:
    found = outcome(0.9, disagreement=(0.55, 0.7), relative_disagreement=(0.6, 0.8), feature_power=(0.7, 0.9))
    assert found.default_score == "relative_disagreement"


def test_the_translation_score_may_be_the_default_and_a_baseline_may_not() -> None:
    found = outcome(0.9, translation_disagreement=(0.65, 0.7), disagreement=(0.6, 0.8), token_count=(0.9, 1.0))
    assert found.default_score == "translation_disagreement"


def test_there_is_no_default_where_none_holds_or_the_experts_cannot_be_compared() -> None:
    assert outcome(0.9, disagreement=(0.2, 0.3), relative_disagreement=(0.4, 0.6)).default_score is None
    assert outcome(0.1, relative_disagreement=(0.6, 0.8)).default_score is None


def test_alignment_is_one_for_equal_experts_whatever_each_adds_to_all_prompts() -> None:
    features = torch.randn(1, 20, 30).repeat(3, 1, 1) + torch.randn(3, 1, 30)
    assert alignment(features) == pytest.approx(1, abs=1e-6)


def test_alignment_is_the_mean_correlation_of_what_the_prompts_do() -> None:
    features = torch.randn(3, 20, 30)
    effects = (features - features.mean(dim=1, keepdim=True)).reshape(3, -1).numpy()
    assert alignment(features) == pytest.approx(np.corrcoef(effects)[np.triu_indices(3, 1)].mean(), abs=1e-6)


def test_token_counts_cannot_tell_the_halves_of_a_pair_apart(tiny_spec: EnsembleSpec) -> None:
    engine = ScoringEngine(load_ensemble(tiny_spec, device="cpu"), ScoringConfig(n_noise=1, device="cpu"))
    captions = caption_matrix(tiny_spec).drop(columns=[*IMAGE_COLUMNS])
    found = check(engine, captions, n_per_language=4)
    by_name = {score.name: score for score in found.scores}
    probes = by_name["token_count"].probes
    assert [probe.strict for probe in probes[:3]] == [True, True, False]
    assert {probe.share.value for probe in probes} == {0.5}
    assert 0 < by_name["relative_disagreement"].probes[0].share.value < 1
    assert found.scores[0].name == "translation_disagreement"
    of_captions = found.scores[0].probes
    assert [probe.probe for probe in of_captions] == ["pseudo-words", "shuffled letters"], "others have no caption"
    assert [p.n_pairs for p in of_captions] == [p.n_pairs for p in probes[:2]]
    assert found.ensemble_hash == engine.ensemble_hash
    assert 0 < found.alignment < 1


def test_a_check_without_pairs_chooses_nothing() -> None:
    empty = ScoreCheck(name="disagreement", probes=())
    assert empty.sign == "unclear"
    assert math.isnan(empty.strength)
    assert dataclasses.replace(outcome(0.9), scores=(empty,)).default_score is None
