from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.illustrated import illustrated_run, known_coverage

APP = Path(__file__).parents[2] / "app"
MODULES = tuple(module.stem for module in APP.glob("*.py"))


@pytest.fixture(scope="session")
def runs_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs, one of them hostile. Read only."""
    root = tmp_path_factory.mktemp("reports")
    illustrated_run(root / "plain", coverage=known_coverage())
    illustrated_run(root / "hostile", 120, hostile=True)
    return root


@pytest.fixture(autouse=True)
def app_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `streamlit run` does it: the modules beside the entry can be imported."""
    monkeypatch.syspath_prepend(str(APP))
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
