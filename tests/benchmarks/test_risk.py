"""A certified threshold on captions that it was not learned from: is its promise kept, and what does it cost?

The promise is about the risk expected of new captions. Here it is read more strictly: the risk of the captions held
out, which scatters around the expected one, has to be at most the target. They are the other half of the same captions,
so that where one half is easier than it should be, the other is harder. Both make a kept promise look broken.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoe_audit.analysis.refusal import judged
from emoe_audit.analysis.risk_control import controlled_threshold, hindsight_threshold
from emoe_audit.analysis.translations import TRANSLATION_SCORE
from emoe_audit.audit import start_run
from emoe_audit.experts.coverage import STARVED
from emoe_audit.experts.spec import load_spec
from emoe_audit.ground.verify import known_coverage
from emoe_audit.prompts.emoji import default_prompts, is_plain
from emoe_audit.prompts.table import PromptTable, table_of
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.images import judge_pending
from emoe_audit.steps.summary import summarize
from emoe_audit.types import EnsembleSpec, ImageConfig, ScoringConfig
from tests.benchmarks.record import merge_record
from tests.benchmarks.sd15 import all_cores

RUN = Path(__file__).parents[2] / "build" / "risk-run"
"""Kept, so that a second start goes on where the first was stopped."""
N_CAPTIONS, N_LANGUAGES, N_SPLITS = 480, 8, 200
TARGET, DELTA = 0.2, 0.1
"""Half of the risk of all prompts, which is 0.4."""
TARGETS = (TARGET, 0.25, 0.3, 0.35)


def drawn_run() -> RunStore:
    """Every prompt scored, drawn and judged."""
    spec = load_spec("emoji-b")
    prompts = plain_prompts(spec)
    scoring = ScoringConfig(n_noise=1, check_pairs=0, device="cpu")
    images = ImageConfig(n_images=len(prompts.frame), device="cpu")
    store = start_run(prompts, spec, RUN, scoring, images)
    with store.locked():
        judge_pending(store)
        summarize(store)
        store.finish()
    return store


def plain_prompts(spec: EnsembleSpec) -> PromptTable:
    """Captions without region and skin tone, in languages from the most covered down to the starved."""
    frame = default_prompts(spec, n_concepts=N_CAPTIONS).frame
    chosen = frame[is_plain(frame) & frame["language"].isin(languages_over_the_range(spec))]
    return table_of(chosen.reset_index(drop=True), "plain captions of emoji-b")


def languages_over_the_range(spec: EnsembleSpec) -> list[str]:
    """Those nearest to equal steps of the logarithm of coverage, from the most covered language to `STARVED`."""
    table = known_coverage(spec)
    shares = table[(table["by"] == "language") & (table["coverage"] > 0)].set_index("group")["coverage"]
    steps = np.geomspace(shares.max(), STARVED, N_LANGUAGES)
    chosen = [str(np.abs(np.log(shares / step)).idxmin()) for step in steps]
    assert len(set(chosen)) == N_LANGUAGES
    return chosen


def held_out(rows: pd.DataFrame, target: float, seed: int) -> dict[str, float]:
    """A threshold learned from one half of the captions, and what it does to the other half."""
    captions = np.random.default_rng(seed).permutation(rows["source_id"].max() + 1)
    learns = rows["source_id"].isin(captions[: len(captions) // 2])
    own, other = rows[learns], rows[~learns]
    found = controlled_threshold(
        own["score"], own["loss"], own["source_id"], target=target, delta=DELTA, seed=seed
    ).threshold
    accepted = other["score"] <= found
    risk = float(other["loss"][accepted].mean()) if accepted.any() else 0.0
    return {
        "kept": risk <= target,
        "risk": risk,
        "accepted": float(accepted.mean()),
        "best": float((other["score"] <= hindsight_threshold(other["score"], other["loss"], target)).mean()),
    }


def over_splits(rows: pd.DataFrame, target: float) -> dict[str, float]:
    """Means over splits; a split without a threshold accepts nothing and keeps the target."""
    splits = pd.DataFrame([held_out(rows, target, seed) for seed in range(N_SPLITS)])
    certified = splits["accepted"] > 0
    return {
        "target": target,
        "captions": float(rows["source_id"].nunique() // 2),
        "splits_certified": float(certified.mean()),
        "splits_kept": float(splits["kept"].mean()),
        "held_out_risk": float(splits["risk"][certified].mean()),
        "accepted_share": float(splits["accepted"].mean()),
        "hindsight_share": float(splits["best"].mean()),
        "accepted_share_of_hindsight": float(splits["accepted"].mean() / splits["best"].mean()),
    }


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_a_certified_threshold_keeps_its_promise_on_captions_held_out_and_accepts_most_of_what_it_may() -> None:
    with all_cores():
        results = drawn_run().query("SELECT * FROM results")
    rows = judged(results, TRANSLATION_SCORE, [])
    table = [over_splits(rows, target) for target in TARGETS]
    (main,) = [row for row in table if row["target"] == TARGET]
    figures = {
        "risk_splits_kept": main["splits_kept"],
        "accepted_share_of_hindsight": main["accepted_share_of_hindsight"],
    }
    merge_record("statistics", "risk", figures, table)
    assert figures["risk_splits_kept"] >= 1 - DELTA
    assert figures["accepted_share_of_hindsight"] >= 0.8
