"""Runs of any size: whatever a report says follows from what the run holds, down to one prompt and no image."""

from __future__ import annotations

import itertools
from operator import ne
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoe_audit.analysis.grouping import group_columns
from emoe_audit.analysis.summary import analyze
from emoe_audit.report import ReportData, collect
from emoe_audit.runs.store import RunStore
from emoe_audit.types import AnalysisConfig
from tests.synthetic import synthetic_plan

TAGS = [f"q{a}{b}" for a in "abcdefgh" for b in "abcde"]
"""Of private use, so that nothing is known of them."""
CAPTIONS, LANGUAGES = (1, 2, 3, 10), (1, 2, 40)
IMAGES = [("none", True), ("few", True), ("few", False), ("many", True), ("many", False)]
"""How many there are, and whether their captions have a source; where there are none, that makes no difference."""
ENOUGH = (10, 40, "many", True)
"""By which a ranking is confirmed."""
FEW = 3
PROMPTS = ["key", "prompt_id", "source_id", "prompt", "language", "region"]
NOISE = ["relative_disagreement_noise_sd", "n_noise", "truncated"]
SCORES = ["relative_disagreement", "disagreement", "feature_power", "n_tokens", *NOISE]
QUALITY = ["image", "clip_cosine", "clip_cosine_source", "source_rank"]


def small_frame(n_captions: int, n_languages: int, images: str, *, has_source: bool) -> pd.DataFrame:
    """Every caption in every language; both the score and image quality follow the language's place, but for noise."""
    rng = np.random.default_rng(0)
    pairs = list(itertools.product(range(n_captions), range(n_languages)))
    caption, place = (np.array(own) for own in zip(*pairs, strict=True))
    drawn = np.arange(len(pairs)) < {"none": 0, "few": FEW, "many": len(pairs)}[images]
    score = 0.1 + 0.01 * place + rng.normal(0, 0.01, len(pairs))
    quality = np.where(drawn, 0.5 - 0.01 * place + rng.normal(0, 0.02, len(pairs)), np.nan)
    table = pd.DataFrame({"source_id": [f"s{c}" for c in caption], "language": [TAGS[p] for p in place]})
    return table.assign(
        key=[f"{i:032x}" for i in range(len(pairs))],
        prompt_id=table["source_id"] + "-" + table["language"],
        prompt=table["source_id"] + " in " + table["language"],
        region=None,
        relative_disagreement=score,
        disagreement=score,
        feature_power=1.0,
        relative_disagreement_noise_sd=0.01,
        n_noise=4,
        truncated=False,
        n_tokens=rng.integers(2, 20, len(pairs)),
        image=None,
        clip_cosine=quality,
        clip_cosine_source=quality if has_source else np.nan,
        source_rank=np.where(drawn & has_source, rng.integers(1, 40, len(pairs)), np.nan),
    )


def small_report(path: Path, frame: pd.DataFrame) -> ReportData:
    store = RunStore.open(path, plan=synthetic_plan())
    store.write_prompts([frame[PROMPTS]])
    store.append("scores", frame[["key", *SCORES]])
    store.append("quality", frame.loc[frame["clip_cosine"].notna(), ["key", "source_id", *QUALITY]])
    for name, table in analyze(frame, group_columns([frame[PROMPTS]]), AnalysisConfig(n_boot=40)).items():
        store.write_analysis(name, table)
    return collect(store, gallery_concepts=0)


def cases() -> list[tuple[int, int, str, bool]]:
    """Any two of the three numbers together, and what differs in one of them from what is enough."""
    every = list(itertools.product(range(len(CAPTIONS)), range(len(LANGUAGES)), range(len(IMAGES))))
    sizes = {own: (CAPTIONS[own[0]], LANGUAGES[own[1]], *IMAGES[own[2]]) for own in every}
    pairs = [sizes[own] for own in every if sum(own) % len(LANGUAGES) == 0]
    near = [own for own in sizes.values() if sum(map(ne, (*own[:2], own[2:]), (*ENOUGH[:2], ENOUGH[2:]))) <= 1]
    return list(dict.fromkeys([*pairs, *near]))


@pytest.mark.slow
@pytest.mark.parametrize(("n_captions", "n_languages", "images", "has_source"), cases())
def test_no_sentence_contradicts_the_counts(
    tmp_path: Path, n_captions: int, n_languages: int, images: str, has_source: bool
) -> None:
    frame = small_frame(n_captions, n_languages, images, has_source=has_source)
    n_images = int(frame["clip_cosine"].notna().sum())
    report = small_report(tmp_path / "run", frame)
    said = report.verdict

    assert ("No images were judged" in said.quality) == (n_images == 0)
    assert f"{n_images:,} prompt" in said.quality or n_images == 0
    assert ("no two groups" in said.where) == (n_languages == 1)
    assert f"{n_languages} languages" in said.where or n_languages == 1

    rests = {own.rung: own for own in report.standing.evidence}
    assert rests.keys() <= ({"quality"} if n_images and has_source else set())
    compared = n_languages if n_languages > 1 else n_captions
    assert all(own.groups <= compared and own.captions <= n_captions for own in rests.values())
    enough = (n_captions, n_languages, images, has_source) == ENOUGH
    words = [said.where, said.quality, said.validity, said.trust, report.standing.word]
    assert any("confirmed" in own.casefold() for own in words) == enough
    assert report.standing.rung == ("quality" if enough else "none")
    assert all(own.endswith(".") and ". " not in own for own in words[:4])
