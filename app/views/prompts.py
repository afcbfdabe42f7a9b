"""Prompts: a searchable, sortable table of any size; a prompt with its translations, images, scores and neighbours."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_args

import cards
import choice
import data
import show
import streamlit as st

from emoe_audit.decisions.ranking import ranks_by_images
from emoe_audit.report.data import side_by_side
from emoe_audit.report.labels import measure_label, score_name


def page() -> None:
    """Draw the table, or the prompt that the address asks for."""
    run = choice.choose_run()
    prompt_id = st.query_params.get("prompt")
    if prompt_id:
        show_prompt(run, prompt_id)
    else:
        show_prompts(run)


def show_prompts(run: Path) -> None:
    """A page of the prompts that the filters leave; choosing a row opens its prompt."""
    st.subheader("Prompts")
    chosen, order = choose_prompts(run)
    count = data.count_prompts(run, chosen)
    pages = max(1, math.ceil(count / data.PAGE_SIZE))
    if st.session_state.get("page", 1) > pages:
        st.session_state["page"] = pages
    shown, place = st.columns([4, 1], vertical_alignment="bottom")
    number = int(place.number_input("Page", 1, pages, key="page", bind="query-params"))
    opened = st.session_state.setdefault("opened", 0)
    shown.caption(f"{count:,} prompts, page {number:,} of {pages:,}. Choose a row to open its prompt.")
    event = show.table(
        "prompts",
        data.prompts_page(run, chosen, order, number),
        columns(data.ranking(run)),
        "Prompts with their scores",
        on_select="rerun",
        selection_mode="single-row",
        key=f"prompts-{run.name}-{chosen}-{order}-{number}-{opened}",
        height="content",
    )
    if event.selection.rows:
        rows = data.prompts_page(run, chosen, order, number)
        st.query_params["prompt"] = rows.prompt_id.iloc[event.selection.rows[0]]
        st.session_state["opened"] += 1  # another table on the way back, or the row chosen in this one opens again
        st.rerun()


def choose_prompts(run: Path) -> tuple[data.PromptFilter, data.Order]:
    """The filters of the table of prompts."""
    text_box, order_box, by_box, group_box = st.columns(4)
    columns = data.group_columns(run)
    by = str(by_box.selectbox("Group by", ["none", *columns], key="by", bind="query-params", on_change=_forget_group))
    group = ""
    if by in columns:
        names = {"all": "", **data.group_names(run, by)}
        label = show.plain(f"Only {by}", 60)
        picked = group_box.selectbox(label, list(names), key="group", bind="query-params", on_change=_first_page)
        group = names.get(str(picked), "")
    text = text_box.text_input("Containing", key="containing", bind="query-params", on_change=_first_page)
    order = order_box.selectbox("Order", get_args(data.Order), key="order", bind="query-params", on_change=_first_page)
    return data.PromptFilter(by=by if group else "", group=group, text=text or ""), order


def columns(ranking: str) -> dict[str, Any]:
    """The columns of the table of prompts, in order."""
    ranked_by = (ranking,) if ranks_by_images(ranking) else side_by_side(ranking)
    scores = {score: st.column_config.NumberColumn(measure_label(score), format="%.4g") for score in ranked_by}
    return {
        "language": st.column_config.TextColumn("Language", width="small"),
        "prompt": st.column_config.TextColumn("Prompt", width="large"),
        **scores,
        "clip_cosine": st.column_config.NumberColumn(measure_label("clip_cosine"), format="%.3f"),
        "drawn": st.column_config.CheckboxColumn("Image"),
        "prompt_id": st.column_config.TextColumn("Prompt id", width="small"),
    }


def show_prompt(run: Path, prompt_id: str) -> None:
    """One prompt: its text, scores and noise floor, its translations with their images, and its neighbours."""
    if st.button("Back to the table", icon=":material/arrow_back:"):
        st.query_params.pop("prompt", None)
        st.rerun()
    rows = data.prompt_rows(run, prompt_id)
    if rows.empty:
        st.warning("This run holds no such prompt.")
        return
    ranking = data.ranking(run)
    blurred = st.toggle("Blur images", key="blur", bind="query-params", help="Before you share your screen.")
    score = float(rows[ranking].iloc[0])
    share = data.share_below(run, score) if math.isfinite(score) else math.nan
    st.html(cards.prompt_head(run, rows.iloc[0], ranking, share, blurred=blurred))
    st.subheader(f"The same caption in every language, by {score_name(ranking)}")
    st.html(cards.translations(run, rows, ranking, prompt_id, blurred=blurred))
    st.subheader("Read alike in the same language")
    near = data.neighbours(run, str(rows["key"].iloc[0]))
    if near.empty:
        st.text("This run keeps no readings of prompts.")
        return
    shown = columns(ranking) | {"cosine": show.number("Cosine of readings")}
    show.table("neighbours", near, shown, "Prompts of the same language that the ensemble reads alike")


def _first_page() -> None:
    st.session_state["page"] = 1


def _forget_group() -> None:
    _first_page()
    st.session_state.pop("group", None)


page()
