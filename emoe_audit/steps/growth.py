"""A run grows: by noises, of which the first are not asked again; by experts, after which all variances are other ones.

What a run holds of its prompts beside that, their images, stays. Rows are known by keys that say nothing of noises and
experts, and the table `noises` has what each measure gave under each noise, to which further ones are added.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emoe_audit.analysis.readings import FEATURES, NOISES
from emoe_audit.errors import StoreError
from emoe_audit.readers.parquet import read_parquet
from emoe_audit.runs.lock import prepares
from emoe_audit.runs.manifest import is_same, is_smaller
from emoe_audit.runs.shards import shards
from emoe_audit.runs.store import RunStore
from emoe_audit.runs.views import ANALYSES
from emoe_audit.steps.mending import mend
from emoe_audit.steps.shares import take_shares
from emoe_audit.types import RunManifest

if TYPE_CHECKING:
    from emoe_audit.scoring.begun import Begun

log = logging.getLogger(__name__)
KEPT = ("calibration", "translations", "text_encoder", "ratings", "real_images", "judge_bias", "kid", "depicted")
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


def noises_of(store: RunStore) -> list[Path]:
    """The shards of what lies beneath the scores."""
    return shards(store.path, "noises")


def is_growing(store: RunStore) -> bool:
    """Whether a run holds prompts under other noises than it is planned with."""
    if not noises_of(store):
        return False
    found = store.query("SELECT count(*) FILTER (n_noise <> ?) AS n FROM noises", [store.plan().scoring.n_noise])
    return bool(found["n"][0])


def forget_fewer_noises(store: RunStore) -> None:
    """Leave out what lies beneath scores under fewer noises, once all prompts are scored that can be."""
    if not is_growing(store):
        return
    n_noise = store.plan().scoring.n_noise
    held = {file: {*read_parquet(file, StoreError, ["n_noise"])["n_noise"].to_pylist()} for file in noises_of(store)}
    mixed = [file for file, found in held.items() if found != {n_noise}]
    store.keep("noises", lambda rows: rows["n_noise"] == n_noise, among=mixed)


def begun_of(rows: Sequence[Mapping[str, Any]]) -> Begun | None:
    """What lies beneath earlier scores of some prompts, under as many noises each; None where there is nothing."""
    n_noise = int(rows[0].get("n_noise") or 0)
    if not n_noise:
        return None
    from emoe_audit.scoring.begun import Begun
    from emoe_audit.scoring.sketch import BUCKETS

    measured = {name: _matrix([row[name] for row in rows], n_noise) for name in rows[0] if name.endswith(NOISES)}
    features = _matrix([row[FEATURES] for row in rows], BUCKETS)
    noises = {name.removesuffix(NOISES): values for name, values in measured.items() if values is not None}
    return None if features is None else Begun(noises=noises, features=features)


def _matrix(cells: Sequence[bytes | None], n: int) -> np.ndarray | None:
    """Cells of so many numbers each, `[cell, number]`; None where one is not."""
    if any(cell is None or len(cell) != n * np.dtype(np.float32).itemsize for cell in cells):
        return None
    return np.stack([np.frombuffer(cell, dtype=np.float32) for cell in cells if cell is not None])
