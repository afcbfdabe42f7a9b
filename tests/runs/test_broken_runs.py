"""Of a folder with runs, those that can be read are listed and the others are named; what is no run is passed over."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emoe_audit.runs.listing import broken_runs, list_runs
from emoe_audit.runs.store import RunStore
from tests.synthetic import synthetic_plan


def lay(root: Path, name: str, **changed: Any) -> Path:
    """A run whose plan says something else."""
    run = RunStore.open(root / name, plan=replace(synthetic_plan(), created="2026-01-01")).path
    plan = json.loads((run / "plan.json").read_text())
    (run / "plan.json").write_text(json.dumps(plan | changed))
    return run


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"created": 5}, "created"),
        ({"ensemble": {}}, "ensemble"),
        ({"more": 1}, "more"),
        ({"scoring": None}, "scoring"),
    ],
)
def test_a_plan_of_other_types_is_named_by_its_field(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    lay(tmp_path, "sound")
    lay(tmp_path, "broken", **changed)
    assert [store.path.name for store in list_runs(tmp_path)] == ["sound"]
    ((name, why),) = broken_runs(tmp_path)
    assert name == "broken"
    assert said in why


def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (lay(tmp_path, "broken") / "manifest.json").write_text("{")
    ((name, why),) = broken_runs(tmp_path)
    assert (name, list_runs(tmp_path)) == ("broken", [])
    assert "manifest.json:1:2" in why


def test_what_has_no_plan_is_neither(tmp_path: Path) -> None:
    (tmp_path / "ensembles").mkdir()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "plan.json")
    assert (list_runs(tmp_path), broken_runs(tmp_path)) == ([], [])
    assert broken_runs(tmp_path / "nowhere") == []
