"""The charts of report and dashboard, as Plotly figures. They use `scatter` and `bar`, of Plotly's basic bundle.

Colours are Okabe and Ito's, told apart by every common kind of colour vision; filled and open marks repeat them.
"""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from emoe_audit.analysis.intervals import Estimate, Side
from emoe_audit.report.data import Cloud, GroupRow, GroupTable, QuartileTable, measured, side_by_side
from emoe_audit.report.labels import chart_text, decimals, measure_label, number

INK, MUTED, GRID, SOFT = "#1d232b", "#5b6572", "#e4e7eb", "#7d8894"
VERMILION, BLUE = "#d55e00", "#0072b2"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Helvetica Neue', Arial, sans-serif"

SIDES: dict[Side, tuple[str, str, str]] = {
    "above": ("clearly above average", VERMILION, "circle"),
    "unclear": ("not clearly different", SOFT, "circle-open"),
    "below": ("clearly below average", BLUE, "circle"),
}
TURNED: dict[Side, Side] = {"above": "below", "unclear": "unclear", "below": "above"}
MAX_WORST, MAX_BEST = 30, 10
ROW_HEIGHT = 21
TICK_GAP = 0.14
"""The least distance of two ticks on a logarithmic axis, as a share of its length."""


def sides_of(table: GroupTable) -> dict[Side, tuple[str, str, str]]:
    """Words, colour and mark of each side of the average, what is worse in the colour of `above` in `SIDES`."""
    if table.worse == "above":
        return SIDES
    return {side: (SIDES[side][0], *SIDES[TURNED[side]][1:]) for side in ("below", "unclear", "above")}


def groups_figure(table: GroupTable, *, narrow: bool = False) -> go.Figure:
    """Groups as rows, worst first; a panel per measure with means, intervals and the overall mean.

    `narrow` keeps only what ranks. Of more than 40 groups the 30 worst and the 10 best are drawn.
    """
    rows = shown_rows(table)
    known = [m for m in dict.fromkeys((*side_by_side(table.score), table.quality)) if m in table.overall]
    panels = (measured((row for _, row in rows), known) or [table.score])[: 1 if narrow else None]
    figure = make_subplots(
        cols=len(panels), shared_yaxes=True, horizontal_spacing=0.035, column_widths=[1.25, 1, 1][: len(panels)]
    )
    for column, measure in enumerate(panels, start=1):
        for side, look in sides_of(table).items():
            figure.add_trace(_group_marks(rows, measure, side, look), row=1, col=column)
        if measure in table.overall:
            _overall_line(figure, table.overall[measure], column)
        _panel_title(figure, measure_label(measure), column)
    style(figure, height=ROW_HEIGHT * (rows[-1][0] + 1) + 86, top=36, left=12)
    figure.update_yaxes(
        range=[rows[-1][0] + 0.6, -0.6], tickvals=[place for place, _ in rows], tickfont_size=12.5, automargin=True
    )
    labels = [chart_text(row.label, 22 if narrow else 30) for _, row in rows]
    figure.update_yaxes(ticktext=labels, col=1)
    return figure


def shown_rows(table: GroupTable) -> list[tuple[int, GroupRow]]:
    """The ranked rows that a chart draws, with their places: a gap is left where groups are left out."""
    rows = table.ranked or table.rows
    if len(rows) <= MAX_WORST + MAX_BEST:
        return list(enumerate(rows))
    return [*enumerate(rows[:MAX_WORST]), *enumerate(rows[-MAX_BEST:], start=MAX_WORST + 1)]


def _group_marks(rows: list[tuple[int, GroupRow]], measure: str, side: Side, look: tuple[str, str, str]) -> go.Scatter:
    name, colour, symbol = look
    drawn = [
        (place, row, row.estimates[measure]) for place, row in rows if row.side == side and measure in row.estimates
    ]
    places = decimals([estimate.mean for _, _, estimate in drawn])
    return go.Scatter(
        x=[chart_number(estimate.mean) for _, _, estimate in drawn],
        y=[place for place, _, _ in drawn],
        error_x=whiskers([(own.mean, own.low, own.high) for _, _, own in drawn], colour),
        mode="markers",
        marker={"color": colour, "symbol": symbol, "size": 8, "line": {"width": 1.6, "color": colour}},
        name=name,
        showlegend=False,
        text=[_group_hover(row, estimate, measure, places) for _, row, estimate in drawn],
        hovertemplate="%{text}<extra></extra>",
    )


def _group_hover(row: GroupRow, estimate: Estimate, measure: str, places: int) -> str:
    interval = f"{number(estimate.low, places)} to {number(estimate.high, places)}"
    return (
        f"<b>{chart_text(row.label, 60)}</b> {chart_text(row.group, 40) if row.group != row.label else ''}<br>"
        f"{measure_label(measure)} {number(estimate.mean, places)}<br>95% interval {interval}<br>"
        f"{estimate.n_prompts:,} prompts"
    )


