"""Which score ranks a run: the one that the validity check names, else the first that was measured."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emoe_audit.decisions.ranking import ranking_score, read_validity
from emoe_audit.report import collect, render_html, write_report
from emoe_audit.runs.store import RunStore
from tests.report.translated import add_check, add_translations
from tests.synthetic import synthetic_frame, synthetic_plan

ALONE = "unfamiliarity"

pytestmark = pytest.mark.slow


def ranked_by_pandas(store: RunStore, score: str) -> list[str]:
    means = store.query("SELECT * FROM results").groupby("language")[score].mean()
    return list(means.sort_values(ascending=False).index)


def stored_report(store: RunStore) -> dict[str, Any]:
    text = write_report(store).with_suffix(".json").read_text(encoding="utf-8")
    return dict(json.loads(text))


@pytest.mark.parametrize("score", ["translation_disagreement", "relative_disagreement", "disagreement"])
def test_a_run_is_ranked_by_the_score_that_the_check_names(own_run: RunStore, score: str) -> None:
    store = add_check(add_translations(own_run), score)
    expected = ranked_by_pandas(store, score)
    report = stored_report(store)
    assert report["ranking"] == report["groups"][0]["score"] == score
    assert [row["group"] for row in report["groups"][0]["rows"]] == expected
    assert [column["language"] for column in report["gallery"]["columns"]] == expected
    assert report["clouds"][0]["score"] == report["quartiles"][0]["score"] == report["correlations"][0]["x"] == score


def test_the_scores_of_the_run_rank_it_differently(own_run: RunStore) -> None:
    store = add_translations(own_run)
    orders = [ranked_by_pandas(store, f"{kind}disagreement") for kind in ("translation_", "relative_", "")]
    assert orders[0] != orders[1] != orders[2] != orders[0]


@pytest.mark.parametrize("checked", [False, True])
def test_where_no_check_names_a_score_translations_rank(own_run: RunStore, checked: bool) -> None:
    store = add_translations(own_run)
    report = collect(add_check(store, None) if checked else store)
    assert report.ranking == "translation_disagreement"
    assert [row.group for row in report.groups[0].rows] == ranked_by_pandas(store, "translation_disagreement")


@pytest.mark.parametrize("named", [None, "translation_disagreement", "a score of another program"])
def test_a_run_without_translations_is_ranked_by_relative_disagreement(own_run: RunStore, named: str | None) -> None:
    report = collect(add_check(own_run, named))
    assert report.ranking == "relative_disagreement"
    assert [row.group for row in report.groups[0].rows] == ranked_by_pandas(own_run, "relative_disagreement")


def in_one_language(path: Path, languages: list[str], n_given: int = 20, *, checked: str = "en") -> RunStore:
    """Twenty prompts in these languages by turns, the first of which have the score, on an ensemble where it holds."""
    frame = synthetic_frame(20).assign(language=np.resize(languages, 20), unfamiliarity=np.linspace(1, 2, 20))
    frame.loc[n_given:, "unfamiliarity"] = np.nan
    store = RunStore.open(path, plan=synthetic_plan())
    store.write_prompts([frame[["key", "prompt_id", "source_id", "prompt", "language", "region"]]])
    store.append("scores", frame[["key", *frame.columns[6:15], "unfamiliarity"]])
    outcome = add_check(store, None).query("SELECT * FROM validity")
    store.write_analysis("validity", outcome.assign(language=outcome["score"].map({ALONE: checked})))
    return store


def ranks(store: RunStore) -> str:
    return ranking_score(store, read_validity(store))


def test_the_score_for_one_language_ranks_a_run_in_the_language_where_it_holds(tmp_path: Path) -> None:
    assert ranks(in_one_language(tmp_path / "en", ["en"])) == ALONE
    assert ranks(in_one_language(tmp_path / "us", ["en", "en-US"])) == ALONE
    assert ranks(in_one_language(tmp_path / "ko", ["ko"], checked="ko")) == ALONE


@pytest.mark.parametrize(
    ("languages", "n_given", "checked"),
    [(["en", "de"], 20, "en"), (["und"], 20, "en"), (["ko"], 20, "en"), (["english"], 20, "en"), (["en"], 10, "en")],
)
def test_it_ranks_no_other_run_nor_one_that_has_it_for_half(
    tmp_path: Path, languages: list[str], n_given: int, checked: str
) -> None:
    assert ranks(in_one_language(tmp_path / "run", languages, n_given, checked=checked)) == "relative_disagreement"


def test_it_does_not_rank_where_it_was_not_found_to_hold_or_another_score_was_chosen(tmp_path: Path) -> None:
    store = in_one_language(tmp_path / "run", ["en"])
    found = read_validity(store)
    assert found is not None and ranking_score(store, None) == "relative_disagreement"
    unclear = tuple(replace(own, sign="unclear") for own in found.scores)
    assert ranking_score(store, replace(found, scores=unclear)) == "relative_disagreement"
    assert ranking_score(store, replace(found, default_score="disagreement")) == "disagreement"


def test_translations_rank_before_it(own_run: RunStore) -> None:
    store = add_check(add_translations(own_run), None)
    assert ranks(store) == "translation_disagreement"


def test_the_page_says_which_score_ranks_and_why(own_run: RunStore) -> None:
    measured = "By translation disagreement in this run: no check chose a score that the run measured"
    chosen = "By translation disagreement in this run: its sign holds most strongly"
    unchecked = render_html(collect(add_translations(own_run)))
    assert "Ranked by translation disagreement: high means that prompts are read unlike" in unchecked
    assert measured in unchecked and chosen not in unchecked
    checked = render_html(collect(add_check(own_run, "translation_disagreement")))
    assert chosen in checked and measured not in checked


def test_the_noise_of_a_translation_score_is_said_not_to_be_measured(own_run: RunStore) -> None:
    told = "that of translation disagreement is not measured"
    assert told not in render_html(collect(own_run))
    report = collect(add_translations(own_run))
    assert math.isnan(report.scope.noise_share)
    assert told in render_html(report)


def test_groups_without_the_score_come_last_and_have_no_rank(own_run: RunStore) -> None:
    store = add_translations(own_run, without=["en", "sw"])
    report = collect(store)
    assert {row.group for row in report.groups[0].rows[-2:]} == {"en", "sw"}
    assert [row.group for row in report.groups[0].ranked] == ranked_by_pandas(store, "translation_disagreement")[:8]
    assert report.scope.n_scored == 120 and report.scope.n_ranked == 96
    assert any("defined for 96 of 120 scored prompts" in limit for limit in report.limits)
    page = render_html(report)
    assert "2 groups of 10 without translation disagreement" in page
    assert page.count('<td class="rank">–</td>') == 2


def test_only_strict_probes_are_told(own_run: RunStore) -> None:
    report = collect(add_check(own_run, "relative_disagreement"))
    assert "pseudo-words" in report.verdict.validity and "shuffled letters" in report.verdict.validity
    assert "rare words" not in report.verdict.validity
    assert report.validity is not None
    assert all(set(own.shares) == {"pseudo-words", "shuffled letters"} for own in report.validity.scores)


def test_what_a_check_without_a_placebo_called_a_sign_is_unclear(own_run: RunStore) -> None:
    add_check(own_run, "relative_disagreement")
    rows = own_run.query("SELECT * EXCLUDE (placebo, beyond, beyond_low, beyond_high) FROM validity")
    own_run.write_analysis("validity", rows)
    validity = collect(own_run).validity
    assert validity is not None and validity.default_score is None
    assert {own.sign for own in validity.scores} == {"unclear"}
    assert not any(own.beyond for own in validity.scores)


def test_a_check_from_before_there_were_assumed_probes_holds_strict_ones(own_run: RunStore) -> None:
    add_check(own_run, "relative_disagreement")
    rows = own_run.query("SELECT * EXCLUDE (strict) FROM validity WHERE strict")
    own_run.write_analysis("validity", rows)
    assert "pseudo-words" in collect(own_run).verdict.validity
