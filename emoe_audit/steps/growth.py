"""A run grows: by noises, of which the first are not asked again; by experts, after which all variances are other ones.

What a run holds of its prompts beside that, their images, stays. Rows are known by keys that say nothing of noises and
experts; what each measure gave under each noise is kept, see `begun`.
"""

from __future__ import annotations

import logging
from pathlib import Path

from emoe_audit.runs.lock import prepares
from emoe_audit.runs.manifest import is_same, is_smaller
from emoe_audit.runs.store import RunStore
from emoe_audit.runs.views import ANALYSES
from emoe_audit.steps.mending import mend
from emoe_audit.steps.shares import take_shares
from emoe_audit.types import RunManifest

log = logging.getLogger(__name__)
KEPT = (
    *("calibration", "translations", "text_encoder", "ratings", "real_images", "judge_bias", "kid", "depicted"),
    "image_bounds",
)
"""Tables of the analysis in which no expert has a say; all others are made anew."""
PAGES = ("report.html", "report.json")


def grow(run: Path, plan: RunManifest) -> None:
    """Let a smaller run that lies in a folder become the one that is planned; any other is left as it is.

    What was found of the smaller one is taken away before the plan is written: a kill in between leaves the smaller
    run, unfinished, with work to do. Where a part of an ensemble is asked by another option, the plan says so.

    Raises:
        StoreError: another process works on it.
    """
    if not _is_to_change(run, plan):
        return
    with prepares(run):
        if _is_to_change(run, plan):  # which another process may have seen as soon
            _grow(RunStore.open(run, plan=RunStore(run).plan()), plan)


def _is_to_change(run: Path, plan: RunManifest) -> bool:
    held = RunStore(run)
    if not held.is_started:
        return False
    old = held.plan()
    asked = plan.scoring.prefix
    is_asked_anew = asked is not None and asked != old.scoring.prefix and is_same(old, plan)
    return is_asked_anew or is_smaller(old, plan)


def _grow(store: RunStore, plan: RunManifest) -> None:
    with store.locked():
        old = store.plan()
        mend(store)
        take_shares(store)
        if store.is_complete:
            store.ledger.reopen()
        if is_smaller(old, plan):
            if old.expert_hashes and sorted(old.expert_hashes) != sorted(plan.expert_hashes):
                log.warning("%s: a further expert changes every variance, so every prompt is scored anew", store.path)
                store.clear("noises")
            else:
                log.warning("%s: grows from %d to %d noises", store.path, old.scoring.n_noise, plan.scoring.n_noise)
            store.clear("scores")
            store.clear("readings")
            store.forget((*PAGES, *(f"analysis/{name}.parquet" for name in ANALYSES if name not in KEPT)))
        store.plan_anew(plan)
