"""What is measured of runs on a Ray cluster, each in a process of its own.

The same prompts are scored by one process of two threads, or by two Ray workers of one thread each:
`python -m tests.benchmarks.cluster_runs local|ray N FOLDER` prints, as a line of JSON, what the pieces took from
the first prompt to the last, all engines having been loaded before, and how busy others kept the machine.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from emoe_audit.audit import start_run
from emoe_audit.cluster.crew import Crew, hired
from emoe_audit.cluster.engine import ClusterEngine, EngineLoader
from emoe_audit.experts.spec import load_spec
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.prompts.table import PromptTable, table_of
from emoe_audit.runs.store import RunStore
from emoe_audit.scoring.loading import load_engine
from emoe_audit.steps.images import judge_pending
from emoe_audit.types import ClusterConfig, EnsembleSpec, ImageConfig, ScoringConfig
from tests.cluster.stubs import Load
from tests.cluster.within import SCORING as STUB
from tests.cluster.within import many_prompts

ENSEMBLE, WORKERS = "emoji-a", 2
SCORING = ScoringConfig(check_pairs=0, device="cpu")
IMAGES = ImageConfig(n_images=32, num_inference_steps=1, batch_size=4, device="cpu")
PIECE = 512
"""Prompts between two looks at the clock, at least."""
TIMES = 16
"""That the captions of the tiny ensemble are scored, each time with another number behind them."""


def prompts(n: int) -> PromptTable:
    """So many of the ensemble's own captions, each text once, in all languages alike."""
    table = default_prompts(load_spec(ENSEMBLE), n_concepts=1000)
    frame = table.frame.drop_duplicates("prompt").sample(n, random_state=0).reset_index(drop=True)
    return table_of(frame, table.source)


class Paces:
    """Progress that keeps how many prompts there were at what time, and what of the machine others used by then."""

    def __init__(self) -> None:
        self.marks: list[tuple[int, float, float]] = []

    def __call__(self, stage: str, done: int, total: int, beside: str = "", /) -> None:
        if not self.marks or done >= self.marks[-1][0] + PIECE or done == total > self.marks[-1][0]:
            self.marks.append((done, time.perf_counter(), used_by_others()))

    def between(self) -> list[dict[str, float]]:
        """For each piece: prompts, seconds, and the share of all processors that others used."""
        return [
            {"prompts": d - c, "seconds": t - s, "others": (b - a) / ((t - s) * (psutil.cpu_count() or 1))}
            for (c, s, a), (d, t, b) in itertools.pairwise(self.marks)
        ]


def used_by_others() -> float:
    """Seconds of processors that were used since the machine started, but for this process and what it started."""
    busy = psutil.cpu_times()
    own = psutil.Process()
    mine = 0.0
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            mine += sum(process.cpu_times()[:2])
    return float(busy.user + busy.nice + busy.system + busy.irq + busy.softirq) - mine


def local(table: PromptTable, out: Path, progress: Paces) -> RunStore:
    engine = load_engine(load_spec(ENSEMBLE), SCORING)
    return start_run(
        table, load_spec(ENSEMBLE), out, SCORING, ImageConfig(n_images=0), engine=engine, progress=progress
    )


def ray(table: PromptTable, out: Path, progress: Paces) -> RunStore:
    spec = load_spec(ENSEMBLE)
    with hired(ClusterConfig(workers=WORKERS), out) as crew:
        assert crew is not None
        engine = ClusterEngine(crew, EngineLoader(spec=spec, scoring=SCORING), SCORING)
        until_all_have_loaded(crew, engine)
        return start_run(table, spec, out, SCORING, ImageConfig(n_images=0), engine=engine, progress=progress)


def until_all_have_loaded(crew: Crew, engine: ClusterEngine) -> None:
    """Ask one thing after the other until every worker can answer."""
    while len(crew.ready) < WORKERS:
        engine.read_texts([f"a text {time.time()}"])
        time.sleep(0.2)


def score_on(address: str, spec: EnsembleSpec, out: Path, deadly: frozenset[str]) -> None:
    """Many prompts, of which some kill their worker."""
    with hired(ClusterConfig(address=address), out) as crew:
        assert crew is not None
        engine = ClusterEngine(crew, Load(seconds=0.05, kills=deadly), STUB)
        start_run(many_prompts(spec, TIMES), spec, out, STUB, IMAGES, engine=engine)


def draw_on(address: str, out: Path) -> None:
    """What is left to be drawn and judged of a run."""
    store = RunStore.open(out)
    with hired(ClusterConfig(address=address), out) as crew, store.locked():
        judge_pending(store, hands=crew)


def main(words: Sequence[str]) -> None:
    how, n, folder = words
    progress = Paces()
    table = prompts(int(n))
    store = {"local": local, "ray": ray}[how](table, Path(folder), progress)
    scored = int(store.query("SELECT count(DISTINCT key) AS n FROM scores")["n"].iloc[0])
    print(json.dumps({"scored": scored, "errors": len(store.errors()), "pieces": progress.between()}))


if __name__ == "__main__":
    main(sys.argv[1:])
