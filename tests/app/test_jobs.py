"""Audits started from a page: the command line's own, found again, cancelled, resumed; a file is not believed."""

from __future__ import annotations

import json
import os
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

KEPT: dict[str, Any] = {
    "name": "mine",
    "suffix": ".csv",
    "wish": {"ensemble": "emoji-a", "n_images": 0, "n_noise": 1},
    "process": {"pid": 4321, "started": "1", "token": "0123456789abcdef" * 2},
}
"""A job as its file has it."""


@pytest.fixture
def jobs(app_on_path: None) -> Any:
    import jobs

    return jobs


@pytest.fixture
def commands(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The commands that are started, none of which is run."""
    started: list[tuple[str, ...]] = []

    def pretend(words: tuple[str, ...], log: Path) -> Any:
        started.append(words)
        return jobs.Process(**KEPT["process"])

    monkeypatch.setattr("processes.start", pretend)
    return started


def keep(root: Path, **changed: Any) -> None:
    """Lay the file of a job into a folder, with its uploaded table."""
    for folder in (".jobs", ".uploads"):
        (root / folder).mkdir(exist_ok=True)
    (root / ".jobs" / "mine.json").write_text(json.dumps(KEPT | changed))
    (root / ".uploads" / "mine.csv").write_text("prompt\na dog\n")


@pytest.mark.parametrize("name", ["", "../outside", "a/b", ".hidden", "a b", "x" * 61, "run\n"])
def test_a_name_that_leaves_the_folder_or_is_no_file_name_is_refused(jobs: Any, tmp_path: Path, name: str) -> None:
    with pytest.raises(AuditError, match="is no name for a run"):
        jobs.check_name(tmp_path, name)


def test_a_taken_name_is_refused(jobs: Any, tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").symlink_to(tmp_path / "nowhere")
    keep(tmp_path)
    for name in ("first", "second", "mine"):
        with pytest.raises(AuditError, match="already"):
            jobs.check_name(tmp_path, name)


@pytest.mark.parametrize(
    ("words", "share"),
    [
        ("scoring: 250 of 1,000, 3.0 a second", 0.25),
        ("scoring: 1,000 of 1,000", 1.0),
        ("scoring: 1,024 of 4,000, 35.1 a second, 85 s left, 2 workers, 1 row left out", 0.256),
        ("Loading", None),
        ("images: 0 of 0", None),
        ("scoring: , of ,", None),
        ("scoring: 1,000 of 250", None),
    ],
)
def test_progress_is_read_from_the_last_words(jobs: Any, words: str, share: float | None) -> None:
    assert jobs.share_done(words) == share


def test_a_job_is_resumed_with_what_the_form_asked_for(
    jobs: Any, commands: list[tuple[str, ...]], tmp_path: Path
) -> None:
    keep(tmp_path)
    (job,) = jobs.jobs(tmp_path)
    jobs.resume(tmp_path, job)
    table, out = str(tmp_path / ".uploads" / "mine.csv"), str(tmp_path / "mine")
    numbers = ("--n-images", "0", "--n-noise", "1")
    assert commands == [("run", table, "--ensemble", "emoji-a", "--out", out, "--queued", *numbers)]


@pytest.mark.parametrize(
    "changed",
    [
        {"arguments": ["run", "/etc/passwd", "--out", "/tmp/x"]},
        {"name": "other"},
        {"name": "../outside"},
        {"suffix": ".csv --judge local-dir:evil"},
        {"wish": {"ensemble": "emoji-a", "n_images": -1, "n_noise": 1}},
        {"wish": {"ensemble": "emoji-a", "n_images": 0, "n_noise": 10**9}},
        {"wish": {"ensemble": "emoji-a", "n_images": "0 --judge evil", "n_noise": 1}},
        {"wish": {"ensemble": ["emoji-a"], "n_images": 0, "n_noise": 1}},
        *({"process": {"pid": pid, "started": "1", "token": "0" * 32}} for pid in (-1, 0, 1, True, "4321")),
        {"process": {"pid": 4321, "started": "1", "token": "; time.sleep"}},
    ],
    ids=lambda changed: str(changed)[:60],
)
def test_a_file_that_says_something_else_is_no_job(jobs: Any, tmp_path: Path, changed: dict[str, Any]) -> None:
    keep(tmp_path, **changed)
    assert jobs.jobs(tmp_path) == []


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"name": "mine"}', "null"])
def test_a_file_that_is_no_json_object_is_passed_over(jobs: Any, tmp_path: Path, text: str) -> None:
    keep(tmp_path)
    (tmp_path / ".jobs" / "broken.json").write_text(text)
    assert [job.name for job in jobs.jobs(tmp_path)] == ["mine"]


def test_what_is_no_file_is_passed_over(jobs: Any, tmp_path: Path) -> None:
    keep(tmp_path)
    folder = tmp_path / ".jobs"
    (folder / "folder.json").mkdir()
    (folder / "link.json").symlink_to(folder / "mine.json")
    (folder / "dangling.json").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe.json")
    assert [job.name for job in jobs.jobs(tmp_path)] == ["mine"]


def test_a_folder_of_jobs_that_is_a_link_is_not_followed(jobs: Any, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runs").mkdir()
    keep(tmp_path / "elsewhere")
    (tmp_path / "runs" / ".jobs").symlink_to(tmp_path / "elsewhere" / ".jobs")
    assert jobs.jobs(tmp_path / "runs") == []


@pytest.mark.parametrize("ensemble", ["no-such", "../../outside", "/etc", "hub/model", "--judge=evil"])
def test_an_ensemble_that_is_not_known_here_is_never_loaded(
    jobs: Any, commands: list[tuple[str, ...]], tmp_path: Path, ensemble: str
) -> None:
    keep(tmp_path, wish={"ensemble": ensemble, "n_images": 0, "n_noise": 1})
    (job,) = jobs.jobs(tmp_path)
    with pytest.raises(AuditError, match="there is no ensemble"):
        jobs.resume(tmp_path, job)
    assert commands == []


@pytest.mark.parametrize("place", [".uploads/mine.csv", ".jobs/mine.log", "mine"])
def test_nothing_is_resumed_through_a_link(
    jobs: Any, commands: list[tuple[str, ...]], tmp_path: Path, place: str
) -> None:
    keep(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("prompt\nsecret\n")
    (tmp_path / place).unlink(missing_ok=True)
    (tmp_path / place).symlink_to(secret)
    (job,) = jobs.jobs(tmp_path)
    with pytest.raises(AuditError):
        jobs.resume(tmp_path, job)
    assert commands == []
    assert jobs.last_words(tmp_path, job) == ""


def test_a_live_process_that_is_not_ours_neither_runs_nor_is_cancelled(
    jobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append(pid))
    keep(tmp_path, process=KEPT["process"] | {"pid": os.getppid()})
    (job,) = jobs.jobs(tmp_path)
    assert jobs.state(tmp_path, job) == "stopped"
    jobs.cancel(job)
    assert sent == []


@pytest.fixture
def in_the_background() -> Iterator[None]:
    """As a shell starts a job in the background: it and its children ignore Ctrl+C."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("in_the_background")
def test_an_audit_cancelled_and_resumed_equals_one_that_was_not(
    jobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMOE_AUDIT_CHECK_PAIRS", "0")
    make_tiny_ensemble(tmp_path / "ensembles" / "tiny")
    rows = "".join(f"{n} dogs on a sofa,en,s{n}\n" for n in range(600))
    table = f"prompt,language,source_id\n{rows}".encode()
    wish = jobs.Wish(ensemble="tiny", n_images=0, n_noise=4)
    jobs.begin(tmp_path, "cut", wish, "mine.csv", table)
    job = jobs.jobs(tmp_path)[0]
    wait_until(lambda: any((tmp_path / "cut" / "scores").glob("*.parquet")))
    assert jobs.state(tmp_path, job) == "running"
    jobs.cancel(job)
    wait_until(lambda: jobs.state(tmp_path, job) == "stopped")
    assert "To go on:\n  emoe-audit run " in (tmp_path / ".jobs" / "cut.log").read_text()
    assert not RunStore.open(tmp_path / "cut").is_complete
    jobs.resume(tmp_path, job)
    jobs.begin(tmp_path, "whole", wish, "mine.csv", table)
    for job in jobs.jobs(tmp_path):
        wait_until(lambda job=job: jobs.state(tmp_path, job) == "finished")  # type: ignore[misc]
    cut, whole = (
        RunStore.open(tmp_path / name).query("SELECT * FROM results ORDER BY key") for name in ("cut", "whole")
    )
    pd.testing.assert_frame_equal(cut, whole, rtol=1e-5)


def wait_until(holds: Callable[[], bool], seconds: float = 200) -> None:
    """Wait for something that another process does."""
    for _ in range(int(seconds / 0.1)):
        if holds():
            return
        time.sleep(0.1)
    raise TimeoutError