def quality_figure(
    clouds: tuple[Cloud, ...], quartiles: tuple[QuartileTable, ...], *, narrow: bool = False
) -> go.Figure:
    """Each score against image quality: prompts (or counts on a grid), and the means of the four quarters over them."""
    shape = {"rows": len(clouds), "cols": 1} if narrow else {"rows": 1, "cols": len(clouds)}
    figure = make_subplots(
        **shape, shared_yaxes=not narrow, horizontal_spacing=0.05, vertical_spacing=0.16 if narrow else None
    )
    style(figure, height=330 * shape["rows"] + 90, top=44, left=58)
    for index, cloud in enumerate(clouds):
        at = {"row": index + 1, "col": 1} if narrow else {"row": 1, "col": index + 1}
        figure.add_trace(_cloud_marks(cloud, first=index == 0), **at)
        for table in quartiles:
            if (table.score, table.measure) == (cloud.score, cloud.measure):
                figure.add_trace(_quartile_line(table, first=index == 0), **at)
        title = f"{measure_label(cloud.score)} (log scale)"
        figure.update_xaxes(type="log", tickvals=log_ticks(cloud), title={"text": title, "font_size": 13}, **at)
        if narrow or index == 0:
            figure.update_yaxes(title={"text": measure_label(cloud.measure), "font_size": 13}, **at)
    return figure


def log_ticks(cloud: Cloud) -> list[float]:
    """Round numbers inside the range of a cloud's scores, of the coarsest kind with three, none too close."""
    low, high = min(point.x for point in cloud.points), max(point.x for point in cloud.points)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 2, 5), range(1, 10)):
        ticks = [float(f"{digit}e{exponent}") for exponent in exponents for digit in digits]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= 3:
            break
    apart, kept = TICK_GAP * math.log(high / low), inside[:1]
    for tick in inside[1:]:
        kept += [tick] if math.log(tick / kept[-1]) >= apart else []
    return kept


def _cloud_marks(cloud: Cloud, *, first: bool) -> go.Scatter:
    largest = max(point.n for point in cloud.points)
    per_prompt = cloud.kind == "prompts"
    sizes = 6 if per_prompt else [2 + 10 * math.sqrt(point.n / largest) for point in cloud.points]
    hover = "%{text}<br>score %{x:.3g}, quality %{y:.3f}" if per_prompt else "%{text} prompts near %{x:.3g}, %{y:.3f}"
    return go.Scatter(
        x=[chart_number(point.x) for point in cloud.points],
        y=[chart_number(point.y) for point in cloud.points],
        mode="markers",
        marker={"size": sizes, "color": BLUE, "opacity": 0.38 if per_prompt else 0.6, "line": {"width": 0}},
        name="one prompt" if per_prompt else "prompts; area shows how many",
        showlegend=first,
        text=[chart_text(point.text, 70) if per_prompt else f"{point.n:,}" for point in cloud.points],
        hovertemplate=hover + "<extra></extra>",
    )


def _quartile_line(table: QuartileTable, *, first: bool) -> go.Scatter:
    quality = [quarter.quality for quarter in table.quartiles]
    return go.Scatter(
        x=[chart_number(quarter.score_mean) for quarter in table.quartiles],
        y=[chart_number(estimate.mean) for estimate in quality],
        error_y=whiskers([(own.mean, own.low, own.high) for own in quality], INK),
        mode="lines+markers",
        line={"color": INK, "width": 1.5},
        marker={"color": INK, "symbol": "diamond", "size": 9},
        name="mean of a quarter, 95% interval",
        showlegend=first,
        hovertemplate="quarter mean: score %{x:.3g}, quality %{y:.3f}<extra></extra>",
    )


def whiskers(estimates: list[tuple[float, float, float]], colour: str) -> dict[str, Any]:
    """Error bars for means with the ends of their intervals."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [chart_number(high - mean) for mean, _, high in estimates],
        "arrayminus": [chart_number(mean - low) for mean, low, _ in estimates],
        "color": colour,
        "thickness": 1.6,
        "width": 0,
    }


def chart_number(value: float) -> float | None:
    """Six significant digits are more than a screen shows."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _overall_line(figure: go.Figure, overall: float, column: int) -> None:
    figure.add_vline(x=overall, line={"color": INK, "width": 1, "dash": "dot"}, layer="below", row=1, col=column)


def _panel_title(figure: go.Figure, title: str, column: int) -> None:
    axis = "" if column == 1 else str(column)
    figure.add_annotation(
        text=f"<b>{title}</b>", xref=f"x{axis} domain", yref="y domain", x=0, y=1, xanchor="left", yanchor="bottom",
        yshift=4, showarrow=False, font={"size": 13, "color": INK},
    )  # fmt: skip


def style(figure: go.Figure, *, height: int, top: int, left: int) -> None:
    """The look that all charts share."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": left, "r": 12, "t": top, "b": 50},
        font={"family": FONT, "size": 12, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "top", "yref": "container"},
        hoverlabel={"bgcolor": "#ffffff", "bordercolor": SOFT, "font": {"family": FONT, "size": 12, "color": INK}},
        dragmode=False,
    )
    figure.update_xaxes(
        gridcolor=GRID, zeroline=False, ticks="outside", tickcolor=GRID, tickfont_color=MUTED, fixedrange=True
    )
    figure.update_yaxes(gridcolor=GRID, zeroline=False, fixedrange=True)
