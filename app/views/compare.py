"""Compare: which groups rose and which fell from one run to another, and the images of both side by side."""

from __future__ import annotations

from functools import partial

import cards
import choice
import data
import pandas as pd
import show
import streamlit as st

from emoe_audit.errors import AuditError
from emoe_audit.report.comparison import changes_figure
from emoe_audit.report.labels import group_label, measure_label


def page() -> None:
    """Draw the page."""
    left, right = st.columns(2)
    with left:
        a = choice.choose_run("From run")
    with right:
        b = choice.choose_run("To run", "with")
    if a == b:
        st.info("Choose two different runs of the same prompts.")
        return
    by = str(st.selectbox("Groups by", data.group_columns(a) or ["language"], key="by", bind="query-params", width=420))
    try:
        with st.spinner("Pairing prompts and drawing signs"):
            found = data.comparison(a, b, by)
    except AuditError as error:
        st.warning(show.plain(str(error), 400))
        return
    clear = [change for change in found.groups if change.is_clear]
    st.subheader(f"{len(clear)} of {len(found.groups)} groups changed their place")
    st.caption(
        f"{found.n_prompts:,} prompts in both runs, ranked in each by {measure_label(found.score).lower()}; of the "
        f"groups called clear at most {found.fdr:.0%} are expected to be false. Where one group rises in rank, "
        "others fall."
    )
    show.figure("changes", partial(changes_figure, found), "Change of rank by group with 95% intervals")
    rows = pd.DataFrame([vars(change) | {"label": group_label(by, change.group)} for change in found.groups])
    columns = {
        "label": show.text(by.capitalize()), "n_sources": show.number("Captions", 6),
        "difference": show.number("Change"), "low": show.number("from"), "high": show.number("to"),
        "p_bh": show.number("p, adjusted"),
        "verdict": show.text("Verdict"),
    }  # fmt: skip
    show.table("changes", rows, columns, "Change of rank by group")
    if found.pairs:
        st.subheader("The same prompts in both runs")
        blurred = st.toggle("Blur images", key="blur", bind="query-params", help="Before you share your screen.")
        st.html(cards.pairs(a, b, found.pairs, blurred=blurred))


page()
