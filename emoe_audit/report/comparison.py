"""Two runs compared, for people: a table in text, and one page."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from emoe_audit.analysis.skewed import MIN_FOR_INTERVAL
from emoe_audit.decisions.comparison import Comparison, GroupChange, ImagePair, Outcome
from emoe_audit.report import charts
from emoe_audit.report.gallery import BYTE_BUDGET, embed_image
from emoe_audit.report.labels import chart_text, clip_text, group_label, measure_label
from emoe_audit.report.render import render_page
from emoe_audit.runs.files import replace_file

MARKS: dict[Outcome, tuple[str, str]] = {
    "rose": (charts.VERMILION, "circle"),
    "fell": (charts.BLUE, "circle"),
    "no clear change": (charts.SOFT, "circle-open"),
}
HEADINGS = ("prompts", "captions", "difference", "95% interval", "p", "p_bh", "p_by", "verdict")
MAX_EACH_WAY = 20
"""Of more groups than twice as many, a chart draws this many from each end."""


def comparison_text(found: Comparison) -> str:
    """What was compared, and a table of the groups."""
    lines = [
        f"{name}: {clip_text(f'{run.path} ({run.ensemble})', 200)}" for name, run in (("a", found.a), ("b", found.b))
    ]
    lines += [
        f"score: {found.score}, as rank among the common prompts, 0 to 1; difference: rank in b minus rank in a",
        f"prompts: {found.n_prompts} in both, {found.n_only_a} only in a, {found.n_only_b} only in b",
        f"tests: {found.n_tests}, verdicts at a false discovery rate of {found.fdr:g} (Benjamini-Hochberg)",
        "",
        *_aligned([(clip_text(found.by, 40), *HEADINGS), *(_cells(change) for change in found.groups)]),
    ]
    if found.untested:
        names = ", ".join(clip_text(group, 40) for group in found.untested)
        lines += ["", f"not tested, fewer than {MIN_FOR_INTERVAL} captions: {names}"]
    return "\n".join(lines)


def write_comparison(found: Comparison, path: Path, command: str) -> Path:
    """Write the page and return its path.

    Raises:
        AuditError: it cannot be written there.
    """
    return replace_file(path, [comparison_page(found, command)])


def comparison_page(found: Comparison, command: str) -> str:
    """One page that needs nothing else: verdicts, a chart, a table, and prompts that both runs drew."""
    drawn = shown_changes(found)
    forms = {"wide": changes_figure(found), "narrow": changes_figure(found, narrow=True)}
    return render_page(
        "comparison.html.j2",
        {"changes": forms} if drawn else {},
        found=found,
        counts=Counter(change.verdict for change in found.groups),
        label=group_label,
        n_drawn=len(drawn),
        height=forms["wide"]["layout"]["height"],
        pairs=_embedded(found),
        min_sources=MIN_FOR_INTERVAL,
        command=command,
    )


def shown_changes(found: Comparison) -> list[GroupChange]:
    """The tested groups that a chart draws: all of them, or those at both ends."""
    tested = [change for change in found.groups if change.verdict != "not tested"]
    return tested if len(tested) <= 2 * MAX_EACH_WAY else [*tested[:MAX_EACH_WAY], *tested[-MAX_EACH_WAY:]]


def changes_figure(found: Comparison, *, narrow: bool = False) -> dict[str, Any]:
    """Groups as rows, largest rise first, with mean differences and their intervals, as Plotly JSON."""
    drawn = shown_changes(found)
    figure = go.Figure()
    for verdict, (colour, symbol) in MARKS.items():
        rows = [(place, change) for place, change in enumerate(drawn) if change.verdict == verdict]
        figure.add_trace(_marks(rows, found.by, verdict, colour, symbol))
    figure.add_vline(x=0, line={"color": charts.INK, "width": 1, "dash": "dot"}, layer="below")
    charts.style(figure, height=charts.ROW_HEIGHT * len(drawn) + 100, top=12, left=12)
    title = "change of mean rank" if narrow else f"change of mean rank by {measure_label(found.score).lower()}, A to B"
    figure.update_xaxes(title={"text": title, "font_size": 13})
    figure.update_yaxes(
        range=[len(drawn) - 0.4, -0.6],
        tickvals=list(range(len(drawn))),
        ticktext=[chart_text(group_label(found.by, change.group), 22 if narrow else 30) for change in drawn],
        tickfont_size=12.5,
        automargin=True,
    )
    plot: dict[str, Any] = figure.to_plotly_json()
    return plot


def _marks(rows: list[tuple[int, GroupChange]], by: str, verdict: str, colour: str, symbol: str) -> go.Scatter:
    changes = [change for _, change in rows]
    return go.Scatter(
        x=[change.difference for change in changes],
        y=[place for place, _ in rows],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [change.high - change.difference for change in changes],
            "arrayminus": [change.difference - change.low for change in changes],
            "color": colour,
            "thickness": 1.6,
            "width": 0,
        },
        mode="markers",
        marker={"color": colour, "symbol": symbol, "size": 8, "line": {"width": 1.6, "color": colour}},
        name=verdict,
        showlegend=False,
        text=[chart_text(group_label(by, change.group), 60) for change in changes],
        customdata=[[change.low, change.high, change.p_bh] for change in changes],
        hovertemplate="<b>%{text}</b><br>%{x:+.3f}, 95% interval %{customdata[0]:+.3f} to %{customdata[1]:+.3f}<br>"
        "p %{customdata[2]:.2g}, adjusted<extra></extra>",
    )


def _embedded(found: Comparison) -> list[tuple[ImagePair, str, str]]:
    """The pairs with both images as data URIs; a pair of which one cannot be read is left out."""
    budget = BYTE_BUDGET // max(1, 2 * len(found.pairs))
    pairs = []
    for pair in found.pairs:
        first = embed_image(found.a.path, pair.image_a, budget)
        second = embed_image(found.b.path, pair.image_b, budget)
        if first is not None and second is not None:
            pairs.append((pair, first, second))
    return pairs


def _cells(change: GroupChange) -> tuple[str, ...]:
    interval = "–" if math.isnan(change.low) else f"{change.low:+.3f} to {change.high:+.3f}"
    return (
        clip_text(change.group, 40),
        str(change.n_prompts),
        str(change.n_sources),
        f"{change.difference:+.3f}",
        interval,
        *("–" if math.isnan(p) else f"{p:.4f}" for p in (change.p, change.p_bh, change.p_by)),
        change.verdict,
    )


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns side by side, numbers to the right, the first and the last to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place in (0, len(widths) - 1) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
