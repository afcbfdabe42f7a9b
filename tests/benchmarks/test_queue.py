"""What the line of a machine costs: a person beside an audit, three audits at once, and a dashboard that is killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emoe_audit.experts.spec import load_spec
from emoe_audit.experts.tiny import make_tiny_ensemble
from emoe_audit.line.tickets import line
from emoe_audit.line.turn import taking_turns
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.runs.store import RunStore
from emoe_audit.scoring.loading import load_engine
from emoe_audit.types import Prompt, ScoringConfig
from tests.benchmarks.record import merge_record
from tests.benchmarks.sd15 import all_cores

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(0)]
APP = Path(__file__).parents[2] / "app"
N_TRIES, N_IMAGES = 20, 320
PAUSE = 0.5
TYPED = ("a red apple", "ein roter Apfel", "une pomme rouge", "punainen omena")
PATIENCE = 600


@pytest.fixture(autouse=True)
def own_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("OMP_NUM_THREADS", str(os.cpu_count() or 1))


@contextmanager
def command(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", "emoe_audit", *words], stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


@dataclass(frozen=True)
class Tries:
    """Seconds until each answer, as somebody waits for it who types one caption after another, and of its work."""

    answers: list[float]
    work: list[float]


def tries(engine: Any) -> Tries:
    prompts = [Prompt(prompt_id=str(place), prompt=text) for place, text in enumerate(TYPED)]
    found = Tries([], [])
    for _ in range(N_TRIES):
        time.sleep(PAUSE)
        started = time.perf_counter()
        with taking_turns("try", "typed"):
            begun = time.perf_counter()
            engine.score(prompts)
            found.work.append(time.perf_counter() - begun)
        found.answers.append(time.perf_counter() - started)
    return found


def seconds_to_draw(run: Path, beside: Callable[[], Any]) -> tuple[float, Any]:
    """How long the images of a scored run take in line, and what was made beside it once it drew."""
    started = time.perf_counter()
    with command("quality", str(run), "--queued", "--quiet") as process:
        until(lambda: len(list((run / "images").glob("*"))) > 0)
        found = beside()
        assert process.poll() is None, "it drew all the time"
        assert process.wait() == 0
    return time.perf_counter() - started, found


def test_a_person_hardly_waits_for_an_audit_and_the_audit_hardly_for_the_person(tmp_path: Path) -> None:
    words = ("score", "--out", str(tmp_path / "run"), "--concepts", "10", "--n-images", str(N_IMAGES), "--quiet")
    with command(*words) as process:
        assert process.wait() == 0
    warm_up, alone = (Path(shutil.copytree(tmp_path / "run", tmp_path / name)) for name in ("warm-up", "alone"))
    with all_cores():
        engine = load_engine(load_spec("emoji-a"), ScoringConfig(device="cpu", check_pairs=0))
        tries(engine)
        idle = tries(engine)
        seconds_to_draw(warm_up, lambda: None)
        undisturbed, _ = seconds_to_draw(alone, lambda: None)
        disturbed, beside = seconds_to_draw(tmp_path / "run", lambda: tries(engine))
    p95 = [float(np.percentile(own.answers, 95)) for own in (idle, beside)]
    figures = {
        "try_p95_ratio": p95[1] / p95[0],
        "try_p95_seconds": p95[1],
        "audit_beside_tries": (disturbed - sum(beside.work)) / undisturbed,
    }
    rows = [{"tries": n, "seconds": own} for n, took in (("idle", idle), ("beside", beside)) for own in took.answers]
    merge_record("residency", "queue: tries", figures, rows)
    assert figures["try_p95_ratio"] <= 3
    assert figures["audit_beside_tries"] <= 1.15


def test_three_audits_in_line_take_no_longer_than_one_after_the_other(tmp_path: Path) -> None:
    def words(out: str) -> tuple[str, ...]:
        return ("run", "--out", str(tmp_path / out), "--concepts", "3", "--n-images", "40", "--quiet")

    with command(*words("warm-up")) as process:
        assert process.wait() == 0, "what is learned of an ensemble once is known from now on"
    started = time.perf_counter()
    for name in "abc":
        with command(*words(f"serial-{name}")) as process:
            assert process.wait() == 0
    serial = time.perf_counter() - started
    started = time.perf_counter()
    with (
        command(*words("queued-a"), "--queued") as a,
        command(*words("queued-b"), "--queued") as b,
        command(*words("queued-c"), "--queued") as c,
    ):
        assert [process.wait() for process in (a, b, c)] == [0, 0, 0]
    queued = time.perf_counter() - started
    figures = {"queued_over_serial": queued / serial}
    merge_record("residency", "queue: audits", figures, [{"serial": serial, "queued": queued}])
    assert figures["queued_over_serial"] <= 1.05


SERVER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import jobs
root, table = Path(sys.argv[2]), Path(sys.argv[3]).read_bytes()
for name in ("first", "second", "third"):
    jobs.begin(root, name, jobs.Wish(ensemble="tiny", n_images=4, n_noise=1), "table.csv", table)
print("begun", flush=True)
time.sleep(600)
"""


def test_the_line_goes_on_when_the_dashboard_is_killed(tmp_path: Path) -> None:
    root = tmp_path / "reports"
    spec = make_tiny_ensemble(root / "ensembles" / "tiny")
    table = tmp_path / "table.csv"
    default_prompts(spec).frame[["prompt", "language", "source_id"]].to_csv(table, index=False)
    names = [str(APP), str(root), str(table)]
    server = subprocess.Popen([sys.executable, "-c", SERVER, *names], stdout=subprocess.PIPE, start_new_session=True)
    assert server.stdout is not None and server.stdout.readline() == b"begun\n"
    try:
        until(lambda: len(line()) >= 2)
        states = sorted(ticket.state for ticket in line().values())
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    runs = [RunStore(root / name) for name in ("first", "second", "third")]
    until(lambda: all(run.is_started and run.is_complete for run in runs))
    until(lambda: line() == {})
    merge_record(
        "residency", "queue: server killed", {"audits_after_a_kill": len(runs)}, [{"states": " ".join(states)}]
    )
    assert states.count("works") <= 1 and states.count("waits") >= 1
