from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import pytest

from emoe_audit.analysis.intervals import Estimate
from emoe_audit.decisions.evidence import Standing
from emoe_audit.decisions.ranking import ScoreValidity, Validity
from emoe_audit.decisions.rungs import LADDER, Rung
from emoe_audit.report.data import (
    Company,
    Correlation,
    Extremes,
    Faults,
    GroupRow,
    GroupTable,
    Quartile,
    QuartileTable,
    ReportData,
    Scope,
    Verdict,
)
from emoe_audit.report.verdict import verdict

RELATIVE, PLAIN, TRANSLATION = "relative_disagreement", "disagreement", "translation_disagreement"
ALONE = "unfamiliarity"


def correlation(y: str, rho: float, half: float = 0.1, *, n: int = 40, score: str = RELATIVE) -> Correlation:
    return Correlation(x=score, y=y, level="prompt", given=None, n=n, rho=rho, low=rho - half, high=rho + half)


def counted(n_judged: int = 40, n_languages: int = 10) -> Scope:
    return Scope(
        n_prompts=400, n_scored=400, n_ranked=400, n_sources=40, n_languages=n_languages, n_regions=2,
        n_judged=n_judged, n_images=n_judged, n_truncated=0, noise_share=0.1,
        faults=Faults(total=0, by_stage={}, examples=()),
        company=Company(n_unjudged=0, missing=(), n_read_as=0, read_as=()),
    )  # fmt: skip


def said_of(
    groups: tuple[GroupTable, ...] = (),
    quartiles: tuple[QuartileTable, ...] = (),
    correlations: tuple[Correlation, ...] = (),
    *,
    score: str = RELATIVE,
    scope: Scope | None = None,
    rung: Rung = "none",
    **changes: Any,
) -> Verdict:
    standing = Standing(rung=rung, word=LADDER[rung].word, sentence="What the ranking rests on.", evidence=())
    scope = scope or counted()
    return verdict("emoji", score, groups, quartiles, correlations, standing=standing, scope=scope, **changes)


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
    said = said_of(GROUPS).where
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
        (ALONE, "in Thai, of which its text encoder makes 1.50 times as little as of the average prompt;"),
    ],
)
def test_a_group_that_stands_out_is_told_in_the_words_of_the_score_that_ranks(score: str, told: str) -> None:
    assert told in said_of((table(GAPS, score),), score=score).where


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
    assert said_of((unclear,), score=score).where.endswith(told)


def test_without_groups_the_prompts_at_both_ends_are_named() -> None:
    ends = Extremes(unsure=("an abacus", "x" * 50, "a <b>"), sure=("a dog", "a cat", "\u202ethe sun"))
    said = said_of(score=ALONE, extremes=ends, rung="checks")
    bare = said.where.replace("\u2068", "").replace("\u2069", "")
    assert bare == (
        f"emoji is most unsure about the prompts “an abacus”, “{'x' * 39}…” and “a <b>”, "
        "and surest about “a dog”, “a cat” and “the sun”."
    )
    for rung in ("none", "contradicted"):
        assert "no two groups" in said_of(score=ALONE, extremes=ends, rung=rung).where


def test_the_score_of_one_language_ranks_because_there_are_no_translations() -> None:
    said = said_of(score=ALONE, validity=validity("holds", ALONE, default_score=None)).validity
    assert said.endswith("its sign holds, and it ranks, as no translation score could be given.")


def test_the_language_that_was_asked_is_named_and_experts_need_not_be_comparable() -> None:
    (own,) = validity("holds", ALONE).scores
    found = validity("holds", ALONE, scores=(replace(own, language="en"),), comparable=False, default_score=None)
    assert "80% of the pairs with pseudo-words in English" in said_of(score=ALONE, validity=found).validity


def test_a_group_without_the_score_is_neither_counted_nor_the_surest() -> None:
    unscored = GroupRow(
        group="Welsh", label="Welsh", n_prompts=9, n_sources=9, estimates={},
        gap=Estimate(mean=math.nan, low=math.nan, high=math.nan, n_prompts=0), p=math.nan,
    )  # fmt: skip
    known = table(GAPS, TRANSLATION)
    said = said_of((replace(known, rows=(*known.rows, unscored)),), score=TRANSLATION).where
    assert "1 of 3 languages" in said and "English is the surest" in said


def test_no_group_is_named_when_none_is_clear() -> None:
    said = said_of((table({"Thai": (-0.1, 0.6), "English": (-0.5, 0.1)}),)).where
    assert said.startswith("No language stands out")
    assert "Thai" not in said


def test_a_group_that_is_clear_by_itself_but_not_among_all_that_are_tested_is_not_named() -> None:
    said = said_of((table(GAPS, p=0.2),)).where
    assert said.startswith("No language stands out")


def test_an_undefined_interval_is_no_claim() -> None:
    said = said_of((table({"Thai": (math.nan, math.nan), "English": (-0.5, 0.1)}),)).where
    assert said.startswith("No language stands out")


