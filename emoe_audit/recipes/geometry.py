"""The outlines of countries that the map of regions draws: `python -m emoe_audit.recipes.geometry FOLDER`.

Source: Natural Earth (public domain) as TopoJSON of the npm package `world-atlas` 2 (ISC), 1:110m; countries too small
for that scale become points, the middle of their largest island at 1:50m. Codes by `i18n-iso-countries` 7 (MIT).
FOLDER holds the `node_modules` with both; `emoe_audit/report/world.json` is what comes out.
"""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from emoe_audit.prompts.tags import country_codes

OUT = Path(__file__).parents[1] / "report" / "world.json"
SOURCE = "Natural Earth 1:110m and 1:50m, public domain"
WITHOUT_COUNTRY = ""
"""Land that has no ISO 3166 code of its own: it is drawn and never coloured."""
ANTARCTICA = "AQ"
DRAWN_WITH_ANOTHER = {
    **{"BQ": [-68.3, 12.2], "CC": [96.8, -12.2], "CX": [105.6, -10.5], "GF": [-53.1, 4.0], "GI": [-5.4, 36.1]},
    **{"MO": [113.5, 22.2], "VA": [12.5, 41.9]},
    **{"GP": [-61.6, 16.2], "MQ": [-61.0, 14.6], "RE": [55.5, -21.1], "SJ": [16.0, 78.9], "TK": [-171.8, -9.2]},
    **{"TV": [179.2, -8.5], "XK": [20.9, 42.6], "YT": [45.2, -12.8]},
}
"""Longitude and latitude of codes that have no shape of their own in Natural Earth at these scales."""
DECIMALS = 1
HALF = 180

Ring = list[list[float]]


def main(modules: Path) -> None:
    """Write the outlines."""
    codes = {number: code for code, _, number, _ in _json(modules / "i18n-iso-countries" / "codes.json")}
    shapes = outlines(_json(modules / "world-atlas" / "countries-110m.json"), codes)
    small = outlines(_json(modules / "world-atlas" / "countries-50m.json"), codes)
    points = {code: middle(rings) for code, rings in small.items() if code not in shapes and code in country_codes()}
    points |= DRAWN_WITH_ANOTHER
    shapes.pop(ANTARCTICA, None)
    flat = {
        code: [[number for point in ring for number in point] for ring in rings]
        for code, rings in sorted(shapes.items())
    }
    world = {"source": SOURCE, "shapes": flat, "points": dict(sorted(points.items()))}
    OUT.write_text(json.dumps(world, separators=(",", ":")), encoding="utf-8")


def outlines(topology: dict[str, Any], codes: dict[str, str]) -> dict[str, list[Ring]]:
    """The outer rings of every country, longitude and latitude in degrees, by ISO 3166 alpha-2 code."""
    arcs = _arcs(topology)
    found: dict[str, list[Ring]] = {}
    for country in topology["objects"]["countries"]["geometries"]:
        polygons = country["arcs"] if country["type"] == "MultiPolygon" else [country["arcs"]]
        code = codes.get(country.get("id", ""), WITHOUT_COUNTRY)
        rings = [part for polygon in polygons for part in cut_at_date_line(_ring(polygon[0], arcs)) if len(part) > 2]
        if rings:
            found.setdefault(code, []).extend(rings)
    return found


def cut_at_date_line(ring: Ring) -> list[Ring]:
    """The parts of a ring on both sides of 180 degrees, whose crossing a plane map would draw around the world."""
    longitude, latitude = np.array(ring).T
    unrolled = np.unwrap(longitude, period=360)
    if unrolled.max() <= HALF and unrolled.min() >= -HALF:
        return [ring]
    turn = 360 if unrolled.min() < -HALF else 0
    points = list(zip((unrolled + turn).tolist(), latitude.tolist(), strict=True))
    west = [[x, y] for x, y in _clipped(points, 1)]
    east = [[x - 360, y] for x, y in _clipped(points, -1)]
    return [[[round(x, DECIMALS), y] for x, y in part] for part in (west, east)]


def _clipped(points: list[tuple[float, float]], side: int) -> list[tuple[float, float]]:
    """What lies on one side of 180 degrees (Sutherland and Hodgman 1974): below it for `side` 1, above for -1."""
    kept: list[tuple[float, float]] = []
    for (x0, y0), (x1, y1) in pairwise([points[-1], *points]):
        inside = [side * (HALF - x) >= 0 for x in (x0, x1)]
        if inside[0] != inside[1]:
            share = (HALF - x0) / (x1 - x0)
            kept.append((float(HALF), round(y0 + share * (y1 - y0), DECIMALS)))
        if inside[1]:
            kept.append((x1, y1))
    return kept


def middle(rings: list[Ring]) -> list[float]:
    """The mean of the corners of the longest ring."""
    longest = max(rings, key=len)
    return [round(float(value), DECIMALS) for value in np.mean(longest, axis=0)]


def _arcs(topology: dict[str, Any]) -> list[np.ndarray]:
    """The arcs in degrees: TopoJSON keeps each point as a step from the one before, in whole numbers."""
    scale, shift = (np.array(topology["transform"][name]) for name in ("scale", "translate"))
    return [np.cumsum(arc, axis=0) * scale + shift for arc in topology["arcs"]]


def _ring(places: list[int], arcs: list[np.ndarray]) -> Ring:
    """The arcs of a ring one after the other, those of negative number backwards; no corner twice in a row."""
    points = np.concatenate([arcs[place] if place >= 0 else arcs[~place][::-1] for place in places])
    corners = points.round(DECIMALS).tolist()
    return [corners[0], *(own for before, own in pairwise(corners) if own != before)]


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
