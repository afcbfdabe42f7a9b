"""A run that exists is opened by a command, and with it a user's word on what may be loaded for it."""

from __future__ import annotations

from pathlib import Path

from emoe_audit.errors import StoreError
from emoe_audit.runs.store import RunStore
from emoe_audit.types import EnsembleSpec


def open_run(folder: Path, ensemble: str | None = None, *, trusts: bool = False, mending: bool = False) -> RunStore:
    """Open a run.

    Args:
        folder: The run's.
        ensemble: Load the parts of this one, which is the same as that of the run, in the place of those it names.
        trusts: Load what the run names, now and later.
        mending: The caller makes again what is damaged; see `RunStore.open`.

    Raises:
        StoreError: there is no run, or it is of another ensemble than the one that is named.
        EnsembleError: there is no such ensemble.
    """
    store = RunStore.open(folder, mending=mending)
    if trusts:
        store.trust()
    if ensemble is not None:
        from emoe_audit.experts.spec import load_spec

        spec = load_spec(ensemble)
        _check_same(store, spec)
        store.load_from(spec)
    return store


def _check_same(store: RunStore, spec: EnsembleSpec) -> None:
    """By what draws and judges where the run makes images, else by the weights that are scored."""
    plan = store.plan()
    if plan.images.n_images:
        from emoe_audit.quality.hashes import quality_hash

        is_same = quality_hash(spec, plan.images) == plan.quality_hash
    else:
        from emoe_audit.experts.ensemble import load_ensemble

        asked = {"n_noise": plan.scoring.n_noise, "experts": plan.scoring.experts}
        is_same = load_ensemble(spec, device="cpu", **asked).ensemble_hash == plan.ensemble_hash  # type: ignore[arg-type]
    if not is_same:
        raise StoreError(f"{store.path}: a run of another ensemble than {spec.name}, or of other weights of it")
