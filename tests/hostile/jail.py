"""Work on one input after another in a forked process with a limit of time and memory, so that a crash is counted.

The child says on a pipe what became of each input. Where it dies in the middle of one, that one is a crash (or a hang,
where the alarm killed it), and another child goes on behind it.
"""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from tests.processes import running

Outcome = Literal["read", "told", "silent", "wrong", "crash", "hang"]
SECONDS = 20
MEMORY = 2 * 1024**3
"""Bytes above what the process holds when it starts."""
A_CHILD = 500
"""Inputs that one child works on; each loads anew what reading needs first."""


@dataclass(frozen=True)
class Told:
    """What became of an input."""

    number: int
    outcome: Outcome
    detail: str
    peak_gb: float
    """The largest size that the process has had in memory so far."""


def confined(
    numbers: Sequence[int], work: Callable[[int], tuple[Outcome, str]], seconds: int = SECONDS, memory: int = MEMORY
) -> Iterator[Told]:
    """What `work` makes of each number; it runs in a child, of which nothing is left."""
    waiting = list(numbers)
    while waiting:
        told, status = _child(waiting[:A_CHILD], work, seconds, memory)
        yield from told
        waiting = waiting[len(told) :]
        if status and waiting:
            kind: Outcome = "hang" if status == signal.SIGALRM else "crash"
            yield Told(waiting.pop(0), kind, f"signal {status}", memory / 1e9)


def outcomes(
    work: Callable[[Any], str],
    inputs: Sequence[Any],
    modules: Sequence[str] = (),
    *,
    seconds: int = SECONDS,
    memory: int = MEMORY,
) -> list[str]:
    """What work says of each input, `wrong: ...` where it raises, or `died: ...` where its process did.

    Args:
        work: Imported by its name in another process.
        inputs: Pickled.
        modules: Loaded once, for all.
        seconds: That each may take.
        memory: Bytes beyond what its modules take.
    """
    with running(_print_outcomes, work, inputs, modules, seconds, memory) as (process, out, err):
        process.join()
        assert process.exitcode == 0, err.read_text("utf-8")
        return [json.loads(line) for line in out.read_text("utf-8").splitlines()]


def _print_outcomes(
    work: Callable[[Any], str], inputs: Sequence[Any], modules: Sequence[str], seconds: int, memory: int
) -> None:
    for name in modules:
        import_module(name)
    kinds = {"read": "", "wrong": "wrong: ", "crash": "died: ", "hang": "died: "}
    for told in confined(range(len(inputs)), lambda number: ("read", work(inputs[number])), seconds, memory):
        print(json.dumps(kinds[told.outcome] + told.detail), flush=True)


def _child(
    numbers: Sequence[int], work: Callable[[int], tuple[Outcome, str]], seconds: int, memory: int
) -> tuple[list[Told], int]:
    """What one child said before it ended, and the signal or code that ended it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _run(numbers, work, writing, seconds, memory)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as said:
        lines = [line for line in said if line.endswith("\n")]
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return [Told(*json.loads(line)) for line in lines], abs(code)


def _run(
    numbers: Sequence[int], work: Callable[[int], tuple[Outcome, str]], writing: int, seconds: int, memory: int
) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with open("/proc/self/statm", encoding="ascii") as file:
        held = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + memory, held + memory))
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    with os.fdopen(writing, "w", encoding="utf-8") as say:
        for number in numbers:
            signal.alarm(seconds)
            try:
                outcome, detail = work(number)
            except BaseException as fault:
                outcome, detail = "wrong", f"{type(fault).__name__}: {fault}"
            signal.alarm(0)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
            say.write(json.dumps([number, outcome, detail[:300], peak]) + "\n")
            say.flush()
