"""A synthetic run with images and, where asked for, with hostile texts, for the tests of report and dashboard."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from emoe_audit.analysis.summary import analyze
from emoe_audit.experts.images_alone import BROUGHT
from emoe_audit.quality.judging import MEASURES
from emoe_audit.readers.pictures import numbered
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.summary import summarize
from emoe_audit.types import AnalysisConfig, EnsembleSpec, ImageConfig, RowError
from tests.made_once import made_once
from tests.synthetic import LANGUAGES, synthetic_frame, synthetic_plan

HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 1">',
    "<svg/onload=window.hacked=1>",
    "<!-- <script> ]]> &lt;b&gt; &amp;",
    "{{ 7 * 7 }} {% raw %} ${7*7}",
    "\u202ereversed \u2066isolated \u200f",
    "javascript:window.hacked=1",
    "line\nbreak\ttab \u2028 separator",
    "א" * 300 + " שלום",
    "<a href='https://attacker.example'>win</a>",
)
N_DRAWN_SOURCES = 8


def illustrated_frame(n_prompts: int = 400, *, hostile: bool = False, seed: int = 0) -> pd.DataFrame:
    """A row per prompt: quality and an image for the first eight captions, none for the others."""
    frame = synthetic_frame(n_prompts, seed)
    drawn = frame["source_id"].isin(sorted(frame["source_id"].unique())[:N_DRAWN_SOURCES])
    frame["image"] = ("images/" + frame["key"].str[:2] + "/" + frame["key"] + ".png").where(drawn, None)
    frame.loc[~drawn, ["clip_cosine", "clip_cosine_source", "source_rank"]] = np.nan
    if hostile:
        frame["prompt"] = [HOSTILE[i % len(HOSTILE)] for i in range(n_prompts)]
        frame["style"] = [HOSTILE[i % 3] for i in range(n_prompts)]
    return frame


@made_once
def illustrated_run(
    path: Path,
    n_prompts: int = 400,
    *,
    hostile: bool = False,
    complete: bool = True,
    coverage: pd.DataFrame | None = None,
) -> RunStore:
    """Write such a run through the store, images and analysis included."""
    frame = illustrated_frame(n_prompts, hostile=hostile)
    texts = {"prompts_source": HOSTILE[0], "command": f"emoe-audit run '{HOSTILE[1]}'"} if hostile else {}
    plan = synthetic_plan(**texts)
    store = RunStore.open(path, plan=plan)
    store.write_prompts([frame.drop(columns=[*frame.columns[6:20]])])
    store.append("scores", frame[["key", *frame.columns[6:15]]])
    store.append("quality", frame.loc[frame["image"].notna(), ["key", "source_id", *frame.columns[15:20]]])
    for place, image in enumerate(frame["image"].dropna()):
        store.write_image(image, _drawn(place))
    by = ["language", "region", *(["style"] if hostile else [])]
    for name, table in analyze(frame, by, training_coverage=coverage, config=AnalysisConfig(n_boot=60)).items():
        store.write_analysis(name, table)
    store.record_error(
        RowError(stage="read", message="not BCP-47: " + HOSTILE[0], prompt_id="p7", line=8, column="language")
    )
    if complete:
        store.finish()
    return store


@made_once
def images_alone_run(path: Path, n_prompts: int = 200) -> RunStore:
    """Write a run of a model of which images alone are known: quality that differs by language, and no score."""
    frame = illustrated_frame(n_prompts)
    model = EnsembleSpec(name="closed", base=BROUGHT, experts=(), judge="hf-hub:nobody/judge")
    plan = replace(synthetic_plan(), ensemble=model, ensemble_hash="", images=ImageConfig(brought="/nowhere/images"))
    store = RunStore.open(path, plan=plan)
    store.write_prompts([frame[["key", "prompt_id", "source_id", "prompt", "language", "region"]]])
    drawn = frame[frame["image"].notna()]
    store.append("quality", drawn[["key", "source_id", "image", *MEASURES]].assign(n_images=2))
    for place, image in enumerate(drawn["image"]):
        for number in (1, 2):
            store.write_image(numbered(image, number), _drawn(place))
    with store.locked():
        summarize(store, AnalysisConfig(n_boot=20, min_sources=2))
        store.finish()
    return store


def known_coverage() -> pd.DataFrame:
    """Training coverage that falls with a language's place, as the synthetic scores rise."""
    return pd.DataFrame({"by": "language", "group": LANGUAGES, "coverage": np.geomspace(0.5, 1e-4, len(LANGUAGES))})


def _drawn(place: int) -> bytes:
    pixels = np.random.default_rng(place).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).resize((64, 64), Image.Resampling.NEAREST).save(content, "PNG")
    return content.getvalue()
