"""Processes that score on one device at once: each has the right scores, or says why it has none.

A worker is this file, run as a module. It loads, waits until the others have loaded too, and scores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from emoe_audit.errors import AuditError
from tests.benchmarks.gpu.drawn import SMALL, TRUE, draw
from tests.benchmarks.gpu.findings import AS_IT_COMES, Finding
from tests.benchmarks.gpu.room import capped
from tests.benchmarks.gpu.scores import difference, scores

ROOT = Path(__file__).parents[3]
DESIGNS = {"true": TRUE[0], "small": SMALL[0]}
N_TEXTS, ROUNDS = 32, 3
PATIENCE = 60.0
"""Seconds for the slowest to have loaded."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a worker."""

    refusal: str | None = None
    """Why it does not score, in a message of the package; None where it scored."""
    scores: list[list[float]] | None = None
    """`[prompt, column]`"""
    span: tuple[float, float] = (0.0, 0.0)
    """When it began to score, and when it had scored, on the clock of the machine."""
    fault: str = ""
    """The end of what it wrote when it broke off."""


def check_workers(size: str, device: torch.device) -> list[Finding]:
    """Two at once, then one for whose ensemble there is not the memory; `size` is of `DESIGNS`."""
    alone, lacking = (here(size, device, is_short=is_short) for is_short in (False, True))
    with TemporaryDirectory() as meeting:
        pair = finish([start(size, device, Path(meeting), of=2) for _ in range(2)])
    return judged(alone, pair, lacking)


def judged(alone: Outcome, pair: Sequence[Outcome], lacking: Outcome) -> list[Finding]:
    """The findings on one worker alone, two at once, and one for which there is too little memory."""
    right = [_is_right(own, alone) for own in pair]
    refused = [own.refusal is not None for own in pair]
    together = min(own.span[1] for own in pair) - max(own.span[0] for own in pair)
    for own in (alone, *pair, lacking):
        if own.fault or own.refusal:
            print(own.fault or own.refusal, file=sys.stderr)
    found = [
        Finding(what="workers_alone_right", value=float(_is_right(alone, alone)), at_least=1),
        Finding(what="workers_right_or_refused", value=sum(map(max, right, refused)), at_least=len(pair)),
        Finding(what="workers_right", value=sum(right), at_least=1),
        Finding(what="workers_refused_for_want_of_memory", value=float(lacking.refusal is not None), at_least=1),
    ]
    return found if any(refused) else [*found, Finding(what="workers_seconds_together", value=together, at_least=0)]


def _is_right(own: Outcome, alone: Outcome) -> bool:
    if own.scores is None or alone.scores is None:
        return False
    return difference(np.array(own.scores), np.array(alone.scores)) <= AS_IT_COMES


def here(size: str, device: torch.device, *, is_short: bool) -> Outcome:
    """What becomes of a worker that has nobody to wait for."""
    try:
        with TemporaryDirectory() as meeting:
            return Outcome(**work(size, device, Path(meeting), 1, is_short=is_short))
    except Exception:  # whatever it is, it is no refusal
        return Outcome(fault=traceback.format_exc())


def start(size: str, device: torch.device, meeting: Path, *, of: int) -> subprocess.Popen[str]:
    """A worker that meets the others, `of` in all, in a folder."""
    command = [sys.executable, "-m", "tests.benchmarks.gpu.workers", size, str(device), str(meeting), str(of)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(workers: Sequence[subprocess.Popen[str]]) -> list[Outcome]:
    """What became of each."""
    outcomes = []
    for worker in workers:
        out, err = worker.communicate()
        said: dict[str, Any] = json.loads(out) if worker.returncode == 0 else {"fault": err[-2000:]}
        outcomes.append(Outcome(**said))
    return outcomes


def work(size: str, device: torch.device, meeting: Path, n_workers: int, *, is_short: bool = False) -> dict[str, Any]:
    """What a worker tells; one that is short has memory for a part of its ensemble."""
    drawn = draw(DESIGNS[size], device, torch.float16)
    room = sum(tensor.nbytes for text in drawn.texts for tensor in text.tensors.values())
    try:
        with capped(device, room) if is_short else contextlib.nullcontext():
            ensemble = drawn.load(device, torch.float32)
        _meet(meeting, n_workers)
        texts = [f"{number} dogs on a red sofa" for number in range(N_TEXTS)]
        begun = time.monotonic()
        rounds = [scores(ensemble, texts, None) for _ in range(ROUNDS)]
        return {"scores": rounds[-1].tolist(), "span": (begun, time.monotonic())}
    except AuditError as error:
        return {"refusal": str(error)}


def _meet(meeting: Path, n_workers: int) -> None:
    """Until all have come, or too long."""
    (meeting / str(time.monotonic_ns())).touch()
    end = time.monotonic() + PATIENCE
    while len(list(meeting.iterdir())) < n_workers and time.monotonic() < end:
        time.sleep(0.01)


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("size", choices=DESIGNS)
    parser.add_argument("device", type=torch.device)
    parser.add_argument("meeting", type=Path)
    parser.add_argument("of", type=int)
    given = parser.parse_args()
    print(json.dumps(work(given.size, given.device, given.meeting, given.of)))


if __name__ == "__main__":
    _main()
