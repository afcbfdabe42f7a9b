"""On a real Ray cluster, of nodes on this machine: an audit is that of one process, whatever becomes of the nodes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from emoe_audit.audit import start_run
from emoe_audit.cluster import roster
from emoe_audit.cluster.crew import hired
from emoe_audit.cluster.engine import ClusterEngine
from emoe_audit.errors import AuditError, MissingPackageError, StoreError
from emoe_audit.progress import Progress, silent
from emoe_audit.prompts.table import PromptTable
from emoe_audit.runs.integrity import verify
from emoe_audit.runs.store import RunStore
from emoe_audit.types import ClusterConfig, EnsembleSpec
from tests.cluster.machines import Machines, machines
from tests.cluster.stubs import Length, Load
from tests.cluster.within import NO_IMAGES, SCORING, many_prompts
from tests.processes import invoke, running, wait_for_lines

ROWS = "SELECT key, disagreement, reading FROM scores JOIN readings USING (key) ORDER BY key"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Machines]:
    with machines() as own:
        yield own


@pytest.fixture
def table(tiny_spec: EnsembleSpec) -> PromptTable:
    return many_prompts(tiny_spec)


@pytest.fixture
def by(
    cluster: Machines, table: PromptTable, tiny_spec: EnsembleSpec, tmp_path: Path
) -> Callable[[Load, Progress], RunStore]:
    """Does the run on that cluster."""

    def work(load: Load, progress: Progress = silent) -> RunStore:
        out = tmp_path / "run"
        with hired(ClusterConfig(address=cluster.address, workers=2), out) as crew:
            assert crew is not None
            engine = ClusterEngine(crew, load, SCORING)
            return start_run(table, tiny_spec, out, SCORING, NO_IMAGES, engine=engine, progress=progress)

    return work


def plain(table: PromptTable, spec: EnsembleSpec, out: Path) -> pd.DataFrame:
    return start_run(table, spec, out, SCORING, NO_IMAGES, engine=Length(Load())).query(ROWS)


@pytest.mark.slow
def test_nodes_that_are_killed_cost_no_row_and_none_stands_twice(
    cluster: Machines, by: Callable[..., RunStore], table: PromptTable, tiny_spec: EnsembleSpec, tmp_path: Path
) -> None:
    cluster.be(2)
    before = cluster.kills

    def killing(_stage: str, done: int, total: int, _beside: str = "", /) -> None:
        due = before + sum(done > share * total for share in (0, 0.3, 0.6))
        if cluster.kills < due:
            cluster.kill()
            if cluster.kills != before + 2:
                cluster.add()

    store = by(Load(seconds=0.01), killing)
    assert cluster.kills == before + 3
    assert store.query(ROWS).equals(plain(table, tiny_spec, tmp_path / "plain"))
    assert sum(len(pd.read_parquet(file)) for file in (store.path / "scores").glob("*.parquet")) == len(
        store.query(ROWS)
    )
    assert store.errors() == []
    assert verify(store.path).faults == ()
    assert list((store.path / "shares").iterdir()) == []


@pytest.mark.benchmark
def test_a_row_that_kills_its_process_is_named_and_everything_else_is_done(
    cluster: Machines, by: Callable[..., RunStore], table: PromptTable, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster.be(2)
    deadly = table.frame.iloc[40]
    store = by(Load(kills=frozenset({deadly["prompt"]})))
    (error,) = store.errors()
    assert error.prompt_id == deadly["prompt_id"]
    assert "3 workers were lost while each worked on this row alone; the last: ActorDiedError" in error.message
    assert len(store.query(ROWS)) == table.frame["prompt"].nunique() - 1
    assert capfd.readouterr().out == "", "what Ray says of it would stand among the results"


@pytest.mark.benchmark
def test_a_run_whose_nodes_all_go_says_so_and_goes_on_later(
    cluster: Machines,
    by: Callable[..., RunStore],
    table: PromptTable,
    tiny_spec: EnsembleSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(roster, "NOBODY", 6.0)
    cluster.be(2)
    gone: list[bool] = []

    def killing(_stage: str, done: int, _total: int, _beside: str = "", /) -> None:
        if done and not gone:
            gone.append(True)
            cluster.be(0)

    with pytest.raises(StoreError, match="Nothing that was computed is lost: see `ray status`"):
        by(Load(seconds=0.01), killing)
    cluster.be(1)
    assert by(Load()).query(ROWS).equals(plain(table, tiny_spec, tmp_path / "plain"))


@pytest.mark.benchmark
def test_what_a_killed_process_had_its_workers_make_is_kept_and_the_rest_is_made_by_any_other(
    cluster: Machines, table: PromptTable, tiny_spec: EnsembleSpec, tmp_path: Path
) -> None:
    cluster.be(2)
    out = tmp_path / "run"
    with running(slowly, cluster.address, tiny_spec, out) as (process, _, _):
        wait_for_lines(out / "files.jsonl", 2, "scores/")
        process.kill()
        process.join()
    assert list((out / "shares").glob("crew-*/worker-*"))
    rest = Length(Load())
    found = start_run(table, tiny_spec, out, SCORING, NO_IMAGES, engine=rest).query(ROWS)
    assert found.equals(plain(table, tiny_spec, tmp_path / "plain"))
    assert 0 < len(rest.scored) < len(found)
    assert list((out / "shares").iterdir()) == []


@pytest.mark.benchmark
def test_a_head_that_goes_ends_the_run_within_a_minute_with_what_to_do(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    with machines() as own, running(says_why, own.address, tiny_spec, tmp_path / "run") as (process, out, _):
        own.add()
        wait_for_lines(tmp_path / "run" / "files.jsonl", 1, "scores/")
        own.behead()
        process.join(60)
        assert not process.is_alive()
        assert "is gone. Nothing that was computed is lost: start it again" in out.read_text()


def says_why(address: str, spec: EnsembleSpec, out: Path) -> None:
    while True:
        try:
            slowly(address, spec, out, 0.5)
        except StoreError as error:
            print(error)
            break
        except AuditError:  # the first machine is not there yet
            time.sleep(0.2)


def slowly(address: str, spec: EnsembleSpec, out: Path, seconds: float = 0.1) -> None:
    with hired(ClusterConfig(address=address, workers=2), out) as crew:
        assert crew is not None
        engine = ClusterEngine(crew, Load(seconds=seconds), SCORING)
        start_run(many_prompts(spec), spec, out, SCORING, NO_IMAGES, engine=engine)


@pytest.mark.slow
def test_what_has_no_room_is_said_before_anything_is_written(cluster: Machines, tmp_path: Path) -> None:
    cluster.be(1)
    told = ClusterConfig(address=cluster.address, gpus_per_worker=0.5)
    with (
        pytest.raises(AuditError, match=r"no room for a worker with 1 CPU and 0\.5 GPUs: it has \d machines with"),
        hired(told, tmp_path / "run"),
    ):
        pass
    assert not (tmp_path / "run").exists()


@pytest.mark.benchmark
def test_an_audit_by_two_workers_is_that_of_one_process(
    cluster: Machines, tiny_spec: EnsembleSpec, tmp_path: Path
) -> None:
    cluster.be(2)
    words = ["run", "--ensemble", str(Path(tiny_spec.base.source).parent), "--device", "cpu", "--check", "again"]
    words += ["--n-images", "8", "--n-noise", "1", "--check-pairs", "1"]
    done = invoke(*words, "--out", str(tmp_path / "ours"), "--ray", cluster.address, "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert invoke(*words, "--out", str(tmp_path / "plain"), "--quiet").returncode == 0
    ours, expected = (RunStore.open(tmp_path / name) for name in ("ours", "plain"))
    for sql in ("SELECT * FROM results ORDER BY prompt_id, source_id", "SELECT * FROM validity ORDER BY ALL"):
        pd.testing.assert_frame_equal(ours.query(sql), expected.query(sql), rtol=1e-6, atol=1e-6)
    images = {path.relative_to(ours.path): path.read_bytes() for path in ours.path.rglob("*.png")}
    assert len(images) == 8
    assert images == {path.relative_to(expected.path): path.read_bytes() for path in expected.path.rglob("*.png")}
    assert "images: 8 of 8" in done.stderr and ", 2 workers" in done.stderr
    assert done.stdout.splitlines()[0] == f"path: {tmp_path / 'ours'}"
    assert np.asarray(Image.open(ours.path / next(iter(images)))).std() > 0


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", "there is no Ray cluster at '127.0.0.1:1'. Start one by `ray start --head`"),
        ("127.0.0.1:99999", "there is no Ray cluster at '127.0.0.1:99999'"),
        ("elsewhere", "'elsewhere' is no address of a Ray cluster: give HOST:PORT of its head, or auto"),
        ("ray://head:10001", "is no address of a Ray cluster"),
    ],
)
def test_where_there_is_no_cluster_it_is_said_at_once(address: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(AuditError, match=words), hired(ClusterConfig(address=address), tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()


def test_without_ray_the_command_that_installs_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(MissingPackageError, match=r"pip install 'emoe-audit\[ray\]'"),
        hired(ClusterConfig(), tmp_path / "run"),
    ):
        pass
    assert not (tmp_path / "run").exists()
