"""First page: choose a run, read its verdict and groups, page through its prompts, open one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_args

import cards
import data
import streamlit as st

from emoe_audit.errors import StoreError
from emoe_audit.report.charts import groups_figure
from emoe_audit.report.data import GroupTable, side_by_side
from emoe_audit.report.labels import clip_text, measure_label, score_name
from emoe_audit.types import RunManifest


def page() -> None:
    """Draw the page that the address asks for."""
    root = Path(st.session_state["runs_root"])
    found = data.runs(root)
    if not found:
        st.title("No runs yet")
        st.text(f"{root.resolve()} holds no run. Make one with `emoe-audit run --out {root / 'first'}`, then reload.")
        return
    run = root / choose_run(found)
    key = st.query_params.get("prompt")
    if key:
        show_prompt(run, key)
    else:
        show_run(run)


def choose_run(found: dict[str, RunManifest]) -> str:
    """The run that is looked at. Its name always stands in the address: a link keeps its meaning as runs are added."""
    names = list(found)
    asked = st.query_params.get("run")
    index = names.index(asked) if asked in names else 0
    name = st.selectbox("Run", names, index, format_func=lambda n: _dated(n, found[n]), on_change=_leave_run, width=420)
    st.query_params["run"] = name
    return name


def show_run(run: Path) -> None:
    """Verdict, groups and prompts of a run."""
    try:
        report = data.report(run)
    except StoreError as error:
        st.warning(clip_text(str(error), 300))
        show_prompts(run, None)
        return
    st.html(cards.run_head(report))
    table = choose_table(report.groups)
    if table is not None:
        st.html(cards.legend())
        show_groups(table)
    show_prompts(run, table)


def choose_table(tables: tuple[GroupTable, ...]) -> GroupTable | None:
    """The group column that is looked at."""
    if not tables:
        st.text("This run has no groups: no column holds at least two values.")
        return None
    st.subheader("Groups, worst first")
    names = [table.by for table in tables]
    by = st.segmented_control(
        "Groups by", names, default=names[0], required=True, key="by", bind="query-params", on_change=_forget_group
    )
    return tables[names.index(by)] if by in names else tables[0]


def show_groups(table: GroupTable) -> None:
    """The chart in its wide and its narrow form; the style sheet shows the one that fits."""
    for form in ("wide", "narrow"):
        with st.container(key=form):
            figure = groups_figure(table, narrow=form == "narrow")
            st.plotly_chart(figure, theme=None, config={"displayModeBar": False}, key=f"{form}-{table.by}")


def show_prompts(run: Path, table: GroupTable | None) -> None:
    """A page of the prompts that the filters leave; choosing a row opens its prompt."""
    st.subheader("Prompts")
    chosen, order = choose_prompts(table)
    count = data.count_prompts(run, chosen)
    pages = max(1, math.ceil(count / data.PAGE_SIZE))
    if st.session_state.get("page", 1) > pages:
        st.session_state["page"] = pages
    shown, place = st.columns([4, 1], vertical_alignment="bottom")
    number = place.number_input("Page", 1, pages, key="page", bind="query-params")
    shown.caption(f"{count:,} prompts, page {number:,} of {pages:,}. Choose a row to open its prompt.")
    rows = data.prompts_page(run, chosen, order, int(number))
    shown_columns = columns(data.ranking(run))
    event = st.dataframe(
        rows,
        hide_index=True,
        column_order=list(shown_columns),
        column_config=shown_columns,
        on_select="rerun",
        selection_mode="single-row",
        key=f"prompts-{run.name}-{chosen}-{order}-{number}",
        height="content",
        placeholder="–",
    )
    if event.selection.rows:
        st.query_params["prompt"] = rows.key.iloc[event.selection.rows[0]]
        st.rerun()


def choose_prompts(table: GroupTable | None) -> tuple[data.PromptFilter, data.Order]:
    """The filters of the table of prompts."""
    group_box, text_box, order_box = st.columns(3)
    group = ""
    if table is not None:
        names = {_named(row.label, row.group): row.group for row in table.rows}
        picked = group_box.selectbox(
            f"Only {table.by}", ["all", *names], key=f"only-{table.by}", bind="query-params", on_change=_first_page
        )
        group = names.get(str(picked), "")
    text = text_box.text_input("Containing", key="containing", bind="query-params", on_change=_first_page)
    order = order_box.selectbox("Order", get_args(data.Order), key="order", bind="query-params", on_change=_first_page)
    by = table.by if table is not None else ""
    return data.PromptFilter(by=by, group=group, text=text or ""), order


def columns(ranking: str) -> dict[str, Any]:
    """The columns of the table of prompts, in order."""
    scores = {
        score: st.column_config.NumberColumn(measure_label(score), format="%.4g") for score in side_by_side(ranking)
    }
    return {
        "language": st.column_config.TextColumn("Language", width="small"),
        "prompt": st.column_config.TextColumn("Prompt", width="large"),
        **scores,
        "clip_cosine": st.column_config.NumberColumn(measure_label("clip_cosine"), format="%.3f"),
        "drawn": st.column_config.CheckboxColumn("Image"),
        "prompt_id": st.column_config.TextColumn("Prompt id", width="small"),
    }


def show_prompt(run: Path, key: str) -> None:
    """One prompt: its text, scores and noise floor, and its translations side by side with their images."""
    if st.button("Back to the run", icon=":material/arrow_back:"):
        _leave_prompt()
        st.rerun()
    rows = data.prompt_rows(run, key)
    if rows.empty:
        st.warning("This run holds no such prompt.")
        return
    ranking = data.ranking(run)
    score = float(rows[ranking].iloc[0])
    share = data.share_below(run, score) if math.isfinite(score) else math.nan
    st.html(cards.prompt_head(run, rows.iloc[0], ranking, share))
    st.subheader(f"The same caption in every language, by {score_name(ranking)}")
    st.html(cards.translations(run, rows, ranking, key))


def _named(label: str, group: str) -> str:
    return group if label == group else f"{label} ({group})"


def _first_page() -> None:
    st.session_state["page"] = 1


def _forget_group() -> None:
    _first_page()


def _dated(name: str, manifest: RunManifest) -> str:
    return f"{name} ({manifest.ensemble.name}, {manifest.created[:10]})"


def _leave_run() -> None:
    _first_page()
    _leave_prompt()


def _leave_prompt() -> None:
    st.query_params.pop("prompt", None)


page()
