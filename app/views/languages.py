"""Languages: ranked with intervals, against a reference language within captions, and in all measures at once."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cards
import choice
import data
import pandas as pd
import show
import streamlit as st

from emoe_audit.report import ReportData
from emoe_audit.report.charts import groups_figure
from emoe_audit.report.data import GroupTable
from emoe_audit.report.gap_charts import WORDS, gaps_figure
from emoe_audit.report.heat_map import heat_figure
from emoe_audit.report.labels import measure_label


def page() -> None:
    """Draw the page."""
    run = choice.choose_run()
    report = choice.report_of(run)
    table = choice.table_of(report, "language")
    st.subheader("Languages, worst first")
    st.html(cards.legend(table))
    show.figure("languages", partial(groups_figure, table), "Languages with mean scores and 95% intervals")
    show_reference(run, report, table)
    st.subheader("All measures")
    st.caption("How far a language lies from the mean of all, in standard deviations between languages. Dark is worse.")
    show.figure("heat", partial(heat_figure, table), "Languages by measure: distance from the mean of all languages")
    show.group_means("languages", table)


def show_reference(run: Path, report: ReportData, table: GroupTable) -> None:
    """The gap of every language to a chosen one, caption by caption."""
    st.subheader("Gap to a reference language")
    names = {row.label: row.group for row in sorted(table.rows, key=lambda row: row.label)}
    measures = [m for m in data.gap_measures(report) if m in table.rows[0].estimates]
    left, right = st.columns(2)
    start = list(names.values()).index("en") if "en" in names.values() else 0
    reference = left.selectbox("Reference", list(names), start, key="reference", bind="query-params")
    measure = right.selectbox("Measure", measures, format_func=measure_label, key="measure", bind="query-params")
    found = data.reference_gaps(run, "language", str(measure), names[str(reference)])
    if found is None:
        st.text("No caption is there both in this language and in another.")
        return
    st.caption(
        f"Each language minus {reference} in the same caption; p-values are adjusted for {found.gaps[0].n_tests} "
        "tests. In the band a gap does not matter: a fifth of a standard deviation between prompts."
    )
    show.figure("gaps", partial(gaps_figure, found), f"Gaps of languages to {reference} with 95% intervals")
    rows = pd.DataFrame([vars(gap) | {"verdict": WORDS[gap.verdict]} for gap in found.gaps])
    columns = {
        "label": show.text("Language"), "n_sources": show.number("Captions", 6), "difference": show.number("Gap"),
        "low": show.number("from"), "high": show.number("to"), "effect_size": show.number("Effect size"),
        "p_bh": show.number("p, adjusted"), "detectable": show.number("Could be seen"), "verdict": show.text("Verdict"),
    }  # fmt: skip
    show.table("reference-gaps", rows, columns, f"Gaps of languages to {reference}")


page()
