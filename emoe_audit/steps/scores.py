"""The first steps: the prompts are stored with their keys, and every one that has no score yet is scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import pandas as pd

from emoe_audit.errors import AuditError
from emoe_audit.progress import Progress, chunks
from emoe_audit.prompts.table import PromptTable
from emoe_audit.runs.batches import as_prompt, one_by_one_if_it_fails
from emoe_audit.runs.manifest import prompt_key, settings_hash
from emoe_audit.runs.readings import append_scores
from emoe_audit.runs.store import RunStore
from emoe_audit.types import Prompt

SCORE_CHUNK = 256
"""Prompts scored between two shards: what a kill can cost."""


class Engine(Protocol):
    """Scores prompts; see `emoe_audit.scoring.engine.ScoringEngine`."""

    @property
    def ensemble_hash(self) -> str: ...  # noqa: D102

    def score(self, prompts: Sequence[Prompt]) -> pd.DataFrame: ...  # noqa: D102


def take_prompts(store: RunStore, prompts: PromptTable) -> None:
    """Write the prompts with their keys, and the rows that could not be read."""
    plan = store.plan()
    settings = settings_hash(plan.scoring)
    pairs = zip(prompts.frame["prompt"], prompts.frame["language"], strict=True)
    keys = [prompt_key(prompt, language, plan.ensemble_hash, settings) for prompt, language in pairs]
    store.write_prompts(prompts.frame.assign(key=keys))
    store.clear_errors()
    store.record_error(*prompts.row_errors)


def unscored(store: RunStore) -> list[str]:
    """The keys of the prompts that have no score yet."""
    return store.pending("scores", store.query("SELECT DISTINCT key FROM prompts ORDER BY key")["key"])


def score_pending(store: RunStore, engine: Engine, progress: Progress) -> None:
    """Score every prompt that has no score yet, a shard at a time. A prompt that fails is recorded and left out."""
    pending, total = unscored(store), int(store.query("SELECT count(DISTINCT key) AS n FROM prompts").n[0])
    done = total - len(pending)
    progress("scoring", done, total)
    for chunk in chunks(pending, SCORE_CHUNK):
        rows = store.prompts_of(chunk)
        scored = one_by_one_if_it_fails(rows, lambda part: _score(engine, part), "score", store)
        if scored:
            append_scores(store, pd.concat(scored, ignore_index=True))
        done += len(chunk)
        progress("scoring", done, total)


def _score(engine: Engine, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    scores = engine.score([as_prompt(row) for row in rows]).drop(columns="prompt_id")
    if scores["disagreement"].isna().any():
        raise AuditError("the score is not a finite number; try --dtype float32")
    return scores.assign(key=[row["key"] for row in rows])
