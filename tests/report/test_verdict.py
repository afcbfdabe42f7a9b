from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoe_audit.analysis.intervals import Estimate
from emoe_audit.decisions.ranking import ScoreValidity, Validity
from emoe_audit.report.data import Correlation, GroupRow, GroupTable, Quartile, QuartileTable, ReportData
from emoe_audit.report.verdict import trust_status, verdict

RELATIVE, PLAIN, TRANSLATION = "relative_disagreement", "disagreement", "translation_disagreement"


def correlation(
    y: str, rho: float, half: float = 0.1, *, given: str | None = None, score: str = RELATIVE
) -> Correlation:
    level = "language" if y == "training_coverage" else "prompt"
    return Correlation(x=score, y=y, level=level, given=given, n=40, rho=rho, low=rho - half, high=rho + half)


def table(gaps: dict[str, tuple[float, float]], score: str = RELATIVE, p: float = 0.01) -> GroupTable:
    """Groups with a gap interval each, around an overall mean of 1; an undefined interval lies around a gap of 0.5."""
    rows = []
    for group, (low, high) in gaps.items():
        middle = 0.5 if math.isnan(low) else (low + high) / 2
        gap = Estimate(mean=middle, low=low, high=high, n_prompts=9)
        own = Estimate(mean=1 + gap.mean, low=1 + low, high=1 + high, n_prompts=9)
        estimates = {score: own}
        rows.append(GroupRow(group=group, label=group, n_prompts=9, n_sources=9, estimates=estimates, gap=gap, p=p))
    return GroupTable(by="language", title="By language", score=score, overall={score: 1.0}, rows=tuple(rows))


def quarters(*means: float, score: str = RELATIVE) -> tuple[QuartileTable, ...]:
    rows = tuple(
        Quartile(quartile=i, score_mean=float(i), quality=Estimate(mean=m, low=m, high=m, n_prompts=9))
        for i, m in enumerate(means, start=1)
    )
    return (QuartileTable(score=score, measure="clip_cosine", quartiles=rows),)


GAPS = {"Thai": (0.4, 0.6), "Finnish": (-0.1, 0.1), "English": (-0.5, -0.3)}
GROUPS = (table(GAPS),)
FALLING = quarters(0.6, 0.5, 0.3, 0.1)


def test_the_groups_that_are_named_lie_clearly_above_the_average() -> None:
    said = verdict("emoji", RELATIVE, GROUPS, FALLING, (correlation("clip_cosine", -0.6),)).where
    assert "Thai" in said and "1.50 times" in said
    assert "Finnish" not in said
    assert "1 of 3 languages lie clearly above that average, 1 clearly below" in said
    assert "English is the surest" in said


@pytest.mark.parametrize(
    ("score", "told"),
    [
        (RELATIVE, "in Thai, where its experts disagree 1.50 times as much as on the average prompt;"),
        (PLAIN, "in Thai, where its experts disagree 1.50 times as much as on the average prompt;"),
        (TRANSLATION, "in Thai, which it reads 1.50 times as far from their translations as the average prompt;"),
    ],
)
def test_a_group_that_stands_out_is_told_in_the_words_of_the_score_that_ranks(score: str, told: str) -> None:
    assert told in verdict("emoji", score, (table(GAPS, score),), FALLING, ()).where


@pytest.mark.parametrize(
    ("score", "told"),
    [
        (RELATIVE, "in none of 2 languages do the experts of emoji disagree clearly more than on the average prompt."),
        (
            TRANSLATION,
            "in none of 2 languages does emoji read prompts clearly further from their translations than the average "
            "prompt.",
        ),
    ],
)
def test_that_no_group_stands_out_is_told_in_these_words_too(score: str, told: str) -> None:
    unclear = table({"Thai": (-0.1, 0.6), "English": (-0.5, 0.1)}, score)
    assert verdict("emoji", score, (unclear,), FALLING, ()).where.endswith(told)


