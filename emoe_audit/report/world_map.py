"""The map of regions: outlines of countries on plain axes; Plotly would fetch base maps of its own from the network.

Outlines are Natural Earth's (`emoe_audit.recipes.geometry`), drawn in the Equal Earth projection, which keeps areas
(Šavrič, Patterson and Jenny 2018).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from emoe_audit.prompts.tags import countries_of
from emoe_audit.report.charts import FONT, INK, SOFT, chart_number, style
from emoe_audit.report.data import GroupTable
from emoe_audit.report.heat_map import HIGH_IS_BAD
from emoe_audit.report.labels import chart_text, decimals, measure_label, number

SCALES = {True: "Cividis_r", False: "Cividis"}
"""By whether high is worse: dark is worse. Told apart by every common kind of colour vision."""
LAND, SEA_EDGE = "#eceef1", "#ffffff"
A = (1.340264, -0.081106, 0.000893, 0.003796)
"""Of the projection."""
HEIGHT, NARROW_HEIGHT = 520, 300


@dataclass(frozen=True, kw_only=True)
class World:
    """Rings of longitude and latitude in degrees by country code, and a point for countries too small for a ring."""

    shapes: dict[str, list[np.ndarray]]
    points: dict[str, tuple[float, float]]


def map_figure(table: GroupTable, measure: str, *, narrow: bool = False) -> go.Figure:
    """Countries in the colour of their group's mean; a group is a country or a region of UN M49, the smaller one wins.

    Land of no group is grey. Small countries are dots.
    """
    world, drawn = load_world(), shown_groups(table, measure)
    values = [value for _, _, value in drawn]
    figure = go.Figure()
    named = {country for _, countries, _ in drawn for country in countries}
    figure.add_trace(_land([rings for code, rings in world.shapes.items() if code not in named]))
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    places = decimals(values)
    for label, countries, value in drawn:
        share = (value - low) / (high - low) if high > low else 0.5
        colour = sample_colorscale(SCALES[measure in HIGH_IS_BAD], [share])[0]
        hover = f"<b>{chart_text(label, 60)}</b><br>{measure_label(measure)} {number(value, places)}"
        figure.add_trace(_area([world.shapes[c] for c in countries if c in world.shapes], colour, hover))
        figure.add_trace(_dots([world.points[c] for c in countries if c in world.points], colour, hover))
    figure.add_trace(_scale(low, high, measure))
    style(figure, height=NARROW_HEIGHT if narrow else HEIGHT, top=10, left=0)
    figure.update_layout(showlegend=False, hovermode="closest", margin={"l": 0, "r": 0, "t": 8, "b": 56})
    figure.update_xaxes(visible=False, range=[-2.75, 2.75])
    figure.update_yaxes(visible=False, range=[-1.15, 1.35], scaleanchor="x")
    return figure


def shown_groups(table: GroupTable, measure: str) -> list[tuple[str, list[str], float]]:
    """Label, countries and mean of every group that has both; a country belongs to its smallest group alone."""
    found = [(row.label, countries_of(row.group), row.mean(measure)) for row in table.rows]
    found = sorted((own for own in found if own[1] and math.isfinite(own[2])), key=lambda own: len(own[1]))
    taken: set[str] = set()
    shown = []
    for label, countries, value in found:
        left = [country for country in countries if country not in taken]
        taken |= set(left)
        shown.append((label, left, value))
    return shown


def equal_earth(degrees: np.ndarray) -> np.ndarray:
    """Longitude and latitude `[point, 2]` in degrees to the plane; x is within 2.71 of 0, y within 1.32."""
    longitude, latitude = np.radians(degrees).T
    angle = np.arcsin(math.sqrt(3) / 2 * np.sin(latitude))
    slope = A[0] + 3 * A[1] * angle**2 + angle**6 * (7 * A[2] + 9 * A[3] * angle**2)
    x = 2 * math.sqrt(3) * longitude * np.cos(angle) / (3 * slope)
    y = angle * (A[0] + A[1] * angle**2 + angle**6 * (A[2] + A[3] * angle**2))
    return np.stack([x, y], axis=1)


@cache
def load_world() -> World:
    """The outlines, in degrees."""
    data = json.loads(Path(__file__).with_name("world.json").read_text(encoding="utf-8"))
    shapes = {code: [np.reshape(ring, (-1, 2)) for ring in rings] for code, rings in data["shapes"].items()}
    return World(shapes=shapes, points={code: (point[0], point[1]) for code, point in data["points"].items()})


def _outline(countries: list[list[np.ndarray]]) -> dict[str, list[float | None]]:
    """The rings one after the other, a gap between two."""
    x: list[float | None] = []
    y: list[float | None] = []
    for ring in (ring for rings in countries for ring in rings):
        across, up = equal_earth(ring).T.round(4).tolist()
        x += [*across, None]
        y += [*up, None]
    return {"x": x, "y": y}


def _area(countries: list[list[np.ndarray]], colour: str, hover: str) -> go.Scatter:
    return go.Scatter(
        **_outline(countries), mode="lines", line={"color": SEA_EDGE, "width": 0.6}, fill="toself", fillcolor=colour,
        hoveron="fills", text=hover, hoverinfo="text",
    )  # fmt: skip


def _land(countries: list[list[np.ndarray]]) -> go.Scatter:
    return go.Scatter(
        **_outline(countries), mode="lines", line={"color": SEA_EDGE, "width": 0.6}, fill="toself", fillcolor=LAND,
        hoverinfo="skip",
    )  # fmt: skip


def _dots(places: list[tuple[float, float]], colour: str, hover: str) -> go.Scatter:
    x, y = equal_earth(np.reshape(places, (-1, 2))).T.round(4).tolist()
    marker = {"color": colour, "size": 7, "line": {"color": SOFT, "width": 0.7}}
    return go.Scatter(x=x, y=y, mode="markers", marker=marker, text=[hover] * len(places), hoverinfo="text")


def _scale(low: float, high: float, measure: str) -> go.Scatter:
    """A mark that is never seen, for the sake of its colour bar."""
    bar: dict[str, Any] = {
        "orientation": "h", "x": 0.5, "y": -0.02, "yanchor": "top", "len": 0.5, "thickness": 11, "outlinewidth": 0,
        "title": {"text": measure_label(measure), "side": "top", "font": {"size": 12, "family": FONT, "color": INK}},
    }  # fmt: skip
    ends = [chart_number(low), chart_number(high)]
    scale = SCALES[measure in HIGH_IS_BAD]
    marker = {"color": ends, "colorscale": scale, "showscale": True, "colorbar": bar, "size": 0.1}
    return go.Scatter(x=[None, None], y=[None, None], mode="markers", marker=marker, hoverinfo="skip")
