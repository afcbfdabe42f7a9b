"""Every prompt that has no score yet is scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import numpy as np
import pandas as pd

from emoe_audit.errors import AuditError
from emoe_audit.progress import Counted, Progress, paced
from emoe_audit.runs.batches import as_prompt, one_by_one_if_it_fails
from emoe_audit.runs.pending import n_pending, n_prompts, pending
from emoe_audit.runs.readings import append_scores, forget_unscored
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.begun import begun_of, is_growing
from emoe_audit.steps.hands import Hands, Here, Row
from emoe_audit.steps.shares import Work
from emoe_audit.types import Prompt, Stage

SCORE_CHUNK = 1024
"""Prompts that are scored between two shards at most."""


class Engine(Protocol):
    """Scores prompts; see `emoe_audit.scoring.engine.ScoringEngine`."""

    @property
    def ensemble_hash(self) -> str: ...  # noqa: D102

    def score(self, prompts: Sequence[Prompt]) -> pd.DataFrame: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """Prompts are scored."""

    load: Callable[[], Engine]
    """Gives the engine."""
    stage: Stage = "score"

    def work(self, loaded: Engine, own: RunStore, rows: Sequence[Row]) -> None:
        """Add a shard of scores; a prompt that fails is recorded and left out."""
        scored = one_by_one_if_it_fails(list(rows), lambda part: _score(loaded, part), self.stage, own)
        if scored:
            append_scores(own, pd.concat(scored, ignore_index=True))


def score_pending(store: RunStore, engine: Engine, progress: Progress, work: Work | None = None) -> None:
    """Score every prompt that has no score yet, a shard at a time. A prompt that fails is recorded and left out.

    Args:
        store: The run.
        engine: What scores.
        progress: Called with stage, done, total.
        work: A share of the prompts, and where what is made of it goes; None for all, and into the run.
    """
    score_by(Here(), Scoring(load=lambda: engine), store, progress, work)


def score_by(
    hands: Hands,
    job: Scoring,
    store: RunStore,
    progress: Progress,
    work: Work | None = None,
    parts: Callable[[Iterator[Row], int], Iterator[list[Row]]] = lambda rows, _left: paced(rows, SCORE_CHUNK),
) -> None:
    """The same by whom it may be; `parts` makes of the prompts, and their number, those that are scored at a time."""
    share, own = (work.share, work.store) if work else (None, store)
    forget_unscored(own)
    total, left = n_prompts(store, share), n_pending(store, "scores", share)
    report = Counted(progress=progress, stage="scoring", total=total, done=total - left)
    report(0)
    rows = pending(store, "scores", share, with_begun=is_growing(store))
    hands.do(job, own, parts(rows, left) if left else (), report)


def _score(engine: Engine, rows: Sequence[Row]) -> pd.DataFrame:
    alike = [list(same) for _, same in groupby(sorted(rows, key=_n_begun), key=_n_begun)]
    return pd.concat([_score_alike(engine, same) for same in alike], ignore_index=True)


def _n_begun(row: Row) -> int:
    """Noises under which a prompt was measured before."""
    return int(row.get("n_noise") or 0)


def _score_alike(engine: Engine, rows: Sequence[Row]) -> pd.DataFrame:
    """Score prompts that were measured under as many noises before."""
    prompts, begun = [as_prompt(row) for row in rows], begun_of(rows)
    scored = engine.score(prompts) if begun is None else engine.score(prompts, begun)  # type: ignore[call-arg]
    scores = scored.drop(columns="prompt_id")
    is_asked = scores["n_noise"] > 0 if "n_noise" in scores else np.full(len(scores), True)
    if scores.loc[is_asked, "disagreement"].isna().any():
        raise AuditError("the score is not a finite number; try --dtype float32")
    return scores.assign(key=[row["key"] for row in rows])
