"""What is measured of runs on a Ray cluster, each in a process of its own.

The same prompts are scored by one process of two threads, or by two Ray workers of one thread each:
`python -m tests.benchmarks.cluster_runs local|ray N FOLDER` prints, as a line of JSON, the seconds from the first
prompt to the last, all engines having been loaded before.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from emoe_audit.audit import start_run
from emoe_audit.cluster.crew import Crew, hired
from emoe_audit.cluster.engine import ClusterEngine, EngineLoader
from emoe_audit.experts.spec import load_spec
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.prompts.table import PromptTable
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
TIMES = 16
"""That the captions of the tiny ensemble are scored, each time with another number behind them."""


def prompts(n: int) -> PromptTable:
    """So many of the ensemble's own captions, each text once, in all languages alike."""
    table = default_prompts(load_spec(ENSEMBLE), n_concepts=1000)
    frame = table.frame.drop_duplicates("prompt").sample(n, random_state=0).reset_index(drop=True)
    return replace(table, frame=frame)


class Seconds:
    """Progress that keeps when scoring began and ended."""

    def __init__(self) -> None:
        self.began = self.ended = 0.0

    def __call__(self, stage: str, done: int, total: int, beside: str = "", /) -> None:
        self.began = self.began or time.perf_counter()
        self.ended = time.perf_counter() if done == total else self.ended


def local(table: PromptTable, out: Path, progress: Seconds) -> RunStore:
    engine = load_engine(load_spec(ENSEMBLE), SCORING)
    return start_run(
        table, load_spec(ENSEMBLE), out, SCORING, ImageConfig(n_images=0), engine=engine, progress=progress
    )


def ray(table: PromptTable, out: Path, progress: Seconds) -> RunStore:
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
    progress = Seconds()
    table = prompts(int(n))
    store = {"local": local, "ray": ray}[how](table, Path(folder), progress)
    scored = int(store.query("SELECT count(DISTINCT key) AS n FROM scores")["n"].iloc[0])
    print(json.dumps({"scored": scored, "seconds": progress.ended - progress.began, "errors": len(store.errors())}))


if __name__ == "__main__":
    main(sys.argv[1:])
