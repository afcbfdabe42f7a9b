"""Work that may crash, hang or take all memory: every piece in a process of its own, limited and waited for."""

from __future__ import annotations

import json
import os
import resource
import signal
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.processes import running

Work = Callable[[Any], str]


def outcomes(
    work: Work, inputs: Sequence[Any], modules: Sequence[str] = (), *, seconds: int = 20, megabytes: int = 1500
) -> list[str]:
    """What work says of each input, or `died: ...` where its process did.

    Args:
        work: Imported by its name in another process.
        inputs: Pickled.
        modules: Loaded once, for all.
        seconds: That each may take.
        megabytes: That each may take beyond what its modules take (on Linux).
    """
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        with running(_each, work, inputs, modules, seconds, megabytes, said) as (process, _, err):
            process.join()
            assert process.exitcode == 0, err.read_text(encoding="utf-8")
        return [json.loads(line) for line in said.read_text(encoding="utf-8").splitlines()]


def _each(work: Work, inputs: Sequence[Any], modules: Sequence[str], seconds: int, megabytes: int, said: Path) -> None:
    for name in modules:
        import_module(name)
    for own in inputs:
        child = os.fork()
        if child == 0:
            _limit(seconds, megabytes)
            _say(said, _told(work, own))
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if status:
            _say(said, f"died: {signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else status}")


def _told(work: Work, own: Any) -> str:
    try:
        return work(own)
    except BaseException as error:
        return f"wrong: {type(error).__name__}: {error}"


def _say(said: Path, text: str) -> None:
    with said.open("a", encoding="utf-8") as file:
        file.write(json.dumps(text) + "\n")


def _limit(seconds: int, megabytes: int) -> None:
    """An alarm ends a process that hangs; memory beyond the limit is refused it."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)
    statm = Path("/proc/self/statm")
    if statm.exists():
        most = int(statm.read_text().split()[0]) * resource.getpagesize() + megabytes * 1024**2
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
