"""The bench as a page: every score against known training coverage, with a chart of the languages."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from emoe_audit.ground.table import HEADINGS, LanguagePoint, Verification
from emoe_audit.report import charts
from emoe_audit.report.labels import chart_text, group_label, measure_label
from emoe_audit.report.render import render_page
from emoe_audit.runs.store import RunStore

NEVER = 0.5
"""Never-seen languages stand at this share of the least coverage there is, on the logarithmic axis."""


def write_page(found: Verification, folder: Path, command: str) -> Path:
    """Write `verification.html` into a run folder and return its path."""
    figures = {"languages": {"wide": _figure(found), "narrow": _figure(found, narrow=True)}}
    page = render_page("verification.html.j2", figures, found=found, headings=HEADINGS, command=command)
    return RunStore(folder).write_page("verification.html", page)


def _figure(found: Verification, *, narrow: bool = False) -> dict[str, Any]:
    """Mean score and mean image quality of every language over its training coverage."""
    shape = {"rows": 2, "cols": 1} if narrow else {"rows": 1, "cols": 2}
    figure = make_subplots(**shape, horizontal_spacing=0.09, vertical_spacing=0.2 if narrow else None)
    charts.style(figure, height=340 * shape["rows"] + 60, top=44, left=58)
    least = min((point.coverage for point in found.languages if point.coverage > 0), default=1.0)
    for index, (field, title) in enumerate(
        (("score", measure_label(found.default_score)), ("quality", "Image quality"))
    ):
        at = {"row": index + 1, "col": 1} if narrow else {"row": 1, "col": index + 1}
        for seen in (True, False):
            points = [point for point in found.languages if (point.coverage > 0) is seen]
            figure.add_trace(_marks(points, field, least * NEVER, seen=seen, legend=index == 0), **at)
        share = {"text": "share of the training captions", "font_size": 13}
        figure.update_xaxes(type="log", tickformat="~%", title=share, **at)
        figure.update_yaxes(title={"text": title, "font_size": 13}, **at)
    plot: dict[str, Any] = figure.to_plotly_json()
    return plot


def _marks(points: list[LanguagePoint], field: str, never: float, *, seen: bool, legend: bool) -> go.Scatter:
    values = [getattr(point, field) for point in points]
    return go.Scatter(
        x=[point.coverage or never for point in points],
        y=[value if math.isfinite(value) else None for value in values],
        mode="markers",
        marker={"color": charts.BLUE if seen else charts.VERMILION, "size": 8, "symbol": "circle" if seen else "x"},
        name="seen in training" if seen else "never seen, at the left end",
        showlegend=legend,
        text=[chart_text(group_label("language", point.language)) for point in points],
        hovertemplate="%{text}<br>share %{x:.2g}, %{y:.3g}<extra></extra>",
    )
