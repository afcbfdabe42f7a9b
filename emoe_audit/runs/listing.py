"""The runs under a folder: those that can be read, and those that are there and cannot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from emoe_audit.errors import StoreError
from emoe_audit.runs.store import RunStore
from emoe_audit.types import RunManifest


def list_runs(root: Path) -> list[RunStore]:
    """The runs under a folder, newest first; other folders are passed over, and those that `broken_runs` names."""
    found = [(plan.created, folder) for folder, plan in _plans(root) if isinstance(plan, RunManifest)]
    return [RunStore(folder) for _, folder in sorted(found, key=lambda own: own[0], reverse=True)]


def broken_runs(root: Path) -> list[tuple[str, str]]:
    """The names of folders that hold a run which cannot be read, and why."""
    return [(folder.name, str(fault)) for folder, fault in _plans(root) if isinstance(fault, StoreError)]


def _plans(root: Path) -> Iterator[tuple[Path, RunManifest | StoreError]]:
    """Every folder with a plan: what was asked, or why that cannot be read."""
    try:
        folders = sorted(root.iterdir())
    except OSError:
        return
    for folder in folders:
        store = RunStore(folder)
        try:
            if store.is_started:
                store.manifest()
                yield folder, store.plan()
        except (StoreError, OSError) as fault:
            yield folder, StoreError(str(fault))
