"""The command that serves the dashboard: what it says and refuses before it listens, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from emoe_audit.cli.main import cli, main
from emoe_audit.runs.store import RunStore
from tests.browser.desk import ROOT, free_port, wait_for_health
from tests.synthetic import synthetic_plan

Served = list[tuple[Path, int, tuple[str, ...]]]
NO_NAMES = ("https://audit.example", "audit.example/", "*", "*.example", "", "a b", "-x", "a:port")


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    """The folder, the port and the names that would be served."""
    calls: Served = []
    monkeypatch.setattr("emoe_audit.cli.dashboard.serve", lambda *served: calls.append(served))
    return calls


def given(*words: str) -> Result:
    return CliRunner().invoke(cli, ["dashboard", *words], standalone_mode=False)


def said_by_main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """The exit code of the command line, and what it says on stderr."""
    monkeypatch.setattr(sys, "argv", ["emoe-audit", "dashboard", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert isinstance(end.value.code, int)
    return end.value.code, capsys.readouterr().err


@pytest.mark.slow
def test_it_is_served_on_localhost_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr("streamlit.web.cli.main", lambda words, _name, standalone_mode: calls.append(words))
    monkeypatch.chdir(tmp_path)
    given("--runs", str(tmp_path), "--port", str(free_port()), "--host-name", "audit.example", "--host-name", "b:8443")
    (words,) = calls
    assert words[words.index("--server.address") + 1] == "localhost"
    assert Path(words[1]).is_file()
    assert words[-6:] == ["--runs", str(tmp_path.resolve()), "--host-name", "audit.example", "--host-name", "b:8443"]


def test_the_names_that_it_goes_by_are_handed_on(served: Served, tmp_path: Path) -> None:
    port = free_port()
    given("--runs", str(tmp_path), "--port", str(port), "--host-name", "audit.example", "--host-name", "[::1]:9000")
    assert served == [(tmp_path.resolve(), port, ("audit.example", "[::1]:9000"))]


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name_is_refused(
    served: Served, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = said_by_main(monkeypatch, capsys, "--host-name", name)
    assert code == 2
    assert "is no name" in said
    assert served == []


@pytest.fixture
def port_in_use() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_in_use_is_said_in_place_of_the_address(
    served: Served,
    port_in_use: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, said = said_by_main(monkeypatch, capsys, "--runs", str(tmp_path), "--port", str(port_in_use))
    assert code == 2
    assert f"port {port_in_use} cannot be used" in said and "--port" in said
    assert "The dashboard is at" not in said
    assert served == []


def test_a_run_in_place_of_the_folder_above_it_is_said_and_is_the_one_that_is_chosen(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    RunStore.open(tmp_path / "a run", plan=synthetic_plan())
    port = free_port()
    _, said = said_by_main(monkeypatch, capsys, "--runs", str(tmp_path / "a run"), "--port", str(port))
    assert "is a run; the folder above it is served" in said
    assert f"http://localhost:{port}/?run=a%20run" in said
    assert served[0][0] == tmp_path.resolve()


@pytest.mark.parametrize("kind", ["missing", "file", "loop", "too long"])
def test_what_is_no_folder_is_refused(
    served: Served,
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    code, said = said_by_main(monkeypatch, capsys, "--runs", str(tmp_path / kind) * (200 if kind == "too long" else 1))
    assert code == 2
    assert "no such folder" in said or "is a file" in said
    assert served == []


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_it_ends_with_the_command(number: signal.Signals, code: int, tmp_path: Path) -> None:
    """No process is left behind that goes on serving."""
    port = free_port()
    command = [sys.executable, "-m", "emoe_audit", "dashboard", "--runs", str(tmp_path), "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        wait_for_health(f"http://localhost:{port}/")
        process.send_signal(number)
        said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == code
    assert "Traceback" not in said
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
    if number == signal.SIGINT:
        assert f"emoe-audit dashboard --runs {tmp_path} --port {port}" in said