def test_a_group_without_the_score_is_neither_counted_nor_the_surest() -> None:
    unscored = GroupRow(
        group="Welsh", label="Welsh", n_prompts=9, n_sources=9, estimates={},
        gap=Estimate(mean=math.nan, low=math.nan, high=math.nan, n_prompts=0), p=math.nan,
    )  # fmt: skip
    known = table(GAPS, TRANSLATION)
    said = verdict("emoji", TRANSLATION, (replace(known, rows=(*known.rows, unscored)),), FALLING, ()).where
    assert "1 of 3 languages" in said and "English is the surest" in said


def test_no_group_is_named_when_none_is_clear() -> None:
    said = verdict("emoji", RELATIVE, (table({"Thai": (-0.1, 0.6), "English": (-0.5, 0.1)}),), FALLING, ()).where
    assert said.startswith("No language stands out")
    assert "Thai" not in said


def test_a_group_that_is_clear_by_itself_but_not_among_all_that_are_tested_is_not_named() -> None:
    said = verdict("emoji", RELATIVE, (table(GAPS, p=0.2),), FALLING, ()).where
    assert said.startswith("No language stands out")


def test_an_undefined_interval_is_no_claim() -> None:
    said = verdict(
        "emoji", RELATIVE, (table({"Thai": (math.nan, math.nan), "English": (-0.5, 0.1)}),), FALLING, ()
    ).where
    assert said.startswith("No language stands out")


def test_one_group_alone_cannot_be_compared() -> None:
    assert "no two groups" in verdict("emoji", RELATIVE, (table({"Thai": (0.1, 0.2)}),), FALLING, ()).where
    assert "no two groups" in verdict("emoji", RELATIVE, (), FALLING, ()).where


@pytest.mark.parametrize(
    ("rho", "opening", "verb"),
    [
        (-0.6, "Images fit their captions less well", "falls"),
        (0.6, "Images fit their captions better, not worse", "rises"),
        (0.02, "Disagreement and image quality are not clearly related", "goes"),
    ],
)
def test_the_second_sentence_follows_the_interval_of_the_correlation(rho: float, opening: str, verb: str) -> None:
    said = verdict("emoji", RELATIVE, GROUPS, FALLING, (correlation("clip_cosine", rho),)).quality
    assert said.startswith(opening)
    assert f"{verb} from 0.60 to 0.10" in said


@pytest.mark.parametrize(
    ("score", "where"),
    [
        (RELATIVE, "where the experts disagree more"),
        (TRANSLATION, "where prompts are read further from their translations"),
    ],
)
def test_the_second_sentence_is_told_in_the_words_of_the_score_that_ranks(score: str, where: str) -> None:
    for rho, opening in ((-0.6, "less well"), (0.6, "better, not worse,")):
        found = (correlation("clip_cosine", rho, score=score),)
        said = verdict("emoji", score, (), quarters(0.6, 0.1, score=score), found).quality
        assert said.startswith(f"Images fit their captions {opening} {where}:")


def test_correlations_and_quartiles_of_another_score_support_nothing() -> None:
    said = verdict("emoji", TRANSLATION, (), FALLING, (correlation("clip_cosine", -0.6),))
    assert said.quality.startswith("No images were judged")
    assert said.status == "unchecked"


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
    assert verdict("emoji", RELATIVE, GROUPS, FALLING, given).status == status


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 1)), max_size=4))
def test_no_status_claims_more_than_the_intervals_say(checks: list[tuple[float, float]]) -> None:
    given_checks = [correlation("clip_cosine", rho, half) for rho, half in checks]
    status = trust_status([check.side for check in given_checks])
    assert (status == "confirmed") == bool(checks and all(c.high < 0 for c in given_checks))
    assert (status == "contradicted") == any(c.low > 0 for c in given_checks)


def test_an_unconfirmed_sign_is_said_and_so_is_what_supports_it() -> None:
    said = verdict(
        "emoji", RELATIVE, GROUPS, FALLING, (correlation("clip_cosine", -0.6), correlation("training_coverage", 0.02))
    ).trust
    assert "not confirmed by the known training coverage of 40 languages" in said
    assert "although image quality supports it" in said
    assert said.startswith("Do not act")


