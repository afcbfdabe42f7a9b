"""A cluster within this process: its workers are real ones that write real files, and die as a test says."""

from __future__ import annotations

import importlib.metadata
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from emoe_audit.audit import start_run
from emoe_audit.cluster.crew import Crew, crew_folder
from emoe_audit.cluster.engine import ClusterEngine
from emoe_audit.cluster.pool import News
from emoe_audit.cluster.roster import Roster
from emoe_audit.cluster.worker import Worker
from emoe_audit.progress import Progress, silent
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.prompts.table import PromptTable, table_of
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.hands import Job
from emoe_audit.types import EnsembleSpec, ImageConfig, ScoringConfig
from tests.cluster.simulated import Simulated
from tests.cluster.stubs import Load

VERSION = importlib.metadata.version("emoe-audit")
NO_IMAGES = ImageConfig(n_images=0)
SCORING = ScoringConfig(n_noise=1, device="cpu", dtype="float32", check_pairs=0)


@dataclass
class Within(Simulated):
    """See `Simulated`; a worker that dies does so when it has written what it was asked for, and not said so."""

    crew: Path = Path()
    own: dict[str, Worker] = field(default_factory=dict)
    n_written: int = 0
    """Chunks that were written, whoever got to know of it."""

    def start(self) -> str:
        name = super().start()
        self.own[name] = Worker(str(self.crew), name, uses_gpu=True)
        self.sees = lambda worker: self.own[worker].look(VERSION)
        return name

    def take_up(self, worker: str, job: Job) -> None:
        run = RunStore(self.crew.parents[1])
        plan = run.plan() if run.is_started else None
        said = self.own[worker].take_up(pickle.loads(pickle.dumps(job)), plan)
        self.events.append(News(kind="ready", worker=worker, said=said))

    def names(self, rows: Sequence[Any]) -> Sequence[Any]:
        return [row["prompt"] for row in rows if isinstance(row, dict)]

    def answer(self, worker: str, rows: Sequence[Any]) -> Any:
        self.n_written += 1
        return self.own[worker].work(rows)


def many_prompts(spec: EnsembleSpec, times: int = 8) -> PromptTable:
    """The captions of an ensemble, with a number behind them so many times."""
    table = default_prompts(spec)
    frames = [
        table.frame.assign(**{name: table.frame[name] + f" {number}" for name in ("prompt_id", "source_id", "prompt")})
        for number in range(times)
    ]
    return table_of(pd.concat(frames, ignore_index=True), table.source)


@contextmanager
def crew_of(pool: Within, out: Path, wanted: int | None = None) -> Iterator[Crew]:
    """Workers for the run in a folder."""
    with crew_folder(out) as pool.crew:
        roster = Roster(pool, wanted, pool.clock)
        roster.gather(5.0)
        yield Crew(pool.crew, roster)


def run_by(
    pool: Within,
    table: PromptTable,
    spec: EnsembleSpec,
    out: Path,
    load: Load | None = None,
    progress: Progress = silent,
) -> RunStore:
    """Score a run on such a cluster."""
    with crew_of(pool, out) as crew:
        engine = ClusterEngine(crew, load or Load(), SCORING)
        return start_run(table, spec, out, SCORING, NO_IMAGES, engine=engine, progress=progress)
