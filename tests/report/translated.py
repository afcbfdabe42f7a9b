"""A run with a translation score and a validity check, for the tests of the ranking in report and dashboard."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from emoe_audit.analysis.summary import SCORES, analyze
from emoe_audit.runs.store import RunStore
from emoe_audit.types import AnalysisConfig

PROBES = {"pseudo-words": True, "shuffled letters": True, "rare words": False}
"""Whether each is strict."""


def add_translations(store: RunStore, *, without: Collection[str] = ()) -> RunStore:
    """Write a translation score that falls as the relative one rises, except in some languages, and analyse again."""
    rows = store.query("SELECT key, source_id, language, relative_disagreement AS relative FROM results")
    score = (1 - rows["relative"]).where(~rows["language"].isin(list(without)))
    reliability = np.where(score.notna(), 0.9, 0.3)
    parts = {"translation_disagreement": score, "translation_reliability": reliability, "read_as": None}
    store.write_analysis("translations", rows[["key", "source_id"]].assign(**parts))
    for name, table in analyze(
        store.query("SELECT * FROM results"), ["language", "region"], config=AnalysisConfig(n_boot=20)
    ).items():
        store.write_analysis(name, table)
    return store


def add_check(store: RunStore, default_score: str | None) -> RunStore:
    """Write the outcome of a check in which every score holds, and which names this one."""
    shares = {"n_pairs": 40, "n_languages": 8, "share": 0.8, "low": 0.7, "high": 0.9, "placebo": 0.5}
    shares |= {"beyond": 0.3, "beyond_low": 0.2, "beyond_high": 0.4}
    whole = {"alignment": 0.9, "comparable": True, "default_score": default_score}
    rows = [
        {"score": score, "sign": "holds", "probe": probe, "strict": strict} | shares | whole
        for score in SCORES
        for probe, strict in PROBES.items()
    ]
    store.write_analysis("validity", pd.DataFrame(rows))
    return store
