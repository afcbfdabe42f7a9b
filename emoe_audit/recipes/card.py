"""The model card of a packaged ensemble: data and licences, recipe, coverage, figures, intended use, limits."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from emoe_audit.experts.coverage import CONCEPT
from emoe_audit.recipes import contrastive, vae
from emoe_audit.recipes.drawings import STYLES
from emoe_audit.recipes.plan import Plan, eta_squared

PERCENT_COLUMNS = ("coverage", "text_recall_at_10", "judge_recall_at_10", "image_top10")

TOKENS = ("tokens_per_word", "mean_tokens")


def write_card(
    folder: Path, plan: Plan, coverage: pd.DataFrame, figures: dict[str, float], references: dict[str, str]
) -> None:
    """Write `MODEL_CARD.md` from the coverage table, the measured figures and what `ensemble.yaml` refers to."""
    environment = Environment(loader=PackageLoader("emoe_audit.recipes", "."), undefined=StrictUndefined)
    steps = {
        "judge's image tower, twice": contrastive.JUDGE_IMAGE_STEPS,
        "judge's text tower": contrastive.JUDGE_TEXT_STEPS,
        "autoencoder": vae.STEPS,
        "text encoder": contrastive.TEXT_ENCODER_STEPS,
        "base UNet": plan.base_steps,
        "each expert": plan.expert_steps,
    }
    text = environment.get_template("card.md.j2").render(
        plan=plan,
        figures=figures,
        references=references,
        steps=steps,
        styles=list(STYLES),
        table=_markdown(coverage),
        unrelated=_unrelated(coverage),
    )
    (folder / "MODEL_CARD.md").write_text(text, encoding="utf-8")


def _unrelated(coverage: pd.DataFrame) -> dict[str, float]:
    """How far the coverage of a language goes with its script (eta squared) and its tokens (correlation), on ranks."""
    own = coverage[coverage["by"] == "language"]
    ranks = own[["coverage", *TOKENS]].astype(float).rank()
    script = eta_squared(ranks["coverage"].to_numpy(), own["script_family"])
    return {"script": script} | {column: float(ranks["coverage"].corr(ranks[column])) for column in TOKENS}


def _markdown(coverage: pd.DataFrame) -> str:
    """The coverage table without single concepts as Markdown, shares in percent, a dash for what is undefined."""
    coverage = coverage[coverage["by"] != CONCEPT]
    table = coverage[["by", "group", "script_family", "drawn", *PERCENT_COLUMNS, "mean_tokens"]].astype(object)
    for column in PERCENT_COLUMNS:
        table[column] = [f"{100 * value:.3g} %" for value in coverage[column]]
    table["mean_tokens"] = [f"{value:.1f}" for value in coverage["mean_tokens"]]
    table = table.mask(coverage[table.columns].isna(), "–")
    rows = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
