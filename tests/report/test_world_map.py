"""The map: every country once, in the colour of its smallest group, without asking the network."""

from __future__ import annotations

import math

import numpy as np
import pytest

from emoe_audit.analysis.intervals import Estimate
from emoe_audit.prompts.tags import countries_of, country_codes
from emoe_audit.report.data import GroupRow, GroupTable
from emoe_audit.report.world_map import equal_earth, load_world, map_figure, shown_groups

SCORE = "relative_disagreement"
NOT_ON_THE_MAP = {"BV", "CQ", "EA", "IC", "QO", "UM"}
"""Islands without inhabitants, and codes that lie inside other countries."""


def table(means: dict[str, float]) -> GroupTable:
    rows = tuple(
        GroupRow(
            group=group, label=group, n_prompts=9, n_sources=9, p=math.nan,
            estimates={SCORE: Estimate(mean=mean, low=mean, high=mean, n_prompts=9)},
            gap=Estimate(mean=0.0, low=0.0, high=0.0, n_prompts=9),
        )
        for group, mean in means.items()
    )  # fmt: skip
    return GroupTable(by="region", title="By region", score=SCORE, overall={SCORE: 1.0}, rows=rows)


def test_every_country_has_an_outline_or_a_point() -> None:
    world = load_world()
    assert set(country_codes()) - set(world.shapes) - set(world.points) == NOT_ON_THE_MAP


def test_outlines_lie_where_the_countries_are() -> None:
    world = load_world()
    for code, (longitude, latitude) in {"BR": (-53.0, -10.0), "DE": (10.5, 51.0), "AU": (134.0, -25.0)}.items():
        largest = max(world.shapes[code], key=len)
        assert np.abs(largest.mean(axis=0) - (longitude, latitude)).max() < 8
    assert world.points["SG"] == pytest.approx((103.8, 1.3), abs=0.3)


def test_the_projection_has_the_known_extent_and_keeps_areas() -> None:
    assert equal_earth(np.array([[180.0, 0.0]]))[0] == pytest.approx([2.70663, 0.0], abs=1e-4)
    assert equal_earth(np.array([[0.0, 90.0]]))[0] == pytest.approx([0.0, 1.31737], abs=1e-4)
    for latitude in (0.0, 35.0, 70.0):
        (x0, y0), (x1, _), (_, y1) = equal_earth(np.array([[0, latitude], [1, latitude], [0, latitude + 0.01]]))
        on_the_sphere = math.radians(1) * math.radians(0.01) * math.cos(math.radians(latitude + 0.005))
        assert (x1 - x0) * (y1 - y0) == pytest.approx(on_the_sphere, rel=1e-3)


def test_a_country_takes_the_colour_of_its_smallest_group() -> None:
    shown = {
        label: (countries, value)
        for label, countries, value in shown_groups(table({"150": 1.0, "DE": 2.0, "039": 3.0}), SCORE)
    }
    assert shown["DE"] == (["DE"], 2.0)
    assert "IT" in shown["039"][0] and "IT" not in shown["150"][0]
    assert "FR" in shown["150"][0] and "DE" not in shown["150"][0]


def test_a_region_holds_the_countries_of_the_regions_inside_it() -> None:
    assert {"NG", "EG", "KE", "ZA"} <= set(countries_of("002"))
    assert set(countries_of("015")) <= set(countries_of("002"))
    assert {"BR", "MX", "US"} <= set(countries_of("019")) and "FR" not in countries_of("019")
    assert countries_of("DE") == ("DE",) and countries_of("nowhere") == ()


def test_the_map_is_drawn_with_scatter_alone() -> None:
    assert {trace.type for trace in map_figure(table({"150": 1.0, "002": 2.0}), SCORE).data} == {"scatter"}


def test_a_run_whose_groups_are_no_regions_has_a_map_of_grey_land() -> None:
    assert shown_groups(table({"somewhere": 1.0}), SCORE) == []
    assert map_figure(table({"somewhere": 1.0}), SCORE).data


def test_no_outline_runs_around_the_world() -> None:
    widest = {code: max(np.ptp(ring[:, 0]) for ring in rings) for code, rings in load_world().shapes.items()}
    assert max(widest.values()) < 180, "Russia reaches from 27 to 180 degrees, what lies beyond is a part of its own"
    assert {ring[:, 0].mean() < 0 for ring in load_world().shapes["RU"]} == {True, False}
