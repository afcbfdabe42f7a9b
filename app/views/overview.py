"""Overview: the verdict, whether the score is valid, what was audited, and the groups that fare worst."""

from __future__ import annotations

from pathlib import Path

import cards
import choice
import pandas as pd
import show
import streamlit as st

from emoe_audit.errors import StoreError
from emoe_audit.report import ReportData
from emoe_audit.report.data import GroupTable
from emoe_audit.report.labels import asked_in, measure_label, score_name
from emoe_audit.runs.store import RunStore

WORST = 5


def page() -> None:
    """Draw the page."""
    run = choice.choose_run()
    choice.name_broken()
    report = choice.report_of(run)
    st.html(cards.run_head(report))
    offer_report(run)
    st.subheader("Worst groups")
    st.caption(f"Ranked by {score_name(report.ranking)}; a mark says what survives a test of all groups at once.")
    for table in report.groups:
        show_worst(table)
    if report.manifest.is_scored:
        st.subheader("Which score to trust")
        show_validity(report)
    st.subheader("Scope")
    st.html(cards.scope(report))


def offer_report(run: Path) -> None:
    """The report as a file to hand on, where it has been written."""
    try:
        file = RunStore(run).file("report.html")
    except StoreError as error:
        st.warning(show.plain(str(error), 300))
        return
    if file is not None:
        st.download_button(
            "Report as one HTML file", file.read_bytes, f"{run.name}.html", "text/html", icon=":material/download:",
            on_click="ignore",
        )  # fmt: skip


def show_worst(table: GroupTable) -> None:
    """The first groups of a column with what was measured of them."""
    measures = [m for m in (table.score, table.quality, "training_coverage") if m in table.rows[0].estimates]
    rows = pd.DataFrame(
        {
            table.by.capitalize().replace("_", " "): [row.label for row in table.ranked[:WORST]],
            "Against the average": [cards.SIDE_WORDS[row.side] for row in table.ranked[:WORST]],
            "Captions": [row.n_sources for row in table.ranked[:WORST]],
        }
        | {measure_label(m): [row.mean(m) for row in table.ranked[:WORST]] for m in measures}
    )
    rows = rows.dropna(axis="columns", how="all")
    show.table(f"worst-{table.by}", rows, show.columns(rows), f"The {WORST} {table.by} groups that fare worst")


def show_validity(report: ReportData) -> None:
    """How often a strange prompt scores above a real one, by score and kind of strangeness."""
    if report.validity is None:
        st.text("The scores of this run were not tested on strange prompts.")
        return
    rows = pd.DataFrame(
        [
            {"Score": measure_label(own.score), "Sign": own.sign, "Strange prompts": f"{probe}{asked_in(own.language)}"}
            | {"Share above": share.mean, "from": share.low, "to": share.high, "Pairs": share.n_prompts}
            for own in report.validity.scores
            for probe, share in own.shares.items()
        ]
    )
    st.caption(
        "A score is valid where it puts a prompt that must be strange to every model above a real one: 0.5 is chance. "
        f"The correlation of the experts' features is {report.validity.alignment:.2f}."
    )
    show.table("validity", rows, show.columns(rows), "How often each score puts a strange prompt above a real one")


page()
