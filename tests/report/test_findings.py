"""What the report says of gaps, refusing and confounders is what the tables of the run hold."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from emoe_audit.decisions.ranking import RELATIVE_SCORE
from emoe_audit.report import ReportData, render_html
from emoe_audit.report.gap_charts import gaps_figure
from emoe_audit.report.refusal_charts import refusal_figure
from emoe_audit.runs.store import RunStore
from tests.illustrated import illustrated_frame

FRAME = illustrated_frame()


def test_a_languages_gap_is_students_paired_t_against_the_others(report: ReportData) -> None:
    table = next(t for t in report.gaps if (t.by, t.measure) == ("language", RELATIVE_SCORE))
    cells = FRAME.pivot(index="source_id", columns="language", values=RELATIVE_SCORE)
    for gap in table.gaps:
        differences = cells[gap.group] - cells.drop(columns=gap.group).mean(axis=1)
        assert gap.difference == pytest.approx(differences.mean())
        assert gap.p == pytest.approx(ttest_1samp(differences, 0).pvalue)
    order = [gap.difference for gap in table.gaps]
    assert order == sorted(order, reverse=True), "the largest gap to the worse comes first"


def test_in_quality_the_worst_is_the_lowest(report: ReportData) -> None:
    order = [gap.difference for gap in next(t for t in report.gaps if t.measure == "clip_cosine_source").gaps]
    assert order == sorted(order)


def test_a_region_holds_whole_captions_and_is_compared_between_them(report: ReportData) -> None:
    regions = next(t for t in report.gaps if t.by == "region")
    assert {gap.design for gap in regions.gaps} == {"between"}


def test_the_risk_of_all_prompts_is_the_share_that_fails(report: ReportData) -> None:
    judged = FRAME.dropna(subset=["source_rank"])
    failed = judged["source_rank"] > 10
    overall = report.refusals[0].overall
    assert overall.risk_all == pytest.approx(failed.mean())
    accepted = failed[judged[RELATIVE_SCORE].rank() <= len(judged) / 2]
    half = next(point for point in overall.curve if point.coverage == 0.5)
    assert half.risk == pytest.approx(accepted.mean())


def test_groups_of_too_few_captions_have_no_risk_and_no_chart_of_their_own(report: ReportData) -> None:
    table = report.refusals[0]
    assert table.shown == [] and all(math.isnan(group.risk_all) for group in table.groups)
    assert "no group holds judged images of 20 captions or more" in render_html(report)
    named = {trace.name for trace in refusal_figure(table).data}
    assert named == {"95% interval", "\u2068All prompts\u2069"}


def test_the_chart_of_gaps_draws_every_group_once_at_its_gap(report: ReportData) -> None:
    table = report.gaps[0]
    drawn = {y: x for trace in gaps_figure(table).data for x, y in zip(trace.x, trace.y, strict=True)}
    assert drawn == pytest.approx({place: gap.difference for place, gap in enumerate(table.gaps)}, rel=1e-5)


def test_covariates_are_those_of_the_table(report: ReportData, run: RunStore) -> None:
    stored = run.query("SELECT * FROM confounders WHERE measure = ?", [RELATIVE_SCORE])
    shown = [own for own in report.confounders if own.measure == RELATIVE_SCORE]
    assert [own.covariate for own in shown] == stored["covariate"].to_list()
    expected = pd.Series([own.coefficient for own in shown])
    pd.testing.assert_series_equal(expected, stored["coefficient"], check_names=False)
