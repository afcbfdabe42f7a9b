"""Ensembles that are distributions of their own: the wheel has room for one, a clone holds them all."""

from __future__ import annotations

from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

APART = ("emoji-b", "emoji-c", "emoji-d")
"""Embedded in a clone and left out of the wheel."""
GROUP = "emoe_audit.ensembles"
"""Entry points by which such a distribution says the name of its ensemble, and the package that is its folder."""


def distribution_name(ensemble: str) -> str:
    """What `pip install` brings an ensemble by."""
    return f"emoe-audit-{ensemble}"


def package_name(ensemble: str) -> str:
    """The import package that is an ensemble's folder: one for each, as two distributions cannot share one."""
    return distribution_name(ensemble).replace("-", "_")


def installed_folders() -> dict[str, Path]:
    """The folder of every ensemble that is installed as a distribution of its own, by name; none is imported."""
    specs = {entry.name: find_spec(entry.value) for entry in entry_points(group=GROUP)}
    return {name: Path(spec.origin).parent for name, spec in specs.items() if spec is not None and spec.origin}


def how_to_install(ensemble: str) -> str:
    """What to say of one of `APART` that is not here."""
    return f"{ensemble}: is not installed; bring it with: pip install {distribution_name(ensemble)}"
