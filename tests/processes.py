"""Real processes that start at once: forked from a server that has loaded what an audit needs, and then torn off it.

To load torch and diffusers takes a process longer than what most tests ask of it. The server has run nothing: what its
children share with it are modules alone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import pytest

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        *("emoe_audit.audit", "emoe_audit.cli.main", "emoe_audit.cli.ensemble", "emoe_audit.decisions.estimate"),
        *("emoe_audit.experts.ensemble", "emoe_audit.scoring.engine", "emoe_audit.validity.check"),
        *("emoe_audit.quality.illustrator", "emoe_audit.ground.verify", "emoe_audit.ground.page"),
    ]
)
PATIENCE = 120.0
"""Seconds that a process may take to say what is waited for."""


def invoke(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`emoe-audit WORDS`, as `subprocess.run` would give it back."""
    with running(command_line, words, environment) as (process, out, err):
        process.join()
        return subprocess.CompletedProcess(words, process.exitcode or 0, out.read_text("utf-8"), err.read_text("utf-8"))


def command_line(words: Sequence[str], environment: Mapping[str, str] = MappingProxyType({})) -> None:
    """What such a process does."""
    from emoe_audit.cli.main import main

    os.environ.update(environment)
    sys.argv = ["emoe-audit", *words]
    main()


@contextmanager
def running(work: Callable[..., None], *args: Any) -> Iterator[tuple[BaseProcess, Path, Path]]:
    """A process that does some work, and the files that its stdout and stderr go to; it is killed at the end."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "stdout", Path(folder) / "stderr"
        process = SERVER.Process(target=_torn_off, args=(os.getcwd(), out, err, work, args))
        with pytest.MonkeyPatch.context() as patch:  # a child loads its parent's main module, of which it needs nothing
            patch.setitem(sys.modules, "__main__", ModuleType("__main__"))
            process.start()
        try:
            yield process, out, err
        finally:
            process.kill()
            process.join()


def wait_for_lines(file: Path, n: int, holding: str = "") -> None:
    """Until so many lines that hold a word stand in a file."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        if sum(holding in line for line in text.split("\n")[:-1]) >= n:
            return
        time.sleep(0.002)
    raise TimeoutError(f"{file}: fewer than {n} lines with {holding!r}")


def _torn_off(folder: str, out: Path, err: Path, work: Callable[..., None], args: tuple[Any, ...]) -> None:
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background ignores
    for file, number in ((out, 1), (err, 2)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    work(*args)
