"""What lies beneath the scores of a run: the table `noises`, what each measure gave under each noise.

A run that grows by noises goes on from it; a row that is not whole is not believed, and its noises are asked again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from emoe_audit.analysis.readings import FEATURES, NOISES
from emoe_audit.errors import StoreError
from emoe_audit.readers.parquet import read_parquet
from emoe_audit.runs.shards import shards
from emoe_audit.runs.store import RunStore

if TYPE_CHECKING:
    from emoe_audit.scoring.begun import Begun


def is_growing(store: RunStore) -> bool:
    """Whether a run holds prompts under other noises than it is planned with."""
    if not shards(store.path, "noises"):
        return False
    found = store.query("SELECT count(*) FILTER (n_noise <> ?) AS n FROM noises", [store.plan().scoring.n_noise])
    return bool(found["n"][0])


def forget_fewer_noises(store: RunStore) -> None:
    """Leave out what lies beneath scores under fewer noises, once all prompts are scored that can be."""
    if not is_growing(store):
        return
    n_noise = store.plan().scoring.n_noise
    held = {
        file: {*read_parquet(file, StoreError, ["n_noise"])["n_noise"].to_pylist()}
        for file in shards(store.path, "noises")
    }
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
