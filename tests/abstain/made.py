"""A run whose prompts are good where its readings are clear: the first number of a text state says how clear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from emoe_audit.abstain.features import SCORES, Features
from emoe_audit.runs.store import RunStore
from tests.synthetic import synthetic_plan

BUCKETS = 8


def made_frame(n_captions: int = 24, n_languages: int = 8, seed: int = 0) -> pd.DataFrame:
    """A row per caption and language, with the columns of all tables; the later a language, the less clear."""
    rng = np.random.default_rng(seed)
    source, place = (codes.ravel() for codes in np.divmod(np.arange(n_captions * n_languages), n_languages))
    clear = 1 - 2 * place / (n_languages - 1) + 0.3 * rng.normal(size=len(place))
    reading = rng.normal(size=(len(place), 2 * BUCKETS))
    reading[:, 0] = 3 * clear
    frame = pd.DataFrame({"key": [f"{row:032x}" for row in range(len(place))]})
    frame["source_id"] = [f"s{number:02d}" for number in source]
    frame["language"] = [f"l{number}" for number in place]
    frame["prompt_id"] = frame["source_id"] + "-" + frame["language"]
    frame["prompt"] = "picture " + frame["prompt_id"]
    frame["region"] = None
    frame[list(SCORES)] = rng.normal(size=(len(place), len(SCORES)))
    frame["reading"] = list(reading.astype(np.float16))
    frame["source_rank"] = np.where(clear + 0.3 * rng.normal(size=len(place)) > 0, 1.0, 60.0)
    return frame


def made_features(n_captions: int = 24, n_languages: int = 8, seed: int = 0) -> Features:
    """The same, as features."""
    frame = made_frame(n_captions, n_languages, seed)
    return Features(
        rows=frame[["key", "source_id", "language", *SCORES]].assign(good=(frame["source_rank"] < 10) * 1.0),
        reading=np.stack(frame["reading"].to_list()).astype(np.float64),
        scores=SCORES,
    )


def made_run(path: Path, n_captions: int = 24, n_languages: int = 8, *, judged: bool = True) -> RunStore:
    """The same, on disk."""
    frame = made_frame(n_captions, n_languages)
    store = RunStore.open(path, plan=synthetic_plan())
    store.write_prompts([frame[["key", "prompt_id", "source_id", "prompt", "language", "region"]]])
    store.append("scores", frame[["key", *SCORES]])
    store.append("readings", frame[["key"]].assign(reading=[own.tobytes() for own in frame["reading"]]))
    if judged:
        store.append("quality", frame[["key", "source_id", "source_rank"]])
    return store
