"""Figures and tables as all pages show them: in a wide and a narrow form, with downloads that no spreadsheet runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from emoe_audit.report.data import GroupTable
from emoe_audit.report.export import csv_parts
from emoe_audit.report.labels import clip_text, measure_label

MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#!|~$:&^])")
"""What starts something inside a line of Streamlit's Markdown."""
CONFIG = {"displaylogo": False, "modeBarButtons": [["toImage"]]}


def plain(words: str, length: int) -> str:
    """Words for a label or a message, which Streamlit reads as Markdown: clipped, and read as they stand."""
    return MARKDOWN.sub(r"\\\1", clip_text(words, length))


def figure(name: str, draw: Callable[..., go.Figure], alt: str) -> None:
    """A chart in its wide and its narrow form; the style sheet shows the one that fits."""
    for form in ("wide", "narrow"):
        with st.container(key=f"{form}-{name}"):
            drawn = draw(narrow=form == "narrow")
            config = CONFIG | {"toImageButtonOptions": {"filename": name, "format": "svg"}}
            st.plotly_chart(drawn, theme=None, config=config, key=f"chart-{form}-{name}", alt=alt)


def table(name: str, rows: pd.DataFrame, columns: dict[str, Any], alt: str, **options: Any) -> Any:
    """Rows with the columns that are shown, and all of them for download."""
    event = st.dataframe(
        rows, hide_index=True, column_order=list(columns), column_config=columns, placeholder="–", alt=alt, **options
    )
    download(name, lambda: rows)
    return event


def download(name: str, rows: Callable[[], pd.DataFrame]) -> None:
    """A button that gives a table as CSV, in which no text is run as a formula."""
    st.download_button(
        "Table as CSV",
        data=lambda: ("\ufeff" + "".join(csv_parts([rows()]))).encode(),
        file_name=f"{name}.csv",
        mime="text/csv",
        key=f"download-{name}",
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
    )


def group_means(name: str, groups: GroupTable) -> None:
    """The means of all measures by group, for those who want the numbers."""
    rows = pd.DataFrame(
        [
            {groups.by.capitalize(): row.label, "Code": row.group, "Prompts": row.n_prompts, "Captions": row.n_sources}
            | {measure_label(measure): estimate.mean for measure, estimate in row.estimates.items()}
            for row in groups.rows
        ]
    )
    table(name, rows, columns(rows), f"Means of all measures by {groups.by}")


def columns(rows: pd.DataFrame) -> dict[str, Any]:
    """All columns of a table under their own names: fractions to three digits, counts whole, the rest as text."""
    kinds: dict[str, Callable[[str], Any]] = {"f": number, "i": partial(number, places=9)}
    return {name: kinds.get(rows[name].dtype.kind, text)(name) for name in rows}


def number(label: str, places: int = 3, **options: Any) -> Any:
    """A column of numbers."""
    return st.column_config.NumberColumn(label, format=f"%.{places}g", **options)


def text(label: str, **options: Any) -> Any:
    """A column of texts."""
    return st.column_config.TextColumn(label, **options)
