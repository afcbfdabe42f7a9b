"""The heat map of groups by measure: squares, because the report draws with Plotly's basic bundle."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go

from emoe_audit.analysis.summary import SCORES
from emoe_audit.report.charts import ROW_HEIGHT, style
from emoe_audit.report.data import GroupTable
from emoe_audit.report.labels import chart_text, measure_label, number

SCALE = "Cividis_r"
"""Told apart by every common kind of colour vision; dark is worse."""
LIMIT = 2.5
"""Standard deviations at which the scale ends."""
HIGH_IS_BAD = (*SCORES, "n_tokens")


def heat_figure(table: GroupTable, *, narrow: bool = False) -> go.Figure:
    """A row per group, a column per measure: distance from the mean of all groups, in deviations between groups."""
    measures = [m for m in table.overall if any(math.isfinite(row.mean(m)) for row in table.rows)]
    values = np.array([[row.mean(m) for m in measures] for row in table.rows])
    worse = np.array([1 if m in HIGH_IS_BAD else -1 for m in measures]) * standardised(values)
    rows, columns = np.meshgrid(np.arange(len(table.rows)), np.arange(len(measures)), indexing="ij")
    bar = {"title": {"text": "worse than the mean, in deviations", "side": "right"}, "thickness": 11, "outlinewidth": 0}
    figure = go.Figure(
        go.Scatter(
            x=columns.ravel(),
            y=rows.ravel(),
            mode="markers",
            marker={
                "symbol": "square", "size": 13 if narrow else 19, "color": np.nan_to_num(worse).ravel(), "cmin": -LIMIT,
                "cmax": LIMIT, "colorscale": SCALE, "showscale": not narrow, "colorbar": bar,
                "opacity": np.where(np.isfinite(worse), 1.0, 0.0).ravel(),
            },
            text=[
                f"<b>{chart_text(row.label, 60)}</b><br>{measure_label(m)} {number(row.mean(m), 4)}"
                f"<br>{number(worse[i, j], 2)} deviations worse"
                for i, row in enumerate(table.rows)
                for j, m in enumerate(measures)
            ],
            hovertemplate="%{text}<extra></extra>",
        )
    )  # fmt: skip
    style(figure, height=ROW_HEIGHT * len(table.rows) + 150, top=8, left=12)
    figure.update_yaxes(
        range=[len(table.rows) - 0.4, -0.6], tickvals=list(range(len(table.rows))), automargin=True, showgrid=False,
        ticktext=[chart_text(row.label, 22 if narrow else 30) for row in table.rows],
    )  # fmt: skip
    figure.update_xaxes(
        range=[-0.6, len(measures) - 0.4], tickvals=list(range(len(measures))), tickangle=-40, automargin=True,
        showgrid=False, ticktext=[measure_label(m) for m in measures],
    )  # fmt: skip
    return figure


def standardised(values: np.ndarray) -> np.ndarray:
    """`[group, measure]` minus the mean over groups, over the standard deviation over groups; NaN stays NaN.

    A measure that is the same for all groups is 0.
    """
    distance = values - np.nanmean(values, axis=0)
    spread = np.nanstd(values, axis=0)
    found: np.ndarray = np.divide(distance, spread, out=np.zeros_like(distance), where=spread > 0)
    found[np.isnan(values)] = np.nan
    return found
