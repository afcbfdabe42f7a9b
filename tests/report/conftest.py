from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from emoe_audit.report import ReportData, collect, render_html
from emoe_audit.runs.store import RunStore
from tests.illustrated import illustrated_run, known_coverage


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """A finished run of 400 prompts, 80 of them with an image. Read only."""
    return illustrated_run(tmp_path_factory.mktemp("runs") / "plain", coverage=known_coverage())


@pytest.fixture(scope="session")
def report(run: RunStore) -> ReportData:
    return collect(run)


@pytest.fixture(scope="session")
def page(report: ReportData) -> str:
    return render_html(report)


@pytest.fixture(scope="session")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """A run whose prompts, groups, errors and command try to break out of the page. Read only."""
    return illustrated_run(tmp_path_factory.mktemp("runs") / "hostile", hostile=True)


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return illustrated_run(tmp_path_factory.mktemp("runs") / "small", 120).path


@pytest.fixture
def own_run(small_run: Path, tmp_path: Path) -> RunStore:
    """A small run that a test may change."""
    return RunStore.open(shutil.copytree(small_run, tmp_path / "own"))
