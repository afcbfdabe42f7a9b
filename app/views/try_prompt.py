"""Try a prompt: its scores, its place among the prompts of the run, and its image, live with the loaded ensemble."""

from __future__ import annotations

import math
from pathlib import Path

import choice
import data
import live
import pandas as pd
import show
import streamlit as st

from emoe_audit.analysis.summary import SCORES
from emoe_audit.analysis.translations import MIN_LANGUAGES, RELIABILITY, TRANSLATION_SCORE
from emoe_audit.errors import AuditError
from emoe_audit.report.labels import clip_text, group_label, measure_label

EXAMPLE = "en: a red apple\nde: ein roter Apfel\nfr: une pomme rouge\nfi: punainen omena"


def page() -> None:
    """Ask for a caption and show what the ensemble makes of it."""
    run = choice.choose_run()
    st.subheader("Try a prompt")
    if not data.plan(run).is_scored:
        st.info("Images alone are known of this model, so no prompt can be tried. Choose a run of an ensemble.")
        return
    text = st.text_area(
        "One line a language", EXAMPLE, height=150, max_chars=live.MAX_LINES * live.MAX_CHARACTERS,
        help=f"`en: a red apple`. {MIN_LANGUAGES} languages or more give the translation score too.",
    )  # fmt: skip
    with st.container(horizontal=True):
        scores = st.button("Score", type="primary")
        draws = st.button("Score and draw")
    typed = live.read_lines(text)
    for fault in typed.faults:
        st.warning(show.plain(fault, 200))
    if not typed.prompts or not (scores or draws):
        return
    try:
        show_scores(run, typed, live.score(run, typed.prompts))
        if draws:
            show_images(run, typed)
    except AuditError as error:
        st.error(show.plain(str(error), 300))


def show_scores(run: Path, typed: live.Typed, scored: pd.DataFrame) -> None:
    """The scores, and how many prompts of the run score lower."""
    ranking = data.ranking(run)
    shown = {"language": show.text("Language"), "prompt": show.text("Prompt", width="large")}
    for name in dict.fromkeys((ranking, *SCORES)):
        below = [data.share_below(run, value, name) if math.isfinite(value) else math.nan for value in scored[name]]
        scored[f"{name}_below"] = below
        shown[name] = show.number(measure_label(name))
        shown[f"{name}_below"] = st.column_config.ProgressColumn(
            "More unsure than", format="percent", min_value=0, max_value=1, help="Share of the prompts of this run."
        )
    scored["language"] = [group_label("language", language) for language in scored["language"]]
    shown[RELIABILITY] = show.number(measure_label(RELIABILITY))
    shown |= {"n_tokens": show.number("Tokens", 6), "tokens_per_word": show.number("Tokens per word")}
    show.table("typed", scored, shown, "Scores of what was typed")
    unjudged = scored.loc[scored[TRANSLATION_SCORE].isna() & scored[RELIABILITY].notna(), "language"]
    if scored[RELIABILITY].isna().all():
        st.caption(f"The translation score needs the caption in {MIN_LANGUAGES} languages of this run or more.")
    elif len(unjudged):
        missing = [group_label("language", language) for language in live.missing(run, typed.prompts)]
        add = f": add the caption in one or more of {', '.join(missing)}" if missing else ""
        st.caption(show.plain(f"Cannot be judged in this company: {', '.join(unjudged)}{add}.", 400))


def show_images(run: Path, typed: live.Typed) -> None:
    """The images, drawn now."""
    with st.spinner("Drawing"):
        pictures = live.draw(run, typed.prompts)
    for box, picture, prompt in zip(st.columns(live.MAX_IMAGES), pictures, typed.prompts, strict=False):
        box.image(picture.resize((256, 256)), width="stretch")
        box.text(f"{prompt.language}: {clip_text(prompt.prompt, 60)}")


page()