def test_what_token_count_explains_is_told_apart() -> None:
    plain = (correlation("clip_cosine", -0.6), correlation("training_coverage", -0.8))
    beyond = verdict(
        "emoji", RELATIVE, GROUPS, FALLING, (*plain, correlation("training_coverage", -0.7, given="n_tokens"))
    ).trust
    not_beyond = verdict(
        "emoji", RELATIVE, GROUPS, FALLING, (*plain, correlation("training_coverage", -0.05, given="n_tokens"))
    ).trust
    assert ", beyond what the number of tokens explains" in beyond
    assert "but not beyond what the number of tokens explains" in not_beyond


def validity(sign: Literal["holds", "unclear", "turned"], score: str = RELATIVE, **changes: Any) -> Validity:
    share = Estimate(mean=0.8, low=0.7, high=0.9, n_prompts=40)
    own = ScoreValidity(score=score, sign=sign, shares={"pseudo-words": share})
    values: dict[str, Any] = {
        "alignment": 0.9,
        "comparable": True,
        "default_score": score,
        "scores": (own,),
    }
    return Validity(**(values | changes))


@pytest.mark.parametrize(
    ("sign", "status"), [("holds", "confirmed"), ("unclear", "unconfirmed"), ("turned", "contradicted")]
)
def test_the_check_on_strange_prompts_counts_like_quality_and_coverage(
    sign: Literal["holds", "unclear", "turned"], status: str
) -> None:
    assert (
        verdict("emoji", RELATIVE, GROUPS, FALLING, (correlation("clip_cosine", -0.6),), validity(sign)).status
        == status
    )
    assert verdict("emoji", RELATIVE, GROUPS, (), (), validity(sign)).status == status
    assert verdict("emoji", TRANSLATION, (), (), (), validity(sign, TRANSLATION)).status == status


def test_what_the_check_says_of_another_score_counts_for_nothing() -> None:
    said = verdict("emoji", TRANSLATION, (), (), (), validity("turned", RELATIVE))
    assert said.status == "unchecked"
    assert "says nothing of the score that ranks" in said.validity


def test_the_outcome_of_the_check_is_told_with_its_interval() -> None:
    said = verdict("emoji", RELATIVE, GROUPS, FALLING, (), validity("holds")).validity
    assert "80% of the pairs with pseudo-words (95% interval 70% to 90%)" in said
    assert "its sign holds, and no other score does better" in said


def test_too_few_languages_for_an_interval_give_none() -> None:
    share = Estimate(mean=0.8, low=math.nan, high=math.nan, n_prompts=4)
    own = ScoreValidity(score=RELATIVE, sign="unclear", shares={"pseudo-words": share})
    said = verdict("emoji", RELATIVE, GROUPS, FALLING, (), validity("unclear", scores=(own,))).validity
    assert "80% of the pairs with pseudo-words: its sign is unclear" in said


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (validity("holds", default_score=PLAIN), "and plain disagreement, which this run does not hold, does better"),
        (validity("turned", default_score=None), "its sign is wrong, and no score is valid on this ensemble"),
        (validity("unclear", comparable=False, alignment=0.1, default_score=None), "no score of this ensemble means"),
        (None, "was not tested"),
    ],
)
def test_the_report_says_when_no_score_is_valid_and_when_another_is_better(found: Validity | None, told: str) -> None:
    assert told.casefold() in verdict("emoji", RELATIVE, GROUPS, FALLING, (), found).validity.casefold()


def test_experts_that_cannot_be_compared_confirm_nothing() -> None:
    found = validity("holds", comparable=False)
    assert (
        verdict("emoji", RELATIVE, GROUPS, FALLING, (correlation("clip_cosine", -0.6),), found).status == "unconfirmed"
    )


def test_the_verdict_is_four_sentences(report: ReportData) -> None:
    for said in (report.verdict.where, report.verdict.quality, report.verdict.validity, report.verdict.trust):
        assert said.endswith(".")
        assert ". " not in said


def test_the_synthetic_run_whose_score_tracks_coverage_is_confirmed(report: ReportData) -> None:
    assert report.verdict.status == "confirmed"
    assert "Swahili" in report.verdict.where
