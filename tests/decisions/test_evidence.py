"""What a ranking rests on: the rung is the highest that the evidence reaches, and nothing is claimed beyond it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoe_audit.analysis.contrasts import CORRELATION_COLUMNS
from emoe_audit.analysis.intervals import Estimate
from emoe_audit.decisions.evidence import (
    ENOUGH_CAPTIONS,
    ENOUGH_GROUPS,
    Captions,
    Reader,
    Standing,
    read_standing,
    standing,
)
from emoe_audit.decisions.ranking import ScoreValidity, Validity
from emoe_audit.decisions.rungs import LADDER, Rung
from emoe_audit.runs.store import RunStore
from tests.synthetic import synthetic_frame, synthetic_plan

SCORE = "translation_disagreement"
CLEAR, UNCLEAR, TURNED = -0.8, -0.05, 0.8
PUBLIC, ALIKE = Reader(name="ViT-L-14/openai", exact=True), Reader(name="ViT-L-14/openai", exact=False)
Row = dict[str, Any]
Sign = Literal["holds", "unclear", "turned"]


def row(y: str, rho: float, *, half: float = 0.1, n: int = 40, level: str = "language", **changes: Any) -> Row:
    return {"x": SCORE, "y": y, "level": level, "given": None, "n": n} | changes | {
        "rho": rho, "low": rho - half, "high": rho + half,
    }  # fmt: skip


def coverage(rho: float, **changes: Any) -> Row:
    return row("training_coverage", rho, **changes)


def quality(rho: float, **changes: Any) -> Row:
    return row("clip_cosine_source", rho, **changes)


def recall(rho: float, given_tokens: float, **changes: Any) -> list[Row]:
    return [
        row("published_recall", rho, **changes),
        row("published_recall", given_tokens, **changes, given="n_tokens"),
    ]


def checked(sign: Sign, *, score: str = SCORE, comparable: bool = True) -> Validity:
    share = Estimate(mean=0.8, low=0.7, high=0.9, n_prompts=40)
    own = ScoreValidity(score=score, sign=sign, shares={"pseudo-words": share})
    return Validity(alignment=0.9, comparable=comparable, default_score=score, scores=(own,))


def weighed(
    *rows: Row, check: Validity | None = None, reader: Reader | None = None, scored: int = 40, judged: int = 8,
    languages: int = 10,
) -> Standing:  # fmt: skip
    columns = ["x", "y", "level", "given", "n", "rho", "low", "high"]
    captions = Captions(scored=scored, judged=judged, languages=languages)
    return standing(SCORE, pd.DataFrame(rows, columns=columns), captions, check, reader)


def prompts(rho: float, n: int = 200) -> Row:
    return row("clip_cosine_source", rho, n=n, level="prompt")


@pytest.mark.parametrize(
    ("rho", "judged", "languages", "rung"),
    [
        (CLEAR, 200, 1, "quality"),
        (TURNED, 200, 1, "contradicted"),
        (UNCLEAR, 200, 1, "none"),
        (CLEAR, 29, 1, "none"),
        (CLEAR, 200, 2, "none"),
    ],
)
def test_in_one_language_quality_is_that_of_its_prompts(rho: float, judged: int, languages: int, rung: Rung) -> None:
    found = weighed(prompts(rho, n=judged), judged=judged, languages=languages)
    assert found.rung == rung
    if rung == "quality":
        assert "of 200 prompts by their source captions (Spearman −0.80" in found.sentence


def test_a_correlation_over_prompts_that_is_next_to_nothing_decides_nothing_however_sure_it_is() -> None:
    for rho in (-0.15, 0.15):
        assert weighed(prompts(rho) | {"low": rho - 0.07, "high": rho + 0.07}, judged=9000, languages=1).rung == "none"


def test_prompts_are_compared_too_where_groups_of_one_language_are_few() -> None:
    regions = quality(UNCLEAR, n=4, level="region")
    assert weighed(regions, prompts(CLEAR), judged=200, languages=1).rung == "quality"
    told = weighed(prompts(CLEAR, n=29), judged=29, languages=1).sentence
    assert "undecided: the image quality of 29 prompts by their source captions, which are too few" in told


def test_the_score_for_one_language_is_told_with_its_language_and_its_limit() -> None:
    own = replace(checked("holds", score="unfamiliarity").scores[0], language="en")
    check = replace(checked("holds", comparable=False), scores=(own,), default_score=None)
    found = standing(
        "unfamiliarity", pd.DataFrame(columns=CORRELATION_COLUMNS), Captions(scored=9, judged=0, languages=1), check
    )
    assert found.rung == "checks", "whether experts can be compared is nothing to it"
    support = "it is supported by the check on strange prompts in English; it is the text encoder's alone"
    assert support in found.sentence


HOLDS = checked("holds")
EVERYTHING = [coverage(CLEAR), quality(CLEAR), *recall(CLEAR, CLEAR)]


@pytest.mark.parametrize(
    ("rows", "check", "reader", "rung"),
    [
        (EVERYTHING, HOLDS, PUBLIC, "coverage"),
        (EVERYTHING[1:], HOLDS, PUBLIC, "quality"),
        (EVERYTHING[2:], HOLDS, PUBLIC, "published"),
        (EVERYTHING[2:], HOLDS, ALIKE, "checks"),
        (EVERYTHING[2:], None, ALIKE, "design"),
        (EVERYTHING[2:], None, None, "none"),
        ([], HOLDS, None, "checks"),
        ([], None, None, "none"),
    ],
)
def test_the_highest_rung_that_is_reached_gives_the_word(
    rows: list[Row], check: Validity | None, reader: Reader | None, rung: Rung
) -> None:
    found = weighed(*rows, check=check, reader=reader)
    assert (found.rung, found.word) == (rung, LADDER[rung].word)


@pytest.mark.parametrize(
    "unfit",
    [
        quality(CLEAR, level="prompt", n=2000),
        row("clip_cosine", CLEAR),
        row("human_rating", CLEAR),
        quality(CLEAR, x="disagreement"),
        quality(UNCLEAR),
        quality(math.nan),
        quality(CLEAR, n=ENOUGH_GROUPS - 1),
        coverage(CLEAR, given="n_tokens"),
        *recall(CLEAR, CLEAR),
    ],
    ids=lambda unfit: f"{unfit['y']} over {unfit['n']} of {unfit['level']}",
)
def test_what_is_no_evidence_of_a_ranking_of_groups_lifts_nothing(unfit: Row) -> None:
    """Prompts are not languages, a judge of unknown reading is no judge, and what is unclear decides nothing."""
    assert weighed(unfit).rung == "none"
    assert weighed(unfit, check=HOLDS).rung == "checks"


def test_few_languages_neither_confirm_nor_contradict_and_are_told() -> None:
    for rho in (CLEAR, TURNED):
        found = weighed(coverage(rho, n=9), check=HOLDS)
        assert found.rung == "checks"
        assert "undecided: the known training coverage of 9 languages, which are too few" in found.sentence


def unrelated_intervals(n_groups: int, n_runs: int = 600, n_boot: int = 200) -> np.ndarray:
    """Spearman's interval of each run in which score and quality of the groups have nothing to do, groups resampled."""
    rng = np.random.default_rng(n_groups)
    drawn = rng.integers(n_groups, size=(n_runs, n_boot, n_groups))
    run = np.arange(n_runs)[:, None, None]
    score, judged = (_centred_ranks(rng.normal(size=(n_runs, n_groups))[run, drawn]) for _ in range(2))
    with np.errstate(invalid="ignore"):
        rho = (score * judged).sum(-1) / np.sqrt((score**2).sum(-1) * (judged**2).sum(-1))
    return np.nanquantile(rho, [0.025, 0.975], axis=1).T


