"""The page that scores and draws loads what a run names; of a run that was received, nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from emoe_audit.errors import StoreError
from emoe_audit.runs.store import RunStore
from emoe_audit.types import Prompt
from tests.synthetic import synthetic_plan


def test_a_received_run_neither_scores_nor_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import live

    RunStore.open(tmp_path / "run", plan=synthetic_plan())
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    monkeypatch.setattr(live, "_engine", lambda *_: pytest.fail("loaded the experts"))
    monkeypatch.setattr(live, "_maker", lambda *_: pytest.fail("loaded what draws"))
    prompts = [Prompt(prompt_id="1", prompt="dog", source_id="1")]
    for ask in (live.score, live.draw):
        with pytest.raises(StoreError, match="run: was not started here"):
            ask(tmp_path / "run", prompts)
