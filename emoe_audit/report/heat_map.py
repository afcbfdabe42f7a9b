"""Heat maps, of groups by measure and of languages by expert: cells of bars, which Plotly's basic bundle can draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from emoe_audit.analysis.summary import SCORES
from emoe_audit.report.charts import ROW_HEIGHT, style
from emoe_audit.report.data import GroupTable, measured
from emoe_audit.report.findings import ExpertUse
from emoe_audit.report.labels import chart_text, measure_label, number

SCALE = "Cividis_r"
"""Told apart by every common kind of colour vision; dark is worse."""
LIMIT = 2.5
"""Standard deviations at which the scale ends."""
GAP = 0.06
"""Between cells, as a share of one."""
HIGH_IS_BAD = (*SCORES, "n_tokens")


def heat_figure(table: GroupTable, *, narrow: bool = False) -> go.Figure:
    """A row per group, a column per measure: distance from the mean of all groups, in deviations between groups."""
    measures = measured(table.rows, table.overall)
    values = np.array([[row.mean(m) for m in measures] for row in table.rows])
    worse = np.array([1 if m in HIGH_IS_BAD else -1 for m in measures]) * standardised(values)
    figure = go.Figure(
        cells(
            np.nan_to_num(worse),
            (-LIMIT, LIMIT),
            "" if narrow else "worse than the mean, in deviations",
            opacity=np.where(np.isfinite(worse), 1.0, 0.0).ravel().tolist(),
            hovertext=[
                f"<b>{chart_text(row.label, 60)}</b><br>{measure_label(m)} {number(row.mean(m), 4)}"
                f"<br>{number(worse[i, j], 2)} deviations worse"
                for i, row in enumerate(table.rows)
                for j, m in enumerate(measures)
            ],
            hovertemplate="%{hovertext}<extra></extra>",
        )
    )
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


def experts_figure(use: ExpertUse, *, narrow: bool = False) -> go.Figure:
    """A row per language, a column per expert: the share of tokens that use it, over the mean of all languages."""
    shares = np.array(use.shares)
    ratio = np.divide(shares, shares.mean(axis=0), out=np.ones_like(shares), where=shares.mean(axis=0) > 0)
    experts = np.broadcast_to(np.arange(shares.shape[1]), shares.shape).ravel().tolist()
    percent, title = shares.ravel().round(4).tolist(), "" if narrow else "times the mean of all languages"
    hover = "expert %{hovertext}<br>%{customdata:.1%} of tokens, %{marker.color:.2f} of the mean<extra></extra>"
    figure = go.Figure(cells(ratio.round(3), (0, 2), title, hovertext=experts, customdata=percent, hovertemplate=hover))
    style(figure, height=ROW_HEIGHT * len(use.languages) + 110, top=8, left=12)
    figure.update_yaxes(
        range=[len(use.languages) - 0.4, -0.6], tickvals=list(range(len(use.languages))), automargin=True,
        showgrid=False, ticktext=[chart_text(label, 22 if narrow else 30) for label in use.languages],
    )  # fmt: skip
    figure.update_xaxes(title={"text": f"expert of {use.layer}", "font_size": 13}, showgrid=False)
    return figure


def cells(
    values: np.ndarray,
    ends: tuple[float, float],
    bar_title: str,
    *,
    opacity: Sequence[float] | float = 1.0,
    **hover: Any,
) -> go.Bar:
    """A cell for every one of `[row, column]` values, coloured from one end to the other; no title, no colour bar."""
    rows, columns = np.indices(values.shape)
    left = columns.ravel() - 0.5 + GAP / 2
    colours: dict[str, Any] = {"color": values.ravel().tolist(), "cmin": ends[0], "cmax": ends[1], "colorscale": SCALE}
    bar = {"title": {"text": bar_title, "side": "right"}, "thickness": 11, "outlinewidth": 0}
    return go.Bar(
        orientation="h", y=rows.ravel().tolist(), base=left.tolist(), x=[1 - GAP] * values.size, width=1 - GAP,
        marker=colours | {"opacity": opacity, "line": {"width": 0}, "showscale": bool(bar_title), "colorbar": bar},
        showlegend=False, textposition="none", **hover,
    )  # fmt: skip


def standardised(values: np.ndarray) -> np.ndarray:
    """`[group, measure]` minus the mean over groups, over the standard deviation over groups; NaN stays NaN.

    A measure that is the same for all groups is 0.
    """
    distance = values - np.nanmean(values, axis=0)
    spread = np.nanstd(values, axis=0)
    found: np.ndarray = np.divide(distance, spread, out=np.zeros_like(distance), where=spread > 0)
    found[np.isnan(values)] = np.nan
    return found
