"""A folder with runs from anybody: one that cannot be read is named, and the others are shown as they are."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.app.conftest import APP
from tests.app.opened import opened
from tests.illustrated import illustrated_run
from tests.runs.written import forget_the_record

pytestmark = pytest.mark.slow
VIEWS = sorted(page.stem for page in (APP / "views").glob("*.py"))


def with_plan(**changed: Any) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        plan = json.loads((run / "plan.json").read_text())
        (run / "plan.json").write_text(json.dumps(plan | changed))

    return change


def torn(name: str) -> Callable[[Path], None]:
    def cut(run: Path) -> None:
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[: len(content) // 2])

    return cut


def holding(text: str) -> Callable[[Path], None]:
    def write(run: Path) -> None:
        (run / "plan.json").write_text(text)

    return write


BROKEN: dict[str, Callable[[Path], None]] = {
    "created is a number": with_plan(created=5),
    "no experts": with_plan(ensemble={"name": "x"}),
    "a plan cut short": torn("plan.json"),
    "a manifest cut short": torn("manifest.json"),
    "a plan that is a list": holding("[]"),
    "a plan nested too deep": holding("[" * 100_000),
}


@pytest.fixture
def root(tmp_path: Path, runs_root: Path) -> Path:
    """A folder with a sound run, and a copy of it to be broken."""
    for name in ("sound", "broken"):
        shutil.copytree(runs_root / "plain", tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("fault", BROKEN)
def test_a_run_that_cannot_be_read_is_named_and_the_sound_one_is_shown(root: Path, fault: str) -> None:
    BROKEN[fault](root / "broken")
    app = opened(root, "overview")
    assert "sound" in app.query_params["run"]
    assert "1 folder holds no run that can be read" in app.warning[0].value
    assert app.text[0].value.startswith("broken: ")
    assert len(app.text[0].value) > len("broken: ")


@pytest.mark.parametrize("at", VIEWS)
def test_no_page_is_stopped_by_it(root: Path, at: str) -> None:
    BROKEN["created is a number"](root / "broken")
    opened(root, at)


def test_where_no_run_can_be_read_it_is_said(root: Path) -> None:
    shutil.rmtree(root / "sound")
    BROKEN["created is a number"](root / "broken")
    app = opened(root, "prompts")
    assert app.title[0].value == "No runs yet"
    assert any(text.value.startswith("broken: ") for text in app.text)


def test_a_folder_without_a_plan_is_no_run_and_is_not_named(root: Path) -> None:
    shutil.rmtree(root / "broken")
    (root / "ensembles").mkdir()
    (root / "notes.txt").touch()
    (root / "pipe").mkdir()
    os.mkfifo(root / "pipe" / "plan.json")
    assert not opened(root, "overview").warning


@pytest.mark.parametrize("at", ["overview", "prompts"])
def test_tables_that_cannot_be_read_are_said_below_the_choice_of_runs(
    root: Path, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for table in (root / "broken").rglob("*.parquet"):
        table.write_bytes(b"PAR1 no table PAR1")
    forget_the_record(root / "broken")
    monkeypatch.setattr("sys.argv", ["dashboard.py", "--runs", str(root)])
    app = AppTest.from_file(str(APP / "pages.py"), default_timeout=120)
    app.query_params["run"] = "broken"
    app.switch_page(f"views/{at}.py").run()
    assert not app.exception, app.exception
    assert "not a readable Parquet file" in (app.warning or app.error)[0].value
    assert app.selectbox[0].options[0].startswith(("broken", "sound"))


def test_a_report_that_is_a_link_is_not_given_away(root: Path) -> None:
    (root / "secret").write_text("secret")
    (root / "sound" / "report.html").unlink(missing_ok=True)
    (root / "sound" / "report.html").symlink_to(root / "secret")
    names = [button.proto.label for button in opened(root, "overview", run="sound").get("download_button")]
    assert "Report as one HTML file" not in names
    (root / "sound" / "report.html").unlink()
    (root / "sound" / "report.html").write_text("<p>a report</p>")
    names = [button.proto.label for button in opened(root, "overview", run="sound").get("download_button")]
    assert "Report as one HTML file" in names


def test_new_numbers_are_shown_where_the_clock_went_back(tmp_path: Path) -> None:
    import data

    store = illustrated_run(tmp_path / "run", 40)
    before = data.report(store.path).scope.n_scored, data.stamp(store.path)
    shutil.rmtree(tmp_path / "run")
    illustrated_run(tmp_path / "run", 20)
    for path in (tmp_path / "run", *(tmp_path / "run").rglob("*")):
        os.utime(path, (1, 1))
    assert data.stamp(store.path) != before[1]
    assert (before[0], data.report(store.path).scope.n_scored) == (40, 20)


@pytest.mark.parametrize("table", ["prompts", "scores", "readings", "quality", "analysis"])
def test_a_table_of_the_same_size_and_time_in_anothers_place_is_noticed(tmp_path: Path, table: str) -> None:
    import data

    file = tmp_path / table / "part-000000.parquet"
    file.parent.mkdir()
    file.write_bytes(b"before")
    os.utime(file, (1, 1))
    before = data.stamp(tmp_path)
    file.with_suffix(".tmp").write_bytes(b"after.")
    file.with_suffix(".tmp").replace(file)
    os.utime(file, (1, 1))
    assert data.stamp(tmp_path) != before
    assert data.stamp(tmp_path) == data.stamp(tmp_path)
