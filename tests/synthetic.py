"""A run of any size, written through the store, for the tests of store, report and dashboard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from emoe_audit.analysis.summary import analyze
from emoe_audit.runs.store import RunStore
from emoe_audit.types import AnalysisConfig, EnsembleSpec, ExpertSpec, ImageConfig, RunManifest, ScoringConfig
from tests.made_once import made_once

LANGUAGES = ["en", "de", "fr", "ar", "he", "hi", "zh-Hant", "ja", "fi", "sw"]


def synthetic_plan(**changes: object) -> RunManifest:
    """A plan that names no real ensemble."""
    experts = tuple(ExpertSpec(name=n, source=f"/nowhere/{n}") for n in ("a", "b"))
    values: dict[str, object] = {
        "ensemble": EnsembleSpec(
            name="synthetic", base=ExpertSpec(name="base", source="/nowhere/base"), experts=experts
        ),
        "scoring": ScoringConfig(),
        "images": ImageConfig(),
        "ensemble_hash": "e" * 64,
        "quality_hash": "q" * 64,
        "prompts_hash": "p" * 64,
        "prompts_source": "synthetic",
        "command": "emoe-audit run prompts.csv --out reports/synthetic",
        "versions": {"torch": "0"},
        "created": "2026-01-01T00:00:00+00:00",
    }
    return RunManifest(**{**values, **changes})  # type: ignore[arg-type]


def synthetic_frame(n_prompts: int, seed: int = 0) -> pd.DataFrame:
    """Rows with scores that rise with the language's place in `LANGUAGES`, and quality that falls with the score."""
    rng = np.random.default_rng(seed)
    place = np.arange(n_prompts) % len(LANGUAGES)
    source = np.arange(n_prompts) // len(LANGUAGES)
    relative = 0.1 + 0.01 * place + rng.normal(0, 0.01, n_prompts)
    power = rng.uniform(0.5, 1.5, n_prompts)
    quality = 0.5 - 2 * relative + rng.normal(0, 0.05, n_prompts)
    source_id = pd.Series(source).map("s{:07d}".format)
    language = pd.Series(np.array(LANGUAGES)[place])
    return pd.DataFrame(
        {
            "key": pd.Series(np.arange(n_prompts)).map("{:032x}".format),
            "prompt_id": source_id + "-" + language,
            "source_id": source_id,
            "prompt": "picture " + source_id + " in " + language,
            "language": language,
            "region": pd.Series(["150", "002"])[source % 2].to_numpy(),
            "disagreement": relative * power,
            "relative_disagreement": relative,
            "feature_power": power,
            "disagreement_noise_sd": 0.01,
            "relative_disagreement_noise_sd": 0.01,
            "n_noise": 4,
            "n_tokens": rng.integers(2, 20, n_prompts),
            "tokens_per_word": rng.uniform(1, 6, n_prompts),
            "truncated": False,
            "image": None,
            "image_seed": 0,
            "clip_cosine": quality,
            "clip_cosine_source": quality + 0.01,
            "source_rank": np.where(relative + rng.normal(0, 0.02, n_prompts) > 0.13, 40.0, 3.0),
        }
    )


@made_once
def synthetic_run(path: Path, n_prompts: int, seed: int = 0, *, shards: int = 1, n_boot: int = 50) -> RunStore:
    """Write a whole run; only the analysis of at most 50,000 prompts is truly computed, a larger one's on a sample."""
    frame = synthetic_frame(n_prompts, seed)
    store = RunStore.open(path, plan=synthetic_plan())
    store.write_prompts([frame[["key", "prompt_id", "source_id", "prompt", "language", "region"]]])
    scores = ["key", *frame.columns[6:15]]
    for part in np.array_split(np.arange(n_prompts), shards):
        store.append("scores", frame.iloc[part][scores])
        store.append("quality", frame.iloc[part][["key", "source_id", *frame.columns[15:]]])
    for name, table in analyze(
        frame.iloc[:50_000], ["language", "region"], config=AnalysisConfig(n_boot=n_boot)
    ).items():
        store.write_analysis(name, table)
    return store
