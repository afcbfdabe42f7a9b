"""Which score ranks, and the forms in which the outcome of a check is told."""

from __future__ import annotations

import dataclasses
import math

import pytest

from emoe_audit.analysis.intervals import Interval
from emoe_audit.validity.evidence import ProbeResult
from emoe_audit.validity.outcome import Check, ScoreCheck


def result(low: float, high: float, probe: str = "pseudo-words") -> ProbeResult:
    """A probe by what it shows beyond a placebo of 0.5."""
    beyond = Interval(value=(low + high) / 2, low=low, high=high)
    share = Interval(value=0.5 + beyond.value, low=0.5 + low, high=0.5 + high)
    return ProbeResult(probe=probe, n_pairs=60, n_languages=12, share=share, placebo=0.5, beyond=beyond)


def outcome(alignment: float = 0.9, **probes: tuple[tuple[float, float], ...]) -> Check:
    scores = [ScoreCheck(name=name, probes=tuple(result(*own) for own in found)) for name, found in probes.items()]
    return Check(ensemble="x", ensemble_hash="h", alignment=alignment, scores=tuple(scores))


GOOD, BETTER, UNCLEAR, TURNED = (0.1, 0.3), (0.2, 0.4), (-0.1, 0.2), (-0.3, -0.1)


@pytest.mark.parametrize(
    ("probes", "sign"),
    [((GOOD, BETTER), "holds"), ((GOOD, UNCLEAR), "unclear"), ((GOOD, TURNED), "turned"), ((), "unclear")],
)
def test_all_probes_must_agree(probes: tuple[tuple[float, float], ...], sign: str) -> None:
    (score,) = outcome(disagreement=probes).scores
    assert score.sign == sign


def test_a_score_is_as_strong_as_its_weakest_probe() -> None:
    """The other has the strongest probe of all, and the weaker one decides."""
    even, uneven = ((0.15, 0.3), (0.2, 0.3)), ((0.4, 0.5), (0.1, 0.2))
    found = outcome(disagreement=uneven, relative_disagreement=even)
    assert [score.strength for score in found.scores] == [0.1, 0.15]
    assert found.default_score == "relative_disagreement"
    assert outcome(disagreement=even, relative_disagreement=uneven).default_score == "disagreement"


def test_a_baseline_is_never_the_default() -> None:
    assert outcome(feature_power=(BETTER,), disagreement=(GOOD,)).default_score == "disagreement"
    assert outcome(translation_disagreement=(GOOD,), token_count=(BETTER,)).default_score == "translation_disagreement"


def test_there_is_no_default_where_none_holds_or_the_experts_cannot_be_compared() -> None:
    assert outcome(disagreement=(TURNED,), relative_disagreement=(UNCLEAR,)).default_score is None
    assert outcome(0.1, relative_disagreement=(GOOD,)).default_score is None
    assert outcome(disagreement=()).default_score is None
    assert math.isnan(ScoreCheck(name="disagreement", probes=()).strength)


def test_every_form_tells_the_share_the_placebo_and_the_difference() -> None:
    found = outcome(disagreement=(GOOD,))
    (published,) = found.to_json()["scores"][0]["probes"]
    assert published["sign"] == "holds" and published["placebo"] == 0.5
    assert (published["share"], published["beyond"], published["beyond_low"]) == pytest.approx((0.7, 0.2, 0.1))
    (row,) = found.to_frame().to_dict("records")
    assert (row["sign"], row["strict"], row["default_score"]) == ("holds", True, "disagreement")
    assert (row["share"], row["placebo"], row["beyond"]) == pytest.approx((0.7, 0.5, 0.2))
    assert (row["beyond_low"], row["beyond_high"]) == pytest.approx((0.1, 0.3))
    lines = found.to_text().splitlines()
    assert lines[0].split() == ["score", "sign", "pseudo-words"]
    assert "0.70 - 0.50 = +0.20 (+0.10 to +0.30)" in lines[1]
    assert lines[-2:] == ["default score: disagreement", "for prompts in one language: none"]


def test_a_frame_holds_the_whole_outcome() -> None:
    found = outcome(0.3, disagreement=(GOOD, TURNED), relative_disagreement=(UNCLEAR,))
    assert Check.from_frame(found.to_frame(), "x", "h") == found
    unknown = dataclasses.replace(found.scores[0].probes[0], beyond=Interval(value=0.1, low=math.nan, high=math.nan))
    few = dataclasses.replace(found, scores=(ScoreCheck(name="disagreement", probes=(unknown,)),))
    assert Check.from_frame(few.to_frame(), "x", "h").scores[0].sign == "unclear"