def _centred_ranks(values: np.ndarray) -> np.ndarray:
    above, same = values[..., None] > values[..., None, :], values[..., None] == values[..., None, :]
    ranks = above.sum(-1) + same.sum(-1) / 2
    return ranks - ranks.mean(-1, keepdims=True)


def test_unrelated_means_of_enough_groups_seldom_decide_anything() -> None:
    """A clear end in 5% of runs is what an interval of 95% promises; five groups break that, and decide nothing."""
    rungs = [
        weighed(quality((low + high) / 2, half=(high - low) / 2, n=ENOUGH_GROUPS)).rung
        for low, high in unrelated_intervals(ENOUGH_GROUPS)
    ]
    assert rungs.count("quality") <= 0.045 * len(rungs) and rungs.count("contradicted") <= 0.045 * len(rungs)
    few = unrelated_intervals(5)
    assert np.mean((few[:, 1] < 0) | (few[:, 0] > 0)) > 0.1
    assert {weighed(quality((low + high) / 2, half=(high - low) / 2, n=5)).rung for low, high in few} == {"none"}


def test_the_means_of_few_captions_are_those_of_prompts_and_decide_nothing() -> None:
    few = weighed(quality(CLEAR), judged=ENOUGH_CAPTIONS - 1)
    assert few.rung == "none" and few.sentence.endswith("by their source captions, of too few captions.")
    assert weighed(quality(CLEAR), judged=ENOUGH_CAPTIONS).rung == "quality"
    assert weighed(coverage(CLEAR), scored=ENOUGH_CAPTIONS - 1).rung == "none"


