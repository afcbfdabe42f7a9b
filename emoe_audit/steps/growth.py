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
from emoe_audit.runs.lock import prepares
from emoe_audit.runs.manifest import is_smaller
from emoe_audit.runs.shards import shards
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.mending import mend
from emoe_audit.steps.shares import take_shares
from emoe_audit.types import RunManifest

if TYPE_CHECKING:
    from emoe_audit.scoring.begun import Begun

log = logging.getLogger(__name__)
OF_SCORES = ("validity", "expert_use", "expert_use_divergence")
"""Tables of the analysis that are made of an ensemble once, and anew where it is another."""


def grow(run: Path, plan: RunManifest) -> None:
    """Let a smaller run that lies in a folder become the one that is planned; any other is left as it is.

    What is taken away is taken before the plan is written: a kill in between leaves the smaller run, with work to do.

    Raises:
        StoreError: another process works on it.
    """
    if not _is_smaller(run, plan):
        return
    with prepares(run):
        if _is_smaller(run, plan):  # which another process may have seen as soon
            _grow(RunStore.open(run, plan=RunStore(run).plan()), plan)


def _is_smaller(run: Path, plan: RunManifest) -> bool:
    held = RunStore(run)
    return held.is_started and is_smaller(held.plan(), plan)


def _grow(store: RunStore, plan: RunManifest) -> None:
    with store.locked():
        old = store.plan()
        mend(store)
        take_shares(store)
        if old.expert_hashes and {*old.expert_hashes} != {*plan.expert_hashes}:
            log.warning("%s: a further expert changes every variance, so every prompt is scored anew", store.path)
            store.clear("noises")
        store.clear("scores")
        store.clear("readings")
        for name in OF_SCORES:
            store.forget_analysis(name)
        store.plan_anew(plan)


def is_growing(store: RunStore) -> bool:
    """Whether a run holds prompts under other noises than it is planned with."""
    if not shards(store.path, "noises"):
        return False
    return bool(store.query("SELECT bool_or(n_noise <> ?) AS n FROM noises", [store.plan().scoring.n_noise])["n"][0])


def forget_fewer_noises(store: RunStore) -> None:
    """Leave out what lies beneath scores under fewer noises, once all prompts are scored that can be."""
    if is_growing(store):
        n_noise = store.plan().scoring.n_noise
        store.keep("noises", lambda rows: rows["n_noise"] == n_noise)


def begun_of(rows: Sequence[Mapping[str, Any]]) -> Begun | None:
    """What lies beneath earlier scores of some prompts, under as many noises each; None where there is nothing."""
    n_noise = int(rows[0].get("n_noise") or 0)
    if not n_noise:
        return None
    from emoe_audit.scoring.begun import Begun

    names = [name for name in rows[0] if name.endswith(NOISES) and all(row[name] for row in rows)]
    return Begun(
        noises={name.removesuffix(NOISES): _matrix([row[name] for row in rows]) for name in names},
        features=_matrix([row[FEATURES] for row in rows]),
    )


def _matrix(cells: Sequence[bytes]) -> np.ndarray:
    return np.stack([np.frombuffer(cell, dtype=np.float32) for cell in cells])
