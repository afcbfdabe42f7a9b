"""Uncertainty against quality: density, quarters, what refusing does, and whom a threshold refuses."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import choice
import data
import pandas as pd
import show
import streamlit as st

from emoe_audit.report import ReportData
from emoe_audit.report.charts import quality_figure
from emoe_audit.report.labels import measure_label, score_name
from emoe_audit.report.refusal_charts import refusal_figure


def page() -> None:
    """Draw the page."""
    run = choice.choose_run()
    report = choice.report_of(run)
    st.subheader("Uncertainty against image quality")
    if not report.manifest.is_scored:
        st.info("Nothing was scored in this run: images alone are known of this model, so there is no uncertainty.")
        st.stop()
    if not report.clouds:
        st.info("No images were judged in this run. Make some with `emoe-audit run ... --n-images 320`.")
        st.stop()
    show_cloud(run, report)
    show_quarters(report)
    show_refusal(report)
    show_threshold(run, report)
    show_abstention(report)


def show_cloud(run: Path, report: ReportData) -> None:
    """The density; a box drawn in the right-hand tools shows the prompts inside."""
    cloud = report.clouds[0]
    left, right = st.columns([3, 2])
    with left:
        drawn = quality_figure((cloud,), report.quartiles)
        drawn.update_layout(dragmode="select")
        event = st.plotly_chart(
            drawn, theme=None, key="cloud", on_select="rerun", selection_mode="box", config={"displaylogo": False},
            alt="Score against image quality, prompt by prompt or counted on a grid",
        )  # fmt: skip
    with right:
        boxes = event.selection.box
        if not boxes:
            st.caption("Draw a box in the chart to see the prompts inside.")
            return
        (x0, x1), (y0, y1) = sorted(boxes[0]["x"]), sorted(boxes[0]["y"])
        rows = data.prompts_between(run, {cloud.score: (x0, x1), cloud.measure: (y0, y1)})
        st.caption(f"The first {len(rows):,} prompts in the box, most unsure first.")
        columns = {"language": show.text("Language", width="small"), "prompt": show.text("Prompt")} | {
            measure: show.number(measure_label(measure)) for measure in (cloud.score, cloud.measure)
        }
        show.table("in-the-box", rows, columns, "Prompts in the box")


def show_quarters(report: ReportData) -> None:
    """Mean quality in the quarters of each score."""
    st.subheader("Quality by quarter of rising score")
    rows = pd.DataFrame(
        [
            {"Score": measure_label(table.score), "Quality": measure_label(table.measure)}
            | {f"Quarter {q.quartile}": q.quality.mean for q in table.quartiles}
            for table in report.quartiles
        ]
    )
    show.table("quarters", rows, show.columns(rows), "Mean image quality by quarter of rising score")


def show_refusal(report: ReportData) -> None:
    """The risk of what is accepted, overall and by group."""
    st.subheader("What refusing the unsure would do")
    if not report.refusals:
        st.text("The judge did not rank the captions of this run, so what fails is not known.")
        return
    table = report.refusals[0]
    st.caption(
        "A prompt fails where the judge does not put its source caption among the first ten of a hundred. "
        f"Refused by {score_name(table.score)}."
    )
    show.figure("refusal", partial(refusal_figure, table), "Risk of what is accepted over the share accepted")


def show_threshold(run: Path, report: ReportData) -> None:
    """Whom a threshold refuses."""
    st.subheader("Whom a threshold refuses")
    steps = data.score_steps(run, report.ranking)
    if not steps:
        st.text("This run holds no score.")
        return
    by_box, slider_box = st.columns([1, 3])
    columns = [table.by for table in report.groups]
    by = by_box.selectbox("By", columns, key="refused-by", bind="query-params") if columns else None
    threshold = slider_box.select_slider(
        f"Refuse where {score_name(report.ranking)} is above",
        steps,
        steps[len(steps) // 2],
        format_func="{:.3g}".format,
    )
    if by is None:
        return
    rows = data.refused(run, str(by), report.ranking, float(threshold))
    total = rows["n_prompts"].sum()
    refused = (rows["refused"] * rows["n_prompts"]).sum() / total if total else math.nan
    st.caption(
        f"Refused: {refused:.0%} of {total:,} prompts. Refusing is a bias of its own where it falls on a few groups."
    )
    shown = {
        "label": show.text(str(by).capitalize()), "n_prompts": show.number("Prompts", 6),
        "refused": st.column_config.ProgressColumn("Refused", format="percent", min_value=0, max_value=1),
        "fails_accepted": show.number("Fail of the accepted"), "fails_refused": show.number("Fail of the refused"),
    }  # fmt: skip
    show.table("refused", rows, shown, "Share refused at the threshold by group")


def show_abstention(report: ReportData) -> None:
    """How often the model that abstains refuses each group."""
    st.subheader("Abstaining")
    if not report.abstention:
        st.markdown("No model has decided on this run; `emoe-audit abstain fit` and `emoe-audit abstain predict` do.")
        return
    st.caption(
        "A model learned from the judged images which prompts will be drawn wrong, and refuses these and those that "
        "are unlike all it has seen. For which languages it promises how much, and for which nothing, stands in its "
        "`model.json`. Refusing is a bias of its own where it falls on a few groups."
    )
    rows = pd.DataFrame([vars(own) for own in report.abstention])
    shown = {
        "label": show.text(report.abstention[0].by.capitalize()), "n_prompts": show.number("Prompts", 6),
        "abstained": st.column_config.ProgressColumn("Refused", format="percent", min_value=0, max_value=1),
        "low": show.number("from"), "high": show.number("to"),
        "low_quality": show.number("Will be drawn wrong"), "outside": show.number("Unlike what was learned"),
    }  # fmt: skip
    show.table("abstention", rows, shown, "Share that the abstaining model refuses by group")


page()
