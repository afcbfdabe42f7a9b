"""The same prompts scored by one process of two threads, or by two Ray workers of one thread each.

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
from emoe_audit.types import ClusterConfig, ImageConfig, ScoringConfig

ENSEMBLE, WORKERS = "emoji-a", 2
SCORING = ScoringConfig(check_pairs=0, device="cpu")


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


def main(words: Sequence[str]) -> None:
    how, n, folder = words
    progress = Seconds()
    table = prompts(int(n))
    store = {"local": local, "ray": ray}[how](table, Path(folder), progress)
    scored = int(store.query("SELECT count(DISTINCT key) AS n FROM scores")["n"].iloc[0])
    print(json.dumps({"scored": scored, "seconds": progress.ended - progress.began, "errors": len(store.errors())}))


if __name__ == "__main__":
    main(sys.argv[1:])
