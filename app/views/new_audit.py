"""New audit: upload a table, see it checked, start, watch, cancel and resume. The engine is the command line's."""

from __future__ import annotations

from pathlib import Path

import choice
import jobs
import pandas as pd
import show
import streamlit as st
import uploads

from emoe_audit.errors import AuditError
from emoe_audit.prompts.table import PromptTable
from emoe_audit.report.labels import clip_text
from emoe_audit.types import ImageConfig, ScoringConfig

SHOWN_FAULTS, SHOWN_ROWS = 50, 200
MAX_WARNING = 400
WATCH_SECONDS = 2


def page() -> None:
    """Draw the page."""
    root = choice.root()
    st.subheader("New audit")
    st.caption(
        "A table with a column `prompt`; `language`, `region` and `source_id`, which the translations of a caption "
        "share, make the audit worth its name. It is checked before anything starts."
    )
    uploaded = st.file_uploader("Prompt table", type=[ending[1:] for ending in uploads.FORMATS])
    if uploaded is not None:
        try:
            offer(root, uploaded.name, uploaded.getvalue())
        except AuditError as error:
            st.error(show.plain(str(error), 600))
    st.subheader("Audits started here")
    watch(root)


def offer(root: Path, file_name: str, content: bytes) -> None:
    """Check an uploaded table, ask for settings, and start."""
    show_checked(uploads.check_upload(file_name, content))
    with st.form("settings"):
        name = st.text_input("Name of the run", placeholder="my-audit", max_chars=60)
        left, middle, right = st.columns(3)
        ensemble = left.selectbox("Ensemble", jobs.ensembles(root))
        n_images = middle.number_input("Images at most", 0, jobs.MOST_IMAGES, ImageConfig().n_images)
        words = "Noises to average over; 0 asks the text encoder alone"
        n_noise = right.number_input(words, 0, jobs.MOST_NOISES, ScoringConfig().n_noise)
        if not st.form_submit_button("Start", type="primary"):
            return
    wish = jobs.Wish(ensemble=str(ensemble), n_images=int(n_images), n_noise=int(n_noise))
    jobs.begin(root, name, wish, file_name, content)
    st.success(f"{name} has been started.")


def show_checked(table: PromptTable) -> None:
    """What was read, and what was left out with its line and column."""
    faults = table.row_errors
    languages = len({language for part in table.parts for language in part["language"].unique()})
    st.text(f"{table.n_prompts:,} prompts in {languages:,} languages; {len(faults):,} rows are left out.")
    for warning in table.warnings:
        st.warning(show.plain(warning, MAX_WARNING))
    if faults:
        rows = pd.DataFrame(
            [
                {
                    "Line": fault.line,
                    "Column": fault.column,
                    "What is wrong": fault.message,
                }
                for fault in faults[:SHOWN_FAULTS]
            ]
        )
        columns = {
            "Line": show.number("Line", 9),
            "Column": show.text("Column"),
            "What is wrong": show.text("What is wrong"),
        }
        show.table("faults", rows, columns, "Rows that are left out")
    with st.expander("The first prompts"):
        st.dataframe(next(iter(table.parts)).head(SHOWN_ROWS), hide_index=True, alt="The first prompts of the table")


@st.fragment(run_every=WATCH_SECONDS)
def watch(root: Path) -> None:
    """How far each audit is, with what can be done about it."""
    found, waiting = jobs.jobs(root), jobs.in_line(root)
    if not found:
        st.text("None yet.")
    for job in found:
        state = jobs.state(root, job)
        words = jobs.last_words(root, job)
        name_box, state_box, button_box = st.columns([2, 4, 1], vertical_alignment="center")
        name_box.text(job.name)
        done = jobs.share_done(words)
        if state == "running":
            told = waiting.get(job.name, "")
            state_box.progress(done or 0.0, told or show.plain(words, 160) or "starting")
            if button_box.button("Cancel", key=f"cancel-{job.name}"):
                jobs.cancel(job)
        elif state == "stopped":
            state_box.text(f"stopped: {clip_text(words, 300)}")
            if button_box.button("Resume", key=f"resume-{job.name}"):
                resume(root, job)
        else:
            state_box.text("finished")
            button_box.page_link("views/overview.py", label="Open", query_params={"run": job.name})


def resume(root: Path, job: jobs.Job) -> None:
    """Start an audit again, or say why it cannot be."""
    try:
        jobs.resume(root, job)
    except AuditError as error:
        st.error(show.plain(str(error), 600))


page()
