from __future__ import annotations

import math
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoe_audit.report.data import (
    Correlation,
    Estimate,
    GroupRow,
    GroupTable,
    Quartile,
    QuartileTable,
    ReportData,
    ScoreValidity,
    Validity,
)
from emoe_audit.report.verdict import trust_status, verdict


def correlation(y: str, rho: float, half: float = 0.1, *, given: str | None = None) -> Correlation:
    level = "language" if y == "training_coverage" else "prompt"
    return Correlation(
        x="relative_disagreement", y=y, level=level, given=given, n=40, rho=rho, low=rho - half, high=rho + half
    )


def table(gaps: dict[str, tuple[float, float]]) -> GroupTable:
    """Groups with a gap interval each, around an overall mean of 1."""
    rows = []
    for group, (low, high) in gaps.items():
        gap = Estimate(mean=(low + high) / 2, low=low, high=high, n_prompts=9)
        own = Estimate(mean=1 + gap.mean, low=1 + low, high=1 + high, n_prompts=9)
        estimates = {"relative_disagreement": own}
        rows.append(GroupRow(group=group, label=group, n_prompts=9, n_sources=9, estimates=estimates, gap=gap))
    return GroupTable(by="language", title="By language", overall={"relative_disagreement": 1.0}, rows=tuple(rows))


def quarters(*means: float) -> tuple[QuartileTable, ...]:
    rows = tuple(
        Quartile(quartile=i, score_mean=float(i), quality=Estimate(mean=m, low=m, high=m, n_prompts=9))
        for i, m in enumerate(means, start=1)
    )
    return (QuartileTable(score="relative_disagreement", measure="clip_cosine", quartiles=rows),)


GROUPS = (table({"Thai": (0.4, 0.6), "Finnish": (-0.1, 0.1), "English": (-0.5, -0.3)}),)
FALLING = quarters(0.6, 0.5, 0.3, 0.1)


def test_the_groups_that_are_named_lie_clearly_above_the_average() -> None:
    said = verdict("emoji", GROUPS, FALLING, (correlation("clip_cosine", -0.6),)).where
    assert "Thai" in said and "1.50 times" in said
    assert "Finnish" not in said
    assert "1 of 3 languages lie clearly above that average, 1 clearly below" in said
    assert "English is the surest" in said


def test_no_group_is_named_when_none_is_clear() -> None:
    said = verdict("emoji", (table({"Thai": (-0.1, 0.6), "English": (-0.5, 0.1)}),), FALLING, ()).where
    assert said.startswith("No language stands out")
    assert "Thai" not in said


def test_an_undefined_interval_is_no_claim() -> None:
    said = verdict("emoji", (table({"Thai": (math.nan, math.nan), "English": (-0.5, 0.1)}),), FALLING, ()).where
    assert said.startswith("No language stands out")


def test_one_group_alone_cannot_be_compared() -> None:
    assert "no two groups" in verdict("emoji", (table({"Thai": (0.1, 0.2)}),), FALLING, ()).where
    assert "no two groups" in verdict("emoji", (), FALLING, ()).where


@pytest.mark.parametrize(
    ("rho", "opening", "verb"),
    [
        (-0.6, "Images fit their captions less well", "falls"),
        (0.6, "Images fit their captions better, not worse", "rises"),
        (0.02, "Disagreement and image quality are not clearly related", "goes"),
    ],
)
def test_the_second_sentence_follows_the_interval_of_the_correlation(rho: float, opening: str, verb: str) -> None:
    said = verdict("emoji", GROUPS, FALLING, (correlation("clip_cosine", rho),)).quality
    assert said.startswith(opening)
    assert f"{verb} from 0.60 to 0.10" in said


@pytest.mark.parametrize(
    ("quality", "coverage", "status"),
    [
        (-0.6, -0.8, "confirmed"),
        (-0.6, None, "confirmed"),
        (-0.6, -0.05, "unconfirmed"),
        (0.05, None, "unconfirmed"),
        (-0.6, 0.8, "contradicted"),
        (0.6, 0.05, "contradicted"),
        (None, None, "unchecked"),
        (math.nan, None, "unconfirmed"),
    ],
)
def test_trust_needs_every_check_to_be_clearly_negative(
    quality: float | None, coverage: float | None, status: str
) -> None:
    pairs = [("clip_cosine", quality), ("training_coverage", coverage)]
    given = tuple(correlation(y, rho) for y, rho in pairs if rho is not None)
    assert verdict("emoji", GROUPS, FALLING, given).status == status


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 1)), max_size=4))
def test_no_status_claims_more_than_the_intervals_say(checks: list[tuple[float, float]]) -> None:
    given_checks = [correlation("clip_cosine", rho, half) for rho, half in checks]
    status = trust_status([check.side for check in given_checks])
    assert (status == "confirmed") == bool(checks and all(c.high < 0 for c in given_checks))
    assert (status == "contradicted") == any(c.low > 0 for c in given_checks)


