"""Abstaining on the embedded ensembles, in languages held out: next to simpler ways, and whether its promise is kept.

The images are those of `make verification` where it has been run; else two thousand are made, under `build/`.
"""

from __future__ import annotations

import time
from typing import Any

import pandas as pd
import pytest

from emoe_audit.abstain.evaluate import METHOD, compare, compare_decisions, leave_languages_out
from emoe_audit.abstain.features import Features, judged_features
from emoe_audit.abstain.runs import fit_run, predict_run
from emoe_audit.analysis.translations import TRANSLATION_SCORE
from emoe_audit.audit import start_run
from emoe_audit.experts.spec import load_spec
from emoe_audit.prompts.emoji import default_prompts, is_plain
from emoe_audit.prompts.table import table_of
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.images import judge_pending
from emoe_audit.steps.summary import summarize
from emoe_audit.types import ImageConfig
from tests.benchmarks.record import FOLDER, Row, claim_row, merge_record
from tests.benchmarks.sd15 import all_cores

ROOT = FOLDER.parents[1]
N_CONCEPTS, N_IMAGES = 50, 2000
CLAIMS = {
    "auprc_recall_0.2": "purity of the first fifth of good prompts is higher than that of {}",
    "auroc": "AUROC is higher than that of {}",
    "risk_coverage_0.8": "risk at 80% coverage is lower than that of {}",
    "accepted_risk": "risk of the accepted is at most the {}",
    "good_refused": "good prompts are refused no more often than in {}",
}


@pytest.mark.benchmark
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", ["emoji-a", "emoji-b"])
def test_abstaining_in_languages_never_seen(name: str) -> None:
    with all_cores():
        store = run_of(name)
        started = time.process_time()
        predict_run(store, fit_run(store))
        seconds = time.process_time() - started
        features = judged_features(store)
        measured = leave_languages_out(features, default_score(store, features))
    compared = pd.concat([compare(measured), compare_decisions(measured)], ignore_index=True)
    figures = values_of(compared, name) | {f"abstain_{name}_fit_and_predict_cpu_seconds": seconds}
    claims = [row_of(own, name) for own in compared.to_dict("records") if own["verdict"]]
    merge_record("experts", f"abstain {name}", figures, claims)
    by_split = measured[measured["unseen"]].groupby("split")["language"].nunique()
    assert len(by_split) == 5
    assert (by_split >= 5).all()
    assert set(compared["verdict"]) <= {"held", "not_held", "inconclusive", ""}
    assert seconds < 300


def run_of(name: str) -> RunStore:
    """A run with judged images of fifty captions in every language."""
    verified = ROOT / "reports" / f"verify-{name}"
    if (verified / "manifest.json").exists():
        return RunStore.open(verified)
    table = default_prompts(load_spec(name), n_concepts=N_CONCEPTS)
    plain = table_of(table.frame[is_plain(table.frame)], f"{table.source}, plain ones")
    images = ImageConfig(n_images=N_IMAGES)
    store = start_run(plain, name, ROOT / "build" / f"abstain-{name}", images=images)
    with store.locked():
        judge_pending(store)
        summarize(store)
    return store


def default_score(store: RunStore, features: Features) -> pd.Series:
    """The score that ranks a run of translations, of each prompt."""
    scores = store.query(f"SELECT DISTINCT ON (key) key, {TRANSLATION_SCORE} FROM results").set_index("key")
    return features.rows["key"].map(scores[TRANSLATION_SCORE])


def values_of(compared: pd.DataFrame, name: str) -> dict[str, float]:
    """Every figure of the method and of what it is held against."""
    values = {f"abstain_{name}_{own.figure}": float(own.method_value) for own in compared.itertuples()}
    for own in compared.itertuples():
        if own.control != "target":
            values[f"abstain_{name}_{own.figure}_{own.control.replace(' ', '_')}"] = float(own.control_value)
    return values


def row_of(compared: dict[str, Any], name: str) -> Row:
    """A row of the record."""
    claim = f"{METHOD} on {name}, languages never seen: {CLAIMS[compared['figure']].format(compared['control'])}"
    values = (compared["method_value"], compared["control_value"], compared["verdict"])
    return claim_row("abstain", claim, *values, (compared["low"], compared["high"]))
