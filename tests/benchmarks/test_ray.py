"""A Ray cluster against one process of as many threads, and against nodes that are killed at random moments."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from emoe_audit.audit import start_run
from emoe_audit.runs.store import RunStore
from emoe_audit.types import EnsembleSpec
from tests.benchmarks.cluster_runs import IMAGES, TIMES, draw_on, score_on
from tests.benchmarks.record import merge_record
from tests.cluster.machines import ROOT, Machines, machines
from tests.cluster.stubs import Length, Load
from tests.cluster.within import SCORING, many_prompts
from tests.processes import running

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(0)]
N_PROMPTS, PAIRS = 4000, 2
QUIET = 0.05
"""Of the machine that others may use in a piece that counts."""
SCORING_KILLS, DRAWING_KILLS = 30, 12
HUNG = 600
"""Seconds after which a start of a run counts as hung."""


def pieces(how: str, threads: int, folder: Path) -> list[dict[str, float]]:
    """What every piece of the prompts took, and how busy others kept the machine."""
    command = [sys.executable, "-m", "tests.benchmarks.cluster_runs", how, str(N_PROMPTS), str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    row = json.loads(done.stdout.splitlines()[-1])
    assert (row["scored"], row["errors"]) == (N_PROMPTS, 0)
    found: list[dict[str, float]] = row["pieces"]
    return found


def summed(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """Seconds and prompts of all pieces, and of those in which the machine was left to the run."""
    quiet = [own for own in found if own["others"] < QUIET]
    parts = {"": found, "quiet_": quiet}
    sums = {
        f"{of}{what}": sum(own[what] for own in part) for of, part in parts.items() for what in ("prompts", "seconds")
    }
    return sums | {"others": sum(own["others"] * own["seconds"] for own in found) / sums["seconds"]}


def test_two_workers_of_one_thread_take_as_long_as_one_process_of_two(tmp_path: Path) -> None:
    """Where others use the machine, two threads that wait for each other lose more by it than two processes do."""
    rows: list[dict[str, Any]] = []
    for pair in range(PAIRS):
        for how, threads in (("local", 2), ("ray", 1)):
            rows.append({"how": how, **summed(pieces(how, threads, tmp_path / f"{how}-{pair}"))})
    plain, ours = (scores(tmp_path / f"{how}-0") for how in ("local", "ray"))
    assert plain.index.equals(ours.index)
    difference = float((plain["disagreement"] - ours["disagreement"]).abs().max())
    took = {
        (of, how): sum(float(row[f"{of}seconds"]) for row in rows if row["how"] == how)
        / sum(float(row[f"{of}prompts"]) for row in rows if row["how"] == how)
        for of in ("", "quiet_")
        for how in ("local", "ray")
    }
    figures = {
        "ray_efficiency": took["quiet_", "local"] / took["quiet_", "ray"],
        "ray_efficiency_beside_others": took["", "local"] / took["", "ray"],
        "ray_largest_difference": difference,
    }
    merge_record("scale", "ray", figures, rows)
    assert figures["ray_efficiency"] >= 0.85
    assert difference <= 1e-6


def scores(run: Path) -> pd.DataFrame:
    return RunStore.open(run).query("SELECT key, disagreement FROM scores ORDER BY key").set_index("key")


@dataclass(kw_only=True)
class Outcome:
    """What became of a run whose nodes were killed."""

    step: str
    kills: int = 0
    starts: int = 1
    rows: int = 0
    rows_lost: int = 0
    rows_doubled: int = 0
    hung: int = 0
    named: int = 0
    """Rows that kill their worker, of which this many were named."""
    seconds: float = 0.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Machines]:
    with machines() as own:
        yield own


def under_fire(
    cluster: Machines,
    outcome: Outcome,
    rng: random.Random,
    longest: float,
    most: int,
    work: Callable[..., None],
    *args: Any,
) -> None:
    """Kill nodes at random moments while a process works; start it again, as a user would, when nobody was left."""
    started, before = time.monotonic(), cluster.kills
    cluster.be(3)
    while True:
        begun = time.monotonic()
        with running(work, cluster.address, *args) as (process, _, err):
            while process.is_alive() and time.monotonic() - begun < HUNG:
                process.join(rng.uniform(0.5, longest))
                if process.is_alive() and cluster.kills < before + most:
                    cluster.die(rng)
            outcome.hung += process.is_alive()
            said = err.read_text()
        if process.exitcode == 0 or outcome.hung:
            break
        assert "Nothing that was computed is lost" in said, said[-2000:]
        cluster.be(2)
        outcome.starts += 1
    outcome.kills, outcome.seconds = cluster.kills - before, time.monotonic() - started


def score_under_fire(cluster: Machines, spec: EnsembleSpec, folder: Path, n_keys: int, seed: int) -> Outcome:
    """Every other run holds a row that kills its worker."""
    frame = many_prompts(spec, TIMES).frame
    deadly = frozenset(frame["prompt"].sample(seed % 2, random_state=seed))
    outcome = Outcome(step="scoring")
    under_fire(cluster, outcome, random.Random(seed), 6.0, 6, score_on, spec, folder, deadly)
    store = RunStore(folder)
    named = {error.prompt_id for error in store.errors()}
    expected = set(frame.loc[frame["prompt"].isin(deadly), "prompt_id"])
    assert named <= expected, f"{named - expected} were blamed"
    outcome.named = len(named)
    count(outcome, store, "scores", n_keys - len(expected))
    return outcome


def draw_under_fire(cluster: Machines, folder: Path, seed: int) -> Outcome:
    outcome = Outcome(step="images")
    under_fire(cluster, outcome, random.Random(seed), 20.0, 6, draw_on, folder)
    store = RunStore(folder)
    count(outcome, store, "quality", IMAGES.n_images)
    pictures = {str(path.relative_to(folder)) for path in folder.rglob("*.png")}
    outcome.rows_lost += len(set(store.query("SELECT image FROM quality")["image"]) - pictures)
    return outcome


def count(outcome: Outcome, store: RunStore, table: str, expected: int) -> None:
    held = sum(len(pd.read_parquet(file)) for file in (store.path / table).glob("*.parquet"))
    outcome.rows = len(store.query(f"SELECT DISTINCT key FROM {table}"))
    outcome.rows_lost, outcome.rows_doubled = expected - outcome.rows, held - outcome.rows


def test_nodes_that_are_killed_at_random_cost_no_row(
    cluster: Machines, tiny_spec: EnsembleSpec, tmp_path: Path
) -> None:
    table, outcomes = many_prompts(tiny_spec, TIMES), list[Outcome]()
    while sum(own.kills for own in outcomes) < SCORING_KILLS:
        seed = len(outcomes)
        n_keys = table.frame[["prompt", "language"]].drop_duplicates().shape[0]
        outcomes.append(score_under_fire(cluster, tiny_spec, tmp_path / f"run-{seed}", n_keys, seed))
        print(outcomes[-1])
    while sum(own.kills for own in outcomes) < SCORING_KILLS + DRAWING_KILLS:
        folder = tmp_path / f"run-{len(outcomes)}"
        start_run(table, tiny_spec, folder, SCORING, IMAGES, engine=Length(Load()))
        outcomes.append(draw_under_fire(cluster, folder, len(outcomes)))
        print(outcomes[-1])
    figures: dict[str, float] = {
        "node_kills": sum(own.kills for own in outcomes),
        "rows_lost": sum(own.rows_lost for own in outcomes),
        "rows_doubled": sum(own.rows_doubled for own in outcomes),
        "hung": sum(own.hung for own in outcomes),
    }
    merge_record("scale", "ray kills", figures, [asdict(own) for own in outcomes])
    assert figures["node_kills"] >= 40
    assert figures["rows_lost"] == figures["rows_doubled"] == figures["hung"] == 0
    assert all(own.named == seed % 2 for seed, own in enumerate(outcomes) if own.step == "scoring")
