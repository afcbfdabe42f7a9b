"""Whatever becomes of its workers, a run on a cluster is the plain run, and any later start goes on with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import pandas as pd
import pytest

from emoe_audit.audit import start_run
from emoe_audit.cluster.crew import Crew, crew_folder
from emoe_audit.cluster.roster import Roster
from emoe_audit.errors import EnsembleError, StoreError
from emoe_audit.prompts.table import PromptTable
from emoe_audit.runs.integrity import verify
from emoe_audit.runs.lock import only_writer
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.hands import Job
from emoe_audit.types import EnsembleSpec
from tests.cluster.simulated import Simulated
from tests.cluster.stubs import Length, Load
from tests.cluster.within import NO_IMAGES, SCORING, Within, crew_of, many_prompts, run_by
from tests.runs.written import files_of

ROWS = "SELECT key, disagreement, reading FROM scores JOIN readings USING (key) ORDER BY key"


@pytest.fixture
def table(tiny_spec: EnsembleSpec) -> PromptTable:
    return many_prompts(tiny_spec)


@pytest.fixture
def plain(table: PromptTable, tiny_spec: EnsembleSpec, tmp_path: Path) -> pd.DataFrame:
    """What one process makes."""
    return start_run(table, tiny_spec, tmp_path / "plain", SCORING, NO_IMAGES, engine=Length(Load())).query(ROWS)


@pytest.fixture
def by(table: PromptTable, tiny_spec: EnsembleSpec, tmp_path: Path) -> Callable[..., RunStore]:
    """Does the run on a cluster."""
    return lambda pool, **how: run_by(pool, table, tiny_spec, tmp_path / "run", **how)


def n_rows(store: RunStore) -> int:
    """Rows in the files, where a key that stands twice counts twice."""
    return sum(len(pd.read_parquet(file)) for file in (store.path / "scores").glob("*.parquet"))


def test_a_run_on_a_cluster_is_the_plain_run(by: Callable[..., RunStore], plain: pd.DataFrame) -> None:
    store = by(Within(places=3))
    assert store.query(ROWS).equals(plain)
    assert len(list((store.path / "scores").glob("*.parquet"))) > 1, "of several chunks"
    assert verify(store.path).faults == ()
    assert list((store.path / "shares").iterdir()) == []


@pytest.mark.parametrize("death", ["worker", "machine"])
def test_what_a_lost_worker_wrote_and_did_not_say_is_made_again_and_stands_once(
    by: Callable[..., RunStore], plain: pd.DataFrame, death: str
) -> None:
    deaths = iter(["", death, "", death])
    pool = Within(dies=lambda *_: next(deaths, ""))
    store = by(pool)
    assert len(pool.lost_over) == 2
    assert pool.n_written > len(list((store.path / "scores").glob("*.parquet")))
    assert store.query(ROWS).equals(plain)
    assert n_rows(store) == len(plain)
    assert store.errors() == []


def test_a_bad_row_is_a_row_error_and_costs_no_worker(
    by: Callable[..., RunStore], table: PromptTable, plain: pd.DataFrame
) -> None:
    bad = table.frame.iloc[5]
    pool = Within()
    store = by(pool, load=Load(fails=frozenset({bad["prompt"]})))
    (error,) = store.errors()
    assert (error.stage, error.message) == ("score", "ValueError: no")
    assert error.prompt_id in table.frame.loc[table.frame["prompt"] == bad["prompt"], "prompt_id"].to_list()
    assert len(store.query(ROWS)) == len(plain) - 1
    assert pool.dismissed == []


def test_a_row_that_kills_workers_is_named_and_everything_else_is_done(
    by: Callable[..., RunStore], table: PromptTable, plain: pd.DataFrame
) -> None:
    deadly = table.frame.iloc[5]
    store = by(Within(kills=frozenset({deadly["prompt"]})))
    (error,) = store.errors()
    assert error.prompt_id == deadly["prompt_id"]
    assert "3 workers were lost while each worked on this row alone" in error.message
    assert n_rows(store) == len(store.query(ROWS)) == len(plain) - 1


def test_a_run_that_nobody_is_left_for_goes_on_in_one_process(
    by: Callable[..., RunStore], table: PromptTable, tiny_spec: EnsembleSpec, plain: pd.DataFrame
) -> None:
    def all_go(step: int, _worker: str) -> str:
        pool.places = 0 if pool.n_written > 3 else 2
        return "" if pool.places else "machine"

    pool = Within(dies=all_go)
    with pytest.raises(StoreError, match="Nothing that was computed is lost"):
        by(pool)
    run = pool.crew.parents[1]
    done = n_rows(RunStore(run))
    assert 0 < done < len(plain)
    rest = Length(Load())
    assert start_run(table, tiny_spec, run, SCORING, NO_IMAGES, engine=rest).query(ROWS).equals(plain)
    assert len(rest.scored) == len(plain) - done


def test_what_the_workers_of_a_killed_process_left_is_removed_by_the_next_start(
    by: Callable[..., RunStore], table: PromptTable, tiny_spec: EnsembleSpec, plain: pd.DataFrame
) -> None:
    pool = Within()
    store = by(pool)
    left = store.path / "shares" / "crew-0123456789abcdef" / "worker-1"
    shutil.copytree(store.path / "scores", left / "scores")
    start_run(table, tiny_spec, store.path, SCORING, NO_IMAGES, engine=Length(Load()))
    assert list((store.path / "shares").iterdir()) == []
    assert store.query(ROWS).equals(plain)


def test_the_workers_of_a_process_that_lives_are_left_alone(
    by: Callable[..., RunStore], table: PromptTable, tiny_spec: EnsembleSpec
) -> None:
    store = by(Within())
    with crew_folder(store.path) as theirs:
        (theirs / "worker-1").mkdir()
        start_run(table, tiny_spec, store.path, SCORING, NO_IMAGES, engine=Length(Load()))
        assert (theirs / "worker-1").is_dir()
    assert not theirs.exists()


@pytest.mark.parametrize("to", ["elsewhere", "file"])
def test_a_link_or_a_file_in_the_place_of_workers_is_refused_and_nothing_is_touched(
    by: Callable[..., RunStore], table: PromptTable, tiny_spec: EnsembleSpec, tmp_path: Path, to: str
) -> None:
    store = by(Within())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.tmp").write_text("dear")
    place = store.path / "shares" / "crew-0123456789abcdef"
    place.write_text("dear") if to == "file" else place.symlink_to(tmp_path / to)
    with pytest.raises(StoreError, match="a link or a file, where a folder of the run belongs"):
        start_run(table, tiny_spec, store.path, SCORING, NO_IMAGES, engine=Length(Load()))
    assert files_of(tmp_path / "elsewhere") == ["mine.tmp"]


def test_a_worker_that_sees_another_folder_stops_the_run_before_anything_is_written(
    by: Callable[..., RunStore], tmp_path: Path
) -> None:
    class Elsewhere(Within):
        def start(self) -> str:
            crew, self.crew = self.crew, tmp_path / "other" / "run" / "shares" / self.crew.name
            name = super().start()
            self.crew = crew
            return name

    with pytest.raises(StoreError, match=r"other/run: the worker on .* does not see the run in this folder"):
        by(Elsewhere())
    assert not (tmp_path / "run").exists()


def test_weights_that_are_not_the_same_everywhere_stop_the_run(by: Callable[..., RunStore]) -> None:
    pool = Within()
    load = {"worker-1": Load(), "worker-2": Load(weights="f" * 64)}

    def mixed(worker: str, job: Job) -> None:
        take_up(worker, replace(job, load=load[worker]))  # type: ignore[type-var]

    take_up, pool.take_up = pool.take_up, mixed  # type: ignore[method-assign]
    with pytest.raises(EnsembleError, match="do not hold the same weights"):
        by(pool)


def test_a_run_that_another_process_writes_to_is_told_before_anybody_loads_anything(
    by: Callable[..., RunStore],
) -> None:
    store, pool = by(Within()), Within()
    with only_writer(store.path), pytest.raises(StoreError, match="is writing to this run"):
        by(pool)
    assert pool.started == []


def test_what_lies_where_the_run_would_be_stays_when_nothing_begins(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "made")
    for out in (tmp_path / "link", tmp_path / "new"):
        with pytest.raises(KeyboardInterrupt), crew_folder(out) as folder:
            assert folder.is_dir()
            shutil.rmtree(folder)
            raise KeyboardInterrupt
    assert (tmp_path / "made").is_dir() and list((tmp_path / "made").iterdir()) == []
    assert not (tmp_path / "new").exists()


def test_progress_says_who_works_and_how_many_rows_are_left_out(
    by: Callable[..., RunStore], table: PromptTable
) -> None:
    told: list[tuple[str, int, int, str]] = []
    deaths = iter(["", "worker"])
    pool = Within(dies=lambda *_: next(deaths, ""))
    bad = frozenset({table.frame["prompt"].iloc[5]})
    by(pool, load=Load(fails=bad), progress=lambda *words: told.append((*words, "")[:4]))  # type: ignore[arg-type]
    assert told[0] == ("scoring", 0, told[0][2], "")
    assert told[-1] == ("scoring", told[0][2], told[0][2], "2 workers, 1 row left out")
    assert "1 worker" in {beside.split(",")[0] for *_, beside in told}
    assert [done for _, done, _, _ in told] == sorted(done for _, done, _, _ in told)


@pytest.mark.parametrize(
    ("workers", "left", "size"), [(2, 4000, 128), (1, 4000, 256), (2, 10, 16), (100, 10_000_000, 256), (2, 0, 16)]
)
def test_chunks_are_small_where_little_is_left_for_many(workers: int, left: int, size: int, tmp_path: Path) -> None:
    first = next(Crew(tmp_path, Roster(Simulated(), workers)).parts(repeat({"key": ""}), left))
    assert len(first) == size


def test_a_run_that_never_begins_leaves_nothing_behind(tmp_path: Path) -> None:
    with crew_of(Within(), tmp_path / "run"):
        assert (tmp_path / "run" / "shares").is_dir()
    assert not (tmp_path / "run").exists()


def test_no_crew_is_made_for_what_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("dear")
    with pytest.raises(StoreError, match="not empty and not a run"), crew_of(Within(), tmp_path):
        pass
    assert files_of(tmp_path) == ["mine.txt"]
