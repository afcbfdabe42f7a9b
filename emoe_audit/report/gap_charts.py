"""The chart of gaps: every group's distance from its reference, and the margin within which a gap does not matter."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from emoe_audit.analysis.summary import SCORES
from emoe_audit.report.charts import (
    BLUE,
    INK,
    MAX_BEST,
    MAX_WORST,
    ROW_HEIGHT,
    SOFT,
    VERMILION,
    chart_number,
    style,
    whiskers,
)
from emoe_audit.report.findings import Gap, GapTable
from emoe_audit.report.labels import chart_text, decimals, measure_label, number

GREEN = "#009e73"
WORDS = {"different": "different", "equivalent": "no gap that matters", "unclear": "unclear"}


def gaps_figure(table: GapTable, *, narrow: bool = False) -> go.Figure:
    """Groups as rows, the largest gap to the worse first; the margin is a band around 0.

    Of more than 40 groups the first 30 and the last 10 are drawn.
    """
    drawn = shown_gaps(table)
    figure = go.Figure()
    for kind in kinds(table):
        figure.add_trace(_marks(drawn, table, *kind))
    style(figure, height=ROW_HEIGHT * (len(drawn) + 1) + 96, top=40, left=12)
    margin = table.gaps[0].margin
    if math.isfinite(margin):
        figure.add_vrect(x0=-margin, x1=margin, fillcolor=GREEN, opacity=0.1, line_width=0, layer="below")
    figure.add_vline(x=0, line={"color": INK, "width": 1, "dash": "dot"}, layer="below")
    labels = [chart_text(gap.label, 22 if narrow else 30) for gap in drawn]
    figure.update_yaxes(
        range=[len(drawn) - 0.4, -0.6], tickvals=list(range(len(drawn))), ticktext=labels, tickfont_size=12.5,
        automargin=True,
    )  # fmt: skip
    title = "gap" if narrow else f"gap in {measure_label(table.measure)}; the band is the margin"
    figure.update_xaxes(title={"text": title, "font_size": 13})
    return figure


def shown_gaps(table: GapTable) -> tuple[Gap, ...]:
    """The gaps that a chart draws."""
    if len(table.gaps) <= MAX_WORST + MAX_BEST:
        return table.gaps
    return (*table.gaps[:MAX_WORST], *table.gaps[-MAX_BEST:])


def kinds(table: GapTable) -> list[tuple[str, str, str, str, int]]:
    """Name, verdict, colour, symbol and sign of each kind of mark; a gap to the worse is vermilion."""
    worse = 1 if table.measure in SCORES else -1
    return [
        ("different, worse", "different", VERMILION, "circle", worse),
        ("different, better", "different", BLUE, "circle", -worse),
        (WORDS["equivalent"], "equivalent", GREEN, "square", 0),
        (WORDS["unclear"], "unclear", SOFT, "circle-open", 0),
    ]


def _marks(
    drawn: tuple[Gap, ...], table: GapTable, name: str, verdict: str, colour: str, symbol: str, sign: int
) -> go.Scatter:
    own = [(place, gap) for place, gap in enumerate(drawn) if gap.verdict == verdict and gap.difference * sign >= 0]
    places = decimals([gap.difference for gap in table.gaps])
    return go.Scatter(
        x=[chart_number(gap.difference) for _, gap in own],
        y=[place for place, _ in own],
        error_x=whiskers([(gap.difference, gap.low, gap.high) for _, gap in own], colour),
        mode="markers",
        marker={"color": colour, "symbol": symbol, "size": 8, "line": {"width": 1.6, "color": colour}},
        name=name,
        text=[_hover(gap, places) for _, gap in own],
        hovertemplate="%{text}<extra></extra>",
    )


def _hover(gap: Gap, places: int) -> str:
    return (
        f"<b>{chart_text(gap.label, 60)}</b><br>gap {number(gap.difference, places)}, 95% interval "
        f"{number(gap.low, places)} to {number(gap.high, places)}<br>p {number(gap.p_bh, 3)} among {gap.n_tests} tests"
        f"<br>{WORDS[gap.verdict]}; {gap.n_sources:,} captions"
    )
