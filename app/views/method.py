"""Method: what the numbers mean, and what a run does not show."""

from __future__ import annotations

import cards
import choice
import streamlit as st

from emoe_audit.report.render import render_section


def page() -> None:
    """The report's own words."""
    report = choice.report_of(choice.choose_run())
    st.subheader("What the numbers mean")
    st.html(cards.wrap(render_section("method", report)))
    st.subheader("What this run does not show")
    st.html(cards.wrap(render_section("limits", report)))
    st.subheader("Make it again")
    st.code(report.manifest.command or "not known", language=None, wrap_lines=True)


page()
