"""The chart of refusing: the risk of what is accepted, over the share of prompts that is accepted."""

from __future__ import annotations

import plotly.graph_objects as go

from emoe_audit.report.charts import BLUE, INK, SOFT, VERMILION, chart_number, style
from emoe_audit.report.findings import Refusal, RefusalTable
from emoe_audit.report.labels import chart_text

HEIGHT = 400
BAND = "rgba(29,35,43,0.12)"


def refusal_figure(table: RefusalTable, *, narrow: bool = False) -> go.Figure:
    """All prompts with their interval, every group as a thin line, and the risk that is aimed at.

    The groups with the smallest and the largest risk are coloured; `narrow` draws only these.
    """
    figure = go.Figure()
    for group in () if narrow else table.shown[1:-1]:
        figure.add_trace(_line(group, SOFT, 0.8, in_legend=False))
    figure.add_trace(_band(table.overall))
    figure.add_trace(_line(table.overall, INK, 2.6))
    for group, colour in zip((table.shown[0], table.shown[-1]), (VERMILION, BLUE), strict=True) if table.shown else ():
        figure.add_trace(_line(group, colour, 1.8))
    style(figure, height=HEIGHT, top=60 if narrow else 40, left=58)
    figure.add_hline(y=table.target, line={"color": INK, "width": 1, "dash": "dot"}, layer="below")
    figure.update_xaxes(title={"text": "share accepted, the surest first", "font_size": 13}, range=[0, 1.02])
    figure.update_yaxes(title={"text": "share of the accepted that fails", "font_size": 13}, range=[-0.02, 1.02])
    return figure


def _line(own: Refusal, colour: str, width: float, *, in_legend: bool = True) -> go.Scatter:
    return go.Scatter(
        x=[point.coverage for point in own.curve],
        y=[chart_number(point.risk) for point in own.curve],
        mode="lines",
        line={"color": colour, "width": width},
        name=chart_text(own.label),
        showlegend=in_legend,
        hovertemplate=f"<b>{chart_text(own.label)}</b><br>%{{x:.0%}} accepted, %{{y:.0%}} of it fails<extra></extra>",
    )


def _band(own: Refusal) -> go.Scatter:
    """The interval, as the outline of an area: there along its lower end, back along its upper one."""
    points = [*own.curve, *reversed(own.curve)]
    ends = [point.low for point in own.curve] + [point.high for point in reversed(own.curve)]
    return go.Scatter(
        x=[point.coverage for point in points],
        y=[chart_number(end) for end in ends],
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=BAND,
        name="95% interval",
        showlegend=False,
        hoverinfo="skip",
    )
