from __future__ import annotations

import math
from dataclasses import replace

import pytest

from emoe_audit.report import ReportData, collect
from emoe_audit.report.charts import groups_figure, log_ticks, quality_figure, shown_rows
from emoe_audit.report.data import Cloud, CloudPoint, GroupTable
from emoe_audit.report.heat_map import heat_figure
from emoe_audit.runs.store import RunStore
from tests.illustrated import HOSTILE


@pytest.fixture
def table(report: ReportData) -> GroupTable:
    return report.groups[0]


def test_every_group_is_drawn_once_in_every_panel_at_its_place(table: GroupTable) -> None:
    figure = groups_figure(table)
    for axis, measure in (("x", "relative_disagreement"), ("x2", "disagreement"), ("x3", "clip_cosine_source")):
        drawn = {y: x for t in figure.data if t.xaxis == axis for x, y in zip(t.x, t.y, strict=True)}
        assert drawn == pytest.approx({i: row.mean(measure) for i, row in enumerate(table.rows)}, rel=1e-5)


def test_bars_end_where_the_intervals_end(table: GroupTable) -> None:
    for trace in (t for t in groups_figure(table).data if t.xaxis == "x"):
        for x, y, up, down in zip(trace.x, trace.y, trace.error_x.array, trace.error_x.arrayminus, strict=True):
            estimate = table.rows[y].estimates["relative_disagreement"]
            assert (x - down, x + up) == pytest.approx((estimate.low, estimate.high), rel=1e-4)


def test_the_line_of_a_panel_is_its_overall_mean(table: GroupTable) -> None:
    lines = [shape.x0 for shape in groups_figure(table).layout.shapes]
    assert lines == [table.overall[m] for m in ("relative_disagreement", "disagreement", "clip_cosine_source")]


def test_the_narrow_chart_keeps_only_the_ranking_score(table: GroupTable) -> None:
    assert {trace.xaxis for trace in groups_figure(table, narrow=True).data} == {"x"}


def test_a_measure_that_no_group_has_takes_no_panel(table: GroupTable) -> None:
    nan = replace(table.rows[0].estimates["clip_cosine_source"], mean=math.nan)
    rows = tuple(replace(row, estimates=row.estimates | {"clip_cosine_source": nan}) for row in table.rows)
    assert {trace.xaxis for trace in groups_figure(replace(table, rows=rows)).data} == {"x", "x2"}


def test_groups_without_any_number_leave_the_panel_of_the_score_empty(table: GroupTable) -> None:
    rows = tuple(replace(row, estimates={}) for row in table.rows)
    figure = groups_figure(replace(table, rows=rows))
    assert {trace.xaxis for trace in figure.data} == {"x"}
    assert all(len(trace.x) == 0 for trace in figure.data)


def test_of_many_groups_the_worst_and_the_surest_are_drawn_with_a_gap_between(table: GroupTable) -> None:
    many = replace(table, rows=table.rows * 10)
    places = [place for place, _ in shown_rows(many)]
    assert places == [*range(30), *range(31, 41)]
    assert [row for _, row in shown_rows(many)] == [*many.rows[:30], *many.rows[-10:]]


def test_charts_need_nothing_but_what_the_basic_bundle_draws(report: ReportData) -> None:
    table = report.groups[0]
    figures = [groups_figure(table), heat_figure(table), quality_figure(report.clouds, report.quartiles)]
    assert {trace.type for figure in figures for trace in figure.data} == {"scatter", "bar"}


def test_hostile_texts_reach_a_chart_without_markup(hostile_run: RunStore) -> None:
    data = collect(hostile_run)
    styles = next(table for table in data.groups if table.by == "style")
    assert {row.group for row in styles.rows} == set(HOSTILE[:3])
    figure = groups_figure(styles)
    assert not any("<" in label for label in figure.layout.yaxis.ticktext)
    clouds = quality_figure(data.clouds, data.quartiles)
    texts = [text for trace in clouds.data for text in trace.text or ()]
    assert texts
    assert not any("<" in text for text in texts)


def test_the_quality_chart_shows_each_prompt_and_each_quarter(report: ReportData) -> None:
    cloud, quarters = quality_figure(report.clouds, report.quartiles).data[:2]
    assert len(cloud.x) == report.clouds[0].n_prompts
    (shown,) = [t for t in report.quartiles if (t.score, t.measure) == (report.ranking, report.quality)]
    assert list(quarters.y) == pytest.approx([q.quality.mean for q in shown.quartiles], rel=1e-5)


@pytest.mark.parametrize(
    ("scores", "ticks"),
    [
        ((0.02, 30), [0.1, 1, 10]),
        ((0.05, 0.3), [0.05, 0.1, 0.2]),
        ((0.3, 0.7), [0.3, 0.4, 0.5, 0.6, 0.7]),
        ((0.06, 0.25), [0.06, 0.08, 0.1, 0.2]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_round_enough_and_apart(
    scores: tuple[float, float], ticks: list[float]
) -> None:
    points = tuple(CloudPoint(x=x, y=0.0, n=1) for x in scores)
    cloud = Cloud(score="disagreement", measure="clip_cosine", kind="prompts", n_prompts=2, points=points)
    assert log_ticks(cloud) == pytest.approx(ticks)
