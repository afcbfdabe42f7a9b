"""Which run a page looks at: chosen once, kept from page to page and in the address of each."""

from __future__ import annotations

from pathlib import Path

import data
import show
import streamlit as st

from emoe_audit.errors import StoreError
from emoe_audit.report import ReportData
from emoe_audit.report.data import GroupTable
from emoe_audit.report.labels import clip_text, counted
from emoe_audit.runs.listing import broken_runs
from emoe_audit.types import RunManifest

MOST_BROKEN = 20


def root() -> Path:
    """The folder that holds the runs."""
    return Path(st.session_state["runs_root"])


def choose_run(label: str = "Run", key: str = "run") -> Path:
    """The run that is looked at; without any, say how to make one and draw nothing more.

    Its name always stands in the address: a link keeps its meaning as runs are added.
    """
    found = data.runs(root())
    if not found:
        st.title("No runs yet")
        st.text(
            f"{root().resolve()} holds no run. Make one with `emoe-audit run --out {root() / 'first'}`, then reload."
        )
        name_broken()
        st.stop()
    names = list(found)
    asked = st.query_params.get(key) or st.session_state.get(f"chosen-{key}")
    index = names.index(asked) if asked in names else 0
    name = st.selectbox(label, names, index, format_func=lambda n: _dated(n, found[n]), on_change=_leave, width=420)
    st.query_params[key] = st.session_state[f"chosen-{key}"] = name
    return root() / name


def name_broken() -> None:
    """Say which folders hold a run that cannot be read, and why."""
    broken = broken_runs(root())
    if broken:
        verb = "holds" if len(broken) == 1 else "hold"
        st.warning(f"{counted(len(broken), 'folder')} {verb} no run that can be read:")
        for name, why in broken[:MOST_BROKEN]:
            st.text(f"{clip_text(name, 60)}: {clip_text(why, 200)}")


def report_of(run: Path) -> ReportData:
    """The numbers of the report; of a run that is not analysed say so and draw nothing more."""
    try:
        return data.report(run)
    except StoreError as error:
        st.warning(show.plain(str(error), 300))
        st.stop()


def table_of(report: ReportData, by: str) -> GroupTable:
    """The groups of one column; where the run has none, say so and draw nothing more."""
    table = next((table for table in report.groups if table.by == by), None)
    if table is None:
        st.info(f"This run holds no two prompts of a different {by}. Give the prompt table a column `{by}`.")
        st.stop()
    return table


def _dated(name: str, manifest: RunManifest) -> str:
    return f"{name} ({manifest.ensemble.name}, {manifest.created[:10]})"


def _leave() -> None:
    """What was looked at in the run before means nothing in another."""
    for name in ("prompt", "group", "page"):
        st.query_params.pop(name, None)
        st.session_state.pop(name, None)
