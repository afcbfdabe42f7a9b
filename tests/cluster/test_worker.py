"""A worker looks before it loads, loads once, and gives back what goes wrong."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from emoe_audit.cluster.crew import crew_folder
from emoe_audit.cluster.engine import Asked
from emoe_audit.cluster.worker import Done, Worker
from emoe_audit.errors import AuditError, EnsembleError
from tests.cluster.within import VERSION


@dataclass(frozen=True)
class Told:
    """Loads its name, and says so."""

    name: str
    says: Callable[[str], Any] = str

    def __call__(self) -> Any:
        return self.says(self.name)


def raises(_name: str) -> None:
    raise EnsembleError("no such expert")


def breaks(_name: str) -> None:
    raise RuntimeError("out of memory")


def asked(load: Told, ask: Callable[[Any, Any], Any] = lambda _loaded, rows: rows) -> Asked:
    return Asked(load=load, ask=ask)


@dataclass
class Engine:
    name: str
    languages: None = None


def test_it_sees_the_folder_of_the_crew_or_says_where_it_does_not(tmp_path: Path) -> None:
    with crew_folder(tmp_path / "run") as crew:
        assert Worker(str(crew), "worker-1", uses_gpu=False).look(VERSION) is None
    words = str(Worker(str(crew), "worker-1", uses_gpu=False).look(VERSION))
    assert words.startswith(f"{tmp_path / 'run'}: the worker on {socket.gethostname()} does not see the run")


def test_another_version_on_its_machine_is_said(tmp_path: Path) -> None:
    with crew_folder(tmp_path / "run") as crew:
        words = str(Worker(str(crew), "worker-1", uses_gpu=False).look("0.0.1"))
    assert words.startswith(f"emoe-audit is {VERSION} on {socket.gethostname()} and 0.0.1 here; install the same")


def test_it_loads_once_what_several_jobs_take(tmp_path: Path) -> None:
    loaded: list[str] = []
    with crew_folder(tmp_path / "run") as crew:
        worker = Worker(str(crew), "worker-1", uses_gpu=True)
        for name in ("a", "a", "b", "a"):
            says = Told(name, Loads(loaded))
            assert worker.take_up(asked(says), None) is None
    assert loaded == ["a", "b", "a"]


@dataclass(frozen=True)
class Loads:
    """Two are the same where they write into the same list."""

    into: list[str]

    def __call__(self, name: str) -> Engine:
        self.into.append(name)
        return Engine(name)


def test_it_gives_back_the_answer_to_what_it_is_asked(tmp_path: Path) -> None:
    with crew_folder(tmp_path / "run") as crew:
        worker = Worker(str(crew), "worker-1", uses_gpu=True)
        worker.take_up(asked(Told("a", Engine), lambda engine, rows: [engine.name, *rows]), None)
        assert worker.work([(0, "x"), (1, "y")]) == Done(value=["a", "x", "y"], files=(), errors=())


@pytest.mark.parametrize(
    ("says", "kind", "words"),
    [(raises, EnsembleError, "no such expert"), (breaks, AuditError, "RuntimeError: out of memory")],
)
def test_what_cannot_be_loaded_is_given_back(says: Any, kind: type, words: str, tmp_path: Path) -> None:
    with crew_folder(tmp_path / "run") as crew:
        worker = Worker(str(crew), "worker-1", uses_gpu=True)
        said = worker.take_up(asked(Told("a", says)), None)
        assert type(said) is kind and str(said) == words
        assert str(worker.work([(0, "x")])) == "a worker was given rows and no job"


def test_what_goes_wrong_over_rows_is_given_back(tmp_path: Path) -> None:
    def fails(_engine: Any, _rows: Any) -> None:
        raise KeyError("key")

    with crew_folder(tmp_path / "run") as crew:
        worker = Worker(str(crew), "worker-1", uses_gpu=True)
        worker.take_up(asked(Told("a", Engine), fails), None)
        said = worker.work([(0, "x")])
    assert type(said) is AuditError and str(said) == "KeyError: 'key'"


def test_one_that_asked_for_no_gpu_uses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    Worker(str(tmp_path), "worker-1", uses_gpu=True)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    Worker(str(tmp_path), "worker-1", uses_gpu=False)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
