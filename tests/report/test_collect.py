from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

from emoe_audit.decisions.ranking import RELATIVE_SCORE
from emoe_audit.errors import StoreError
from emoe_audit.report import ReportData, collect
from emoe_audit.report.cloud import GRID, MAX_POINTS
from emoe_audit.runs.store import RunStore
from emoe_audit.types import AnalysisConfig
from tests.illustrated import illustrated_frame
from tests.synthetic import synthetic_plan, synthetic_run

FRAME = illustrated_frame()


@pytest.mark.parametrize("measure", ["relative_disagreement", "disagreement", "clip_cosine", "n_tokens"])
def test_group_means_are_those_of_plain_pandas(report: ReportData, measure: str) -> None:
    expected = FRAME.groupby("language")[measure].mean()
    found = {row.group: row.mean(measure) for row in report.groups[0].rows}
    assert found == pytest.approx(expected.to_dict())


def test_the_overall_mean_is_the_mean_over_prompts_and_not_over_groups(report: ReportData) -> None:
    for table in report.groups:
        assert table.overall[RELATIVE_SCORE] == pytest.approx(FRAME[RELATIVE_SCORE].mean())
        assert table.overall["clip_cosine"] == pytest.approx(FRAME["clip_cosine"].mean())


def test_groups_stand_in_falling_order_of_the_ranking_score(report: ReportData) -> None:
    expected = FRAME.groupby("language")[RELATIVE_SCORE].mean().sort_values(ascending=False)
    assert [row.group for row in report.groups[0].rows] == list(expected.index)


def test_language_comes_before_region_and_each_has_its_table(report: ReportData) -> None:
    assert [table.by for table in report.groups] == ["language", "region"]


def test_a_group_is_above_when_the_whole_interval_of_its_gap_is_and_its_test_holds_among_all(
    report: ReportData, run: RunStore
) -> None:
    of = "WHERE \"by\" = 'language' AND measure = ?"
    stored = run.query(f"SELECT * FROM groups {of}", (RELATIVE_SCORE,)).set_index("group")
    p = run.query(f"SELECT * FROM gaps {of}", (RELATIVE_SCORE,)).set_index("group")["p"]
    held = pd.Series(false_discovery_control(p), index=p.index) <= 0.05
    expected = set(stored.index[(stored.gap_low > 0) & held])
    assert {row.group for row in report.groups[0].on_side("above")} == expected
    assert expected, "the synthetic run has groups that stand out"


def test_quartiles_are_those_of_plain_pandas(report: ReportData) -> None:
    drawn = FRAME.dropna(subset=["clip_cosine"])
    quarter = pd.qcut(drawn[RELATIVE_SCORE], 4, labels=[1, 2, 3, 4])
    expected = drawn.groupby(quarter, observed=True)["clip_cosine"].mean()
    table = next(t for t in report.quartiles if (t.score, t.measure) == (RELATIVE_SCORE, "clip_cosine"))
    assert {q.quartile: q.quality.mean for q in table.quartiles} == pytest.approx(expected.to_dict())


def test_both_scores_have_a_quartile_table_ranking_score_first(report: ReportData) -> None:
    pairs = [(table.score, table.measure) for table in report.quartiles]
    assert pairs[0][0] == RELATIVE_SCORE
    assert {score for score, _ in pairs} == {"relative_disagreement", "disagreement"}


def test_the_scope_counts_what_the_tables_hold(report: ReportData) -> None:
    scope = report.scope
    assert scope.n_prompts == scope.n_scored == len(FRAME)
    assert scope.n_sources == FRAME["source_id"].nunique()
    assert scope.n_languages == FRAME["language"].nunique()
    assert scope.n_judged == FRAME["clip_cosine"].notna().sum()


def test_the_noise_share_is_the_standard_error_over_the_spread_between_prompts(report: ReportData) -> None:
    expected = (0.01 / math.sqrt(4)) / FRAME[RELATIVE_SCORE].std(ddof=1)
    assert report.scope.noise_share == pytest.approx(expected)


def test_left_out_rows_are_counted_and_told_with_their_place(report: ReportData) -> None:
    assert report.scope.faults.total == 1
    assert report.scope.faults.by_stage == {"read": 1}
    assert "line 8" in report.scope.faults.examples[0]
    assert "column language" in report.scope.faults.examples[0]


def test_few_prompts_are_shown_one_by_one(report: ReportData) -> None:
    drawn = FRAME.dropna(subset=["clip_cosine_source"])
    cloud = report.clouds[0]
    assert cloud.kind == "prompts"
    assert sorted(p.y for p in cloud.points) == pytest.approx(sorted(drawn["clip_cosine_source"]))


def test_many_prompts_are_counted_on_the_grid_that_numpy_counts(tmp_path: Path) -> None:
    n = MAX_POINTS * 3
    store = synthetic_run(tmp_path / "many", n)
    cloud = collect(store).clouds[0]
    rows = store.query(
        "SELECT ln(relative_disagreement) AS u, clip_cosine AS v FROM results WHERE relative_disagreement > 0"
    )
    counts, _, _ = np.histogram2d(rows.u, rows.v, bins=GRID)
    assert cloud.kind == "grid"
    assert sorted(p.n for p in cloud.points) == sorted(int(c) for c in counts.ravel() if c)


def test_correlations_keep_what_was_partialled_out(report: ReportData) -> None:
    coverage = [c for c in report.correlations if c.y == "training_coverage" and c.x == RELATIVE_SCORE]
    assert [c.given for c in coverage] == [None, "n_tokens"]


def test_a_run_without_images_has_no_cloud_and_no_gallery(tmp_path: Path) -> None:
    store = RunStore.open(tmp_path / "bare", plan=synthetic_plan())
    frame = illustrated_frame(60)
    store.write_prompts([frame[["key", "prompt_id", "source_id", "prompt", "language", "region"]]])
    store.append("scores", frame[["key", *frame.columns[6:15]]])
    from emoe_audit.analysis.summary import analyze

    bare = frame.drop(columns=["clip_cosine", "clip_cosine_source", "source_rank"])
    for name, table in analyze(bare, ["language"], config=AnalysisConfig(n_boot=20)).items():
        store.write_analysis(name, table)
    data = collect(store)
    assert data.clouds == () and data.quartiles == () and data.gallery.rows == ()
    assert "No images" in data.verdict.quality
    assert not data.complete


def test_a_run_that_is_not_analysed_names_the_command_to_run(tmp_path: Path) -> None:
    store = RunStore.open(tmp_path / "new", plan=synthetic_plan())
    with pytest.raises(StoreError, match="emoe-audit analyze"):
        collect(store)