def test_an_unconfirmed_sign_is_said_and_so_is_what_supports_it() -> None:
    said = verdict(
        "emoji", GROUPS, FALLING, (correlation("clip_cosine", -0.6), correlation("training_coverage", 0.02))
    ).trust
    assert "not confirmed by the known training coverage of 40 languages" in said
    assert "although image quality supports it" in said
    assert said.startswith("Do not act")


def test_what_token_count_explains_is_told_apart() -> None:
    plain = (correlation("clip_cosine", -0.6), correlation("training_coverage", -0.8))
    beyond = verdict("emoji", GROUPS, FALLING, (*plain, correlation("training_coverage", -0.7, given="n_tokens"))).trust
    not_beyond = verdict(
        "emoji", GROUPS, FALLING, (*plain, correlation("training_coverage", -0.05, given="n_tokens"))
    ).trust
    assert ", beyond what the number of tokens explains" in beyond
    assert "but not beyond what the number of tokens explains" in not_beyond


def validity(sign: Literal["holds", "unclear", "turned"], **changes: Any) -> Validity:
    share = Estimate(mean=0.8, low=0.7, high=0.9, n_prompts=40)
    own = ScoreValidity(score="relative_disagreement", sign=sign, shares={"pseudo-words": share})
    values: dict[str, Any] = {
        "alignment": 0.9,
        "comparable": True,
        "default_score": "relative_disagreement",
        "scores": (own,),
    }
    return Validity(**(values | changes))


@pytest.mark.parametrize(
    ("sign", "status"), [("holds", "confirmed"), ("unclear", "unconfirmed"), ("turned", "contradicted")]
)
def test_the_check_on_strange_prompts_counts_like_quality_and_coverage(
    sign: Literal["holds", "unclear", "turned"], status: str
) -> None:
    assert verdict("emoji", GROUPS, FALLING, (correlation("clip_cosine", -0.6),), validity(sign)).status == status
    assert verdict("emoji", GROUPS, (), (), validity(sign)).status == status


def test_the_outcome_of_the_check_is_told_with_its_interval() -> None:
    said = verdict("emoji", GROUPS, FALLING, (), validity("holds")).validity
    assert "80% of the pairs with pseudo-words (95% interval 70% to 90%)" in said
    assert "its sign holds, and no other score does better" in said


def test_too_few_languages_for_an_interval_give_none() -> None:
    share = Estimate(mean=0.8, low=math.nan, high=math.nan, n_prompts=4)
    own = ScoreValidity(score="relative_disagreement", sign="unclear", shares={"pseudo-words": share})
    said = verdict("emoji", GROUPS, FALLING, (), validity("unclear", scores=(own,))).validity
    assert "80% of the pairs with pseudo-words: its sign is unclear" in said


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (validity("holds", default_score="disagreement"), "and disagreement does better"),
        (validity("turned", default_score=None), "its sign is wrong, and no score is valid on this ensemble"),
        (validity("unclear", comparable=False, alignment=0.1, default_score=None), "no score of this ensemble means"),
        (None, "was not tested"),
    ],
)
def test_the_report_says_when_no_score_is_valid_and_when_another_is_better(found: Validity | None, told: str) -> None:
    assert told.casefold() in verdict("emoji", GROUPS, FALLING, (), found).validity.casefold()


def test_experts_that_cannot_be_compared_confirm_nothing() -> None:
    found = validity("holds", comparable=False)
    assert verdict("emoji", GROUPS, FALLING, (correlation("clip_cosine", -0.6),), found).status == "unconfirmed"


def test_the_verdict_is_four_sentences(report: ReportData) -> None:
    for said in (report.verdict.where, report.verdict.quality, report.verdict.validity, report.verdict.trust):
        assert said.endswith(".")
        assert ". " not in said


def test_the_synthetic_run_whose_score_tracks_coverage_is_confirmed(report: ReportData) -> None:
    assert report.verdict.status == "confirmed"
    assert "Swahili" in report.verdict.where
