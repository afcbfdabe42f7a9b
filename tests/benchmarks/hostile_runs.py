"""What befalls a run: a bit that flips in one of its files, and an audit that is killed at any moment."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emoe_audit.audit import run_audit
from emoe_audit.errors import StoreError
from emoe_audit.experts.spec import load_spec
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.runs.integrity import verify
from emoe_audit.runs.ledger import Ledger
from emoe_audit.runs.store import RunStore
from emoe_audit.runs.views import ANALYSES, COLUMNS, JOINED, RESULTS
from emoe_audit.steps import scores
from emoe_audit.types import AnalysisConfig, ImageConfig, ScoringConfig
from tests.processes import running
from tests.runs.written import files_of, flip

OPERATIONS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
"""What changes a folder, as Python's audit hooks call it; files that are opened to be written come to it."""
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
NEVER = 10**9
SAME_IN_ANY_FOLDER = ("run", "manifest")
"""Keys of report.json that say where and when a run was made."""


@dataclass(frozen=True, kw_only=True)
class Flip:
    """A bit of a file that was turned over and back."""

    file: str
    bit: int
    noticed: bool


@dataclass(frozen=True, kw_only=True)
class Kill:
    """An audit that was killed, and started again until it was finished."""

    at: str
    kills: int
    different: tuple[str, ...]
    """What is not as in a run that nobody disturbed."""


def flips(run: Path, n: int, seed: int = 0) -> list[Flip]:
    """Turn `n` bits of a run over, one at a time, as many in each of its files, and say which were noticed."""
    rng, names = np.random.default_rng(seed), files_of(run)
    return [_flip(run, names[place % len(names)], rng) for place in range(n)]


def _flip(run: Path, name: str, rng: np.random.Generator) -> Flip:
    bit = int(rng.integers(8 * (run / name).stat().st_size))
    flip(run / name, bit)
    try:
        noticed = bool(verify(run).faults)
    except StoreError:
        noticed = True
    finally:
        flip(run / name, bit)
    return Flip(file=name, bit=bit, noticed=noticed)


def tiny_audit(ensemble: Path, out: Path, at: int = NEVER) -> None:
    """An audit whose rows do not depend on which are computed together; it kills itself at a file operation.

    At the end it says how many there were.
    """
    done = _die_at(at, out)
    scores.SCORE_CHUNK = 3
    spec = load_spec(ensemble)
    run_audit(
        default_prompts(spec, n_concepts=2),
        spec,
        out,
        scoring=ScoringConfig(n_noise=1, batch_size=1, device="cpu", check_pairs=0),
        images=ImageConfig(n_images=8, num_inference_steps=1, batch_size=1, device="cpu"),
        analysis=AnalysisConfig(n_boot=50, min_sources=1),
        command="emoe-audit run",
    )
    print(done(), flush=True)


def later_commands(run: Path, at: int = NEVER) -> None:
    """Analyze and report a finished run again, and die at a file operation."""
    from emoe_audit.report.render import write_report
    from emoe_audit.steps.summary import summarize

    done = _die_at(at, run)
    store = RunStore.open(run)
    with store.locked():
        summarize(store, AnalysisConfig(n_boot=50, min_sources=1))
        write_report(store)
    print(done(), flush=True)


def _die_at(at: int, folder: Path) -> Callable[[], int]:
    """Be killed before the operation of this number on a folder, or after one is synced; gives how many there were."""
    numbers, seen, sync, own = count(1), [0], os.fsync, str(folder)

    def passed() -> None:
        seen[0] = next(numbers)
        if seen[0] == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        changes = event in OPERATIONS or (event == "open" and bool(arguments[2] & WRITES))
        if changes and str(arguments[0]).startswith(own):
            passed()

    def synced(number: int) -> None:
        sync(number)
        passed()

    sys.addaudithook(hook)
    os.fsync = synced  # type: ignore[assignment]
    return lambda: seen[0]


def finished(work: Callable[..., None], *arguments: Any) -> int:
    """Do some work in a process of its own, to the end; returns how many file operations it took."""
    with running(work, *arguments) as (process, out, err):
        process.join()
        assert process.exitcode == 0, err.read_text(encoding="utf-8")
        return int(out.read_text(encoding="utf-8"))


def killed(work: Callable[..., None], *arguments: Any, after: float | None = None) -> bool:
    """Whether such a process was killed: by itself, or after some seconds."""
    with running(work, *arguments) as (process, _, err):
        if after is None:
            process.join()
        else:
            time.sleep(after)
            process.kill()
            process.join()
        assert process.exitcode in (0, -signal.SIGKILL), err.read_text(encoding="utf-8")
        return process.exitcode != 0


def kill_and_resume(
    ensemble: Path, out: Path, undisturbed: Path, at: tuple[int, ...] = (), after: tuple[float, ...] = ()
) -> Kill:
    """Kill an audit at these operations and moments, one start after another, let it finish, and compare.

    What a kill left is held against the record before the next start: nothing may be damaged.
    """
    kills, torn = 0, set[str]()
    for number in at:
        kills += killed(tiny_audit, ensemble, out, number)
        torn |= damage(out)
    for seconds in after:
        kills += killed(tiny_audit, ensemble, out, after=seconds)
        torn |= damage(out)
    finished(tiny_audit, ensemble, out)
    found = (*sorted(torn), *damage(out), *differences(out, undisturbed))
    return Kill(at=f"operations {at}, seconds {after}", kills=kills, different=found)


def kill_later_commands(run: Path, undisturbed: Path, at: int) -> Kill:
    """Kill commands that change a finished run, which stays as it was written; then let them finish, and compare."""
    kills = killed(later_commands, run, at)
    torn = damage(run)
    finished(later_commands, run)
    found = (*sorted(torn), *damage(run), *differences(run, undisturbed))
    return Kill(at=f"later, operation {at}", kills=kills, different=found)


def damage(run: Path) -> set[str]:
    """Files that are not as written; of a run that has no record yet none."""
    return {f"{fault.kind} {fault.path}" for fault in verify(run).faults} if Ledger(run).is_kept else set()


def differences(run: Path, other: Path) -> list[str]:
    """Tables, images and reports of two runs that are not the same."""
    ours, theirs = RunStore.open(run), RunStore.open(other)
    tables = [name for name in (*COLUMNS, *ANALYSES, *JOINED, RESULTS) if _rows(ours, name) is not None]
    assert tables
    found = [name for name in tables if not _same(_rows(ours, name), _rows(theirs, name))]
    found += [f"{name} is there in one" for name in sorted(set(files_of(run)) ^ set(files_of(other)))]
    images = [name for name in files_of(other) if name.startswith("images/")]
    found += [name for name in images if (run / name).read_bytes() != (other / name).read_bytes()]
    return found + ([] if _report(run) == _report(other) else ["report.json"])


def _rows(store: RunStore, name: str) -> pd.DataFrame | None:
    if name in COLUMNS:
        return store.query(f"SELECT * FROM {name} ORDER BY key")
    return store.query(f"SELECT * FROM {name}") if store.has_analysis(name) else None


def _same(ours: pd.DataFrame | None, theirs: pd.DataFrame | None) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    try:
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-6, atol=1e-9)
    except AssertionError:
        return False
    return True


def _report(run: Path) -> dict[str, Any]:
    told = json.loads((run / "report.json").read_text(encoding="utf-8"))
    return {key: value for key, value in told.items() if key not in SAME_IN_ANY_FOLDER}
