"""A run and the model: learn from its images, decide on its prompts, and say who is refused how often."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from emoe_audit.abstain.abstainer import DELTA, Abstainer
from emoe_audit.abstain.decision import LOW_QUALITY, OUTSIDE, REFUSE, TARGET
from emoe_audit.abstain.features import features_of, judged_features
from emoe_audit.abstain.labellers import N_LABELLERS
from emoe_audit.analysis.groups import group_estimates
from emoe_audit.errors import AuditError
from emoe_audit.progress import chunks
from emoe_audit.runs.store import RunStore

TABLE = "abstain"
"""Name of the analysis table."""
CHUNK = 10_000
"""Prompts whose readings are held at once."""
RATE_COLUMNS = [
    *("by", "group", "n_prompts", "n_sources", "abstained", "low", "high", "gap", "gap_low", "gap_high"),
    *("low_quality", "outside"),
]


def fit_run(
    store: RunStore,
    *,
    target: float = TARGET,
    delta: float = DELTA,
    n_labellers: int = N_LABELLERS,
    seed: int = 0,
) -> Abstainer:
    """Learn from the judged images of a run; see `Abstainer.fit`."""
    return Abstainer.fit(
        judged_features(store),
        target=target,
        delta=delta,
        n_labellers=n_labellers,
        ensemble_hash=store.plan().ensemble_hash,
        seed=seed,
    )


def predict_run(store: RunStore, abstainer: Abstainer) -> pd.DataFrame:
    """Decide on every prompt of a run and write the analysis table `TABLE`, a row per key and caption.

    Columns: `key, source_id, p_good, confidence, decision, reason`, and `fitted_on`, whether the model has learned from
    this very prompt, which makes its prediction better than others are.

    Raises:
        AuditError: the run is of another ensemble, or has no readings.
    """
    if store.plan().ensemble_hash != abstainer.ensemble_hash:
        raise AuditError(
            f"{store.path}: a run of another ensemble than the model's, or of other weights of it; fit anew"
        )
    keys = store.query("SELECT DISTINCT key FROM prompts JOIN readings USING (key) ORDER BY key")["key"].to_list()
    if not keys:
        raise AuditError(f"{store.path}: holds no readings, which come with the scores; score its prompts first")
    parts = [_decided(store, abstainer, part) for part in chunks(keys, CHUNK)]
    table = pd.concat(parts, ignore_index=True)
    store.write_analysis(TABLE, table)
    return table


def abstention_rates(results: pd.DataFrame, by: str, *, confidence: float = 0.95) -> pd.DataFrame:
    """How often each group is refused: one row per group, see `RATE_COLUMNS`, the most refused first.

    `abstained` is the share of prompts refused, `gap` that share minus the one over all prompts, both with intervals
    over captions (`analysis.groups`); `low_quality` and `outside` are the shares refused for these reasons. Prompts
    that the model has learned from are left out.

    Args:
        results: A row per prompt: `source_id`, `decision`, `reason`, `fitted_on` and the group column.
        by: The group column.
        confidence: Of the intervals.

    Raises:
        AuditError: there is no such column.
    """
    if by not in results:
        raise AuditError(f"no column {by!r} to group by; the prompts have {', '.join(results)}")
    rows = results[~results["fitted_on"].astype(bool)].dropna(subset=["decision", by, "source_id"])
    shares = rows.assign(
        abstained=(rows["decision"] == REFUSE).astype(np.float64),
        low_quality=(rows["reason"] == LOW_QUALITY).astype(np.float64),
        outside=(rows["reason"] == OUTSIDE).astype(np.float64),
    )
    table = group_estimates(shares, by, "abstained", confidence=confidence)
    reasons = shares.groupby(shares[by].astype(str))[["low_quality", "outside"]].mean()
    joined = table.rename(columns={"mean": "abstained"}).merge(reasons, left_on="group", right_index=True, how="left")
    return joined.sort_values(["abstained", "group"], ascending=[False, True]).reindex(columns=RATE_COLUMNS)


def decided_results(store: RunStore) -> pd.DataFrame:
    """The prompts of a run with the decision on each: what `abstention_rates` takes.

    Raises:
        AuditError: nothing was decided.
    """
    if not store.has_analysis(TABLE):
        raise AuditError(f"{store.path}: nothing was decided; use `emoe-audit abstain predict {store.path}`")
    decided = store.query("SELECT * FROM abstain")
    return store.query("SELECT * FROM prompts").merge(decided, on=["key", "source_id"])


def _decided(store: RunStore, abstainer: Abstainer, keys: Sequence[str]) -> pd.DataFrame:
    features = features_of(store, keys, abstainer.scores)
    decided = abstainer.decide(features)
    decided.insert(0, "key", features.rows["key"])
    decided.insert(1, "source_id", features.rows["source_id"])
    return decided.assign(fitted_on=features.rows["key"].isin(abstainer.fitted_on))
