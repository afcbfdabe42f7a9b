"""Regions: a map by country and UN M49 region, and the same as a chart with intervals and a table."""

from __future__ import annotations

from functools import partial

import cards
import choice
import show
import streamlit as st

from emoe_audit.report.charts import groups_figure
from emoe_audit.report.labels import measure_label
from emoe_audit.report.world_map import map_figure


def page() -> None:
    """Draw the page."""
    report = choice.report_of(choice.choose_run())
    table = choice.table_of(report, "region")
    measures = [measure for measure in table.overall if measure in table.rows[0].estimates]
    st.subheader("Regions on the map")
    start = measures.index(table.score) if table.score in measures else 0
    measure = str(
        st.selectbox(
            "Measure", measures, start, format_func=measure_label, key="measure", bind="query-params", width=420
        )
    )
    show.figure("map", partial(map_figure, table, measure), f"Map of {measure_label(measure)} by region")
    st.caption("Countries take the colour of their group; grey land is in no group. Outlines: Natural Earth.")
    st.subheader("Regions, worst first")
    st.html(cards.legend(table))
    show.figure("regions", partial(groups_figure, table), "Regions with mean scores and 95% intervals")
    show.group_means("regions", table)


page()