def test_groups_of_another_column_stand_in_where_languages_are_few() -> None:
    found = weighed(coverage(UNCLEAR, n=3), coverage(CLEAR, n=22, level="region"))
    assert found.rung == "coverage" and "known training coverage of 22 regions" in found.sentence
    both = weighed(coverage(CLEAR, n=10), coverage(UNCLEAR, n=22, level="region"))
    assert "coverage of 10 languages" in both.sentence


def test_a_score_that_only_counts_tokens_is_not_supported_by_published_readings() -> None:
    assert weighed(*recall(CLEAR, CLEAR), reader=PUBLIC).rung == "published"
    assert weighed(*recall(CLEAR, UNCLEAR), reader=PUBLIC).rung == "none"
    assert weighed(*recall(TURNED, UNCLEAR), reader=PUBLIC).rung == "none"
    assert weighed(*recall(TURNED, TURNED), reader=PUBLIC).rung == "contradicted"


def test_an_encoder_of_the_same_design_is_called_that() -> None:
    assert "recall of its text encoder, ViT-L-14/openai" in weighed(*recall(CLEAR, CLEAR), reader=PUBLIC).sentence
    said = weighed(*recall(CLEAR, CLEAR), reader=ALIKE)
    assert "recall of a text encoder of the same design, ViT-L-14/openai" in said.sentence
    assert "same design" in said.word


@pytest.mark.parametrize(
    ("rows", "check"),
    [
        ([coverage(CLEAR), quality(TURNED)], HOLDS),
        ([coverage(TURNED), quality(CLEAR)], HOLDS),
        ([coverage(CLEAR), quality(CLEAR)], checked("turned")),
    ],
)
def test_whatever_points_the_other_way_contradicts_all_the_rest(rows: list[Row], check: Validity) -> None:
    found = weighed(*rows, check=check)
    assert found.rung == "contradicted"
    assert found.sentence.startswith("Do not use the ranking")
    assert ", in spite of the" in found.sentence


def test_experts_that_cannot_be_compared_leave_nothing_to_stand_on() -> None:
    found = weighed(*EVERYTHING, check=checked("holds", comparable=False), reader=PUBLIC)
    assert found.rung == "none" and "as its experts cannot be compared" in found.sentence


def test_the_check_of_another_score_counts_for_nothing() -> None:
    assert weighed(check=checked("turned", score="disagreement")).rung == "none"


def test_what_supports_and_what_is_undecided_is_said_beside_the_rung() -> None:
    said = weighed(coverage(UNCLEAR), quality(CLEAR), check=HOLDS).sentence
    assert said == (
        "Act on the ranking where images count: the score rises as the image quality of 40 languages by their source "
        "captions (Spearman −0.80, 95% interval −0.90 to −0.70) falls; supported by the check on strange prompts too; "
        "undecided: the known training coverage of 40 languages (Spearman −0.05, 95% interval −0.15 to 0.05)."
    )


@pytest.mark.parametrize(
    ("partial", "told"),
    [(-0.7, "; given the number of tokens, −0.70)"), (-0.05, "; not clear given the number of tokens, −0.05)")],
)
def test_what_token_count_explains_of_coverage_is_told_apart(partial: float, told: str) -> None:
    assert told in weighed(coverage(CLEAR), coverage(partial, given="n_tokens")).sentence


correlations = st.tuples(st.floats(-1, 1), st.floats(0, 1), st.integers(3, 40))


@given(
    st.none() | correlations,
    st.none() | correlations,
    st.none() | correlations,
    st.sampled_from([None, PUBLIC, ALIKE]),
    st.sampled_from([None, "holds", "unclear", "turned"]),
)
def test_nothing_is_confirmed_without_clear_quality_or_coverage(
    known: tuple[float, float, int] | None,
    judged: tuple[float, float, int] | None,
    published: tuple[float, float, int] | None,
    reader: Reader | None,
    sign: Sign | None,
) -> None:
    named = {"training_coverage": known, "clip_cosine_source": judged, "published_recall": published}
    rows = [row(y, rho, half=half, n=n) for y, own in named.items() if own for rho, half, n in [own]]
    found = weighed(*rows, check=sign and checked(sign), reader=reader)
    strong = [own for own in (known, judged) if own and own[2] >= ENOUGH_GROUPS and own[0] + own[1] < 0]
    assert strong or "confirmed" not in f"{found.word} {found.sentence}".casefold()
    assert found.sentence.endswith(".") and ". " not in found.sentence


def test_a_run_that_was_not_analysed_stands_on_nothing(tmp_path: Path) -> None:
    frame = synthetic_frame(30)
    store = RunStore.open(tmp_path / "run", plan=synthetic_plan())
    store.write_prompts([frame[["key", "prompt_id", "source_id", "prompt", "language"]]])
    assert read_standing(store).rung == "none"
