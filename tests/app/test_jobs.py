"""Audits started from a page: the command line's own, found again, cancelled, resumed."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from emoe_audit.errors import AuditError
from emoe_audit.experts.tiny import make_tiny_ensemble
from emoe_audit.runs.store import RunStore

pytestmark = pytest.mark.slow


@pytest.fixture
def jobs(app_on_path: None) -> Any:
    import jobs

    return jobs


@pytest.mark.parametrize("name", ["", "../outside", "a/b", ".hidden", "a b", "x" * 61, "run\n"])
def test_a_name_that_leaves_the_folder_or_is_no_file_name_is_refused(jobs: Any, tmp_path: Path, name: str) -> None:
    with pytest.raises(AuditError, match="is no name for a run"):
        jobs.check_name(tmp_path, name)


def test_a_taken_name_is_refused(jobs: Any, tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    with pytest.raises(AuditError, match="already"):
        jobs.check_name(tmp_path, "first")


def test_a_bad_table_names_line_and_column_and_no_file_of_this_machine(jobs: Any, tmp_path: Path) -> None:
    table = jobs.check_upload("mine.csv", b"prompt,language\na dog,en\na cat,xx-nonsense-tag\n,en\n")
    assert [(fault.line, fault.column) for fault in table.row_errors] == [(3, "language"), (4, "prompt")]
    assert all(
        fault.message.startswith("line ") and "/" not in fault.message.split(":")[0] for fault in table.row_errors
    )
    with pytest.raises(AuditError, match=r"^line 1: no column 'prompt'"):
        jobs.check_upload("mine.csv", b"words\na dog\n")
    with pytest.raises(AuditError, match="is not read"):
        jobs.check_upload("mine.exe", b"MZ")


@pytest.mark.parametrize(
    ("words", "share"), [("scoring: 250 of 1,000, 3.0 a second", 0.25), ("Loading", None), ("images: 0 of 0", None)]
)
def test_progress_is_read_from_the_last_words(jobs: Any, words: str, share: float | None) -> None:
    assert jobs.share_done(words) == share


@pytest.fixture
def in_the_background() -> Iterator[None]:
    """As a shell starts a job in the background: it and its children ignore Ctrl+C."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("in_the_background")
def test_an_audit_cancelled_and_resumed_equals_one_that_was_not(jobs: Any, tmp_path: Path) -> None:
    make_tiny_ensemble(tmp_path / "ensembles" / "tiny")
    rows = "".join(f"{n} dogs on a sofa,en,s{n}\n" for n in range(600))
    prompts = jobs.keep_upload(tmp_path, "mine", "mine.csv", f"prompt,language,source_id\n{rows}".encode())
    settings = ("--ensemble", str(tmp_path / "ensembles" / "tiny"), "--n-images", "0", "--check-pairs", "0")
    arguments = {name: ("run", str(prompts), *settings, "--out", str(tmp_path / name)) for name in ("cut", "whole")}
    jobs.start(tmp_path, "cut", arguments["cut"])
    job = jobs.jobs(tmp_path)[0]
    wait_until(lambda: any((tmp_path / "cut" / "scores").glob("*.parquet")))
    jobs.cancel(job)
    wait_until(lambda: jobs.state(tmp_path, job) == "stopped")
    assert "To go on" in (tmp_path / ".jobs" / "cut.log").read_text()
    assert not RunStore.open(tmp_path / "cut").is_complete
    jobs.start(tmp_path, "cut", job.arguments)
    jobs.start(tmp_path, "whole", arguments["whole"])
    for job in jobs.jobs(tmp_path):
        wait_until(lambda job=job: jobs.state(tmp_path, job) == "finished")  # type: ignore[misc]
    cut, whole = (RunStore.open(tmp_path / name).query("SELECT * FROM results ORDER BY key") for name in arguments)
    pd.testing.assert_frame_equal(cut, whole, rtol=1e-5)


def wait_until(holds: Callable[[], bool], seconds: float = 200) -> None:
    """Wait for something that another process does."""
    for _ in range(int(seconds / 0.1)):
        if holds():
            return
        time.sleep(0.1)
    raise TimeoutError
