"""A process is ours where number, start and token agree; no other is ever interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

SLEEP = "import signal, time; signal.signal(signal.SIGINT, signal.default_int_handler); time.sleep(300)"
TOKEN = "0123456789abcdef" * 2


@pytest.fixture
def processes(app_on_path: None) -> Any:
    import processes

    return processes


@pytest.fixture(params=["/proc", "ps"])
def known(
    request: pytest.FixtureRequest, processes: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Any]:
    """A way to know processes again: Linux's, and the one that there is elsewhere."""
    if request.param == "ps":
        monkeypatch.setattr(processes, "PROC", tmp_path / "no-proc")
    monkeypatch.setattr(processes, "MAIN", SLEEP)
    monkeypatch.setattr(processes, "STARTED", {})
    yield processes
    for process in processes.STARTED.values():
        process.kill()
        process.wait()


@pytest.fixture
def foreign() -> Iterator[subprocess.Popen[bytes]]:
    """A process that nobody here started for an audit, which tells by its end whether it was interrupted."""
    with subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True) as process:
        yield process
        process.kill()


def until(holds: Callable[[], bool]) -> bool:
    for _ in range(300):
        if holds():
            return True
        time.sleep(0.1)
    return False


def test_a_started_process_is_known_until_it_is_interrupted(known: Any, tmp_path: Path) -> None:
    process = known.start(["run"], tmp_path / "log")
    assert known.is_running(process)
    known.interrupt(process)
    assert until(lambda: not known.is_running(process))


def test_another_dashboard_knows_it_too(known: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = known.start(["run"], tmp_path / "log")
    own = known.STARTED[process.pid]
    monkeypatch.setattr(known, "STARTED", {})
    assert known.is_running(process)
    known.interrupt(process)
    assert own.wait(30) != 0
    assert not known.is_running(process)


@pytest.mark.parametrize("changed", [{"started": "1"}, {"token": TOKEN}], ids=["start", "token"])
def test_a_number_that_was_given_to_another_process_is_not_ours(
    known: Any, tmp_path: Path, changed: dict[str, str]
) -> None:
    process = known.start(["run"], tmp_path / "log")
    other = replace(process, **changed)
    known.interrupt(other)
    assert not known.is_running(other)
    assert known.is_running(process)
    known.interrupt(process)
    assert until(lambda: not known.is_running(process))


def test_a_live_process_of_somebody_else_is_never_interrupted(known: Any, foreign: subprocess.Popen[bytes]) -> None:
    started, words = known._look(foreign.pid)
    assert SLEEP in words
    claimed = known.Process(pid=foreign.pid, started=started, token=TOKEN)
    known.interrupt(claimed)
    time.sleep(0.5)
    assert not known.is_running(claimed)
    assert foreign.poll() is None


@pytest.mark.parametrize("pid", [-1, 0, 1])
def test_no_signal_goes_to_all_processes_or_to_the_first(
    processes: Any, monkeypatch: pytest.MonkeyPatch, pid: int
) -> None:
    sent: list[tuple[int, signal.Signals]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    processes.interrupt(processes.Process(pid=pid, started="", token=TOKEN))
    assert sent == []