def test_one_group_alone_cannot_be_compared() -> None:
    assert "no two groups" in said_of((table({"Thai": (0.1, 0.2)}),)).where
    assert "no two groups" in said_of(()).where


@pytest.mark.parametrize(("ranked", "told"), [(0, "Of 3 languages none holds"), (1, "Of 3 languages only one holds")])
def test_groups_that_hold_too_few_captions_are_counted_and_not_denied(ranked: int, told: str) -> None:
    whole = table(GAPS)
    rows = tuple(row if place < ranked else replace(row, estimates={}) for place, row in enumerate(whole.rows))
    said = said_of((replace(whole, rows=rows),)).where
    assert said.startswith(told) and said.endswith("it is not clear where emoji is most unsure.")


@pytest.mark.parametrize(
    ("rho", "opening", "verb"),
    [
        (-0.6, "Images fit their captions less well", "falls"),
        (0.6, "Images fit their captions better, not worse", "rises"),
        (0.02, "The score and image quality are not clearly related", "goes"),
    ],
)
def test_the_second_sentence_follows_the_interval_of_the_correlation(rho: float, opening: str, verb: str) -> None:
    said = said_of(GROUPS, FALLING, (correlation("clip_cosine", rho),)).quality
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
        said = said_of((), quarters(0.6, 0.1, score=score), found, score=score).quality
        assert said.startswith(f"Images fit their captions {opening} {where}:")


def test_correlations_and_quartiles_of_another_score_say_nothing() -> None:
    said = said_of((), FALLING, (correlation("clip_cosine", -0.6),), score=TRANSLATION).quality
    assert said.startswith("No prompt with a judged image has the score that ranks")


@pytest.mark.parametrize(
    ("n_judged", "found", "told"),
    [
        (0, None, "No images were judged in this run"),
        (3, correlation("clip_cosine", -0.6, n=3), "Image quality is known of 3 prompts in this run, too few to say"),
        (1, correlation("clip_cosine", math.nan, n=1), "Image quality is known of 1 prompt in this run, too few"),
    ],
)
def test_few_images_are_counted_and_not_denied(n_judged: int, found: Correlation | None, told: str) -> None:
    given = () if found is None else (found,)
    assert said_of(GROUPS, (), given, scope=counted(n_judged)).quality.startswith(told)


def test_quality_of_one_caption_is_no_trend() -> None:
    said = said_of(GROUPS, FALLING, (correlation("clip_cosine", math.nan),)).quality
    assert said == (
        "Image quality is known of 40 prompts in this run, which is not enough to say whether unsure prompts come out "
        "worse as images."
    )


def test_a_judge_of_native_captions_is_said_not_to_be_known() -> None:
    native = (correlation("clip_cosine", -0.6),)
    assert said_of(GROUPS, FALLING, native).quality.endswith("it is not known how well it reads each language.")
    assert "not known" not in said_of(GROUPS, FALLING, native, scope=counted(n_languages=1)).quality
    source = tuple(replace(t, measure="clip_cosine_source") for t in FALLING)
    known = (correlation("clip_cosine_source", -0.6),)
    assert "not known" not in said_of(GROUPS, source, known, quality="clip_cosine_source").quality


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


def test_what_the_check_says_of_another_score_counts_for_nothing() -> None:
    said = said_of(score=TRANSLATION, validity=validity("turned", RELATIVE))
    assert "says nothing of the score that ranks" in said.validity


def test_the_outcome_of_the_check_is_told_with_its_interval() -> None:
    said = said_of(validity=validity("holds")).validity
    assert "80% of the pairs with pseudo-words (95% interval 70% to 90%)" in said
    assert "its sign holds, and no other score does better" in said


def test_what_a_placebo_shows_is_told_beside_it() -> None:
    share = Estimate(mean=0.78, low=0.7, high=0.9, n_prompts=40)
    beyond = Estimate(mean=0.32, low=0.2, high=0.44, n_prompts=40)
    probe = "pseudo-words"
    own = ScoreValidity(score=RELATIVE, sign="holds", shares={probe: share}, beyond={probe: beyond})
    said = said_of(validity=validity("holds", scores=(own,))).validity
    assert "with pseudo-words (a readable placebo in 46%: 32 points more, 95% interval 20 to 44)" in said


def test_too_few_languages_for_an_interval_give_none() -> None:
    share = Estimate(mean=0.8, low=math.nan, high=math.nan, n_prompts=4)
    own = ScoreValidity(score=RELATIVE, sign="unclear", shares={"pseudo-words": share})
    said = said_of(validity=validity("unclear", scores=(own,))).validity
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
    assert told.casefold() in said_of(validity=found).validity.casefold()


def test_the_verdict_is_four_sentences(report: ReportData) -> None:
    for said in (report.verdict.where, report.verdict.quality, report.verdict.validity, report.verdict.trust):
        assert said.endswith(".")
        assert ". " not in said


def test_the_synthetic_run_whose_score_tracks_coverage_is_confirmed_by_it(report: ReportData) -> None:
    assert report.standing.rung == "coverage"
    assert report.verdict.trust == report.standing.sentence
    assert "Swahili" in report.verdict.where
