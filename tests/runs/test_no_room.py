"""A full disk, a file in the way, a limit on the size of files: one sentence, and a resumed run is whole."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from emoe_audit.cli.main import main
from emoe_audit.errors import AuditError, StoreError, WriteError
from emoe_audit.runs.batches import one_by_one_if_it_fails
from emoe_audit.runs.manifest import stored_dtype
from emoe_audit.runs.pending import pending
from emoe_audit.runs.store import RunStore
from emoe_audit.types import RowError
from tests.synthetic import synthetic_plan, synthetic_run

FIELD = Path(__file__).parents[1] / "field"
Fill = Callable[[int], None]


@pytest.fixture
def fill_up(monkeypatch: pytest.MonkeyPatch) -> Fill:
    """Let the disk be full from the n-th file on that is written whole."""
    synced, sync = [0], os.fsync

    def full_from(n: int) -> None:
        def fsync(file: int) -> None:
            synced[0] += 1
            if synced[0] >= n:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            sync(file)

        monkeypatch.setattr(os, "fsync", fsync)

    return full_from


def scores(*keys: str) -> pd.DataFrame:
    return pd.DataFrame({"key": list(keys), "disagreement": 1.0, "relative_disagreement": 1.0})


def everything(store: RunStore) -> None:
    """Every way in which a run is written."""
    with store.locked():
        store.write_prompts(
            [
                pd.DataFrame(
                    {name: ["a", "b"] for name in ("key", "prompt_id", "source_id", "prompt")} | {"language": "en"}
                )
            ]
        )
        for row in pending(store, "scores"):
            store.append("scores", scores(row["key"]))
        store.write_image("images/aa/a.png", b"png")
        store.write_analysis("ratings", pd.DataFrame({"prompt_id": ["a"], "stars": [4.0], "n_stars": [1]}))
        store.join()
        store.finish()


def test_wherever_the_disk_is_full_it_is_one_sentence_and_the_rest_is_done_later(
    tmp_path: Path, fill_up: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything(whole := RunStore.open(tmp_path / "whole", plan=synthetic_plan()))
    for n in range(1, 9):
        fill_up(n)
        with pytest.raises(
            WriteError, match="cannot be written: No space left on device; make room, or write elsewhere"
        ):
            everything(RunStore.open(tmp_path / f"full{n}", plan=synthetic_plan()))
        monkeypatch.undo()
        everything(resumed := RunStore.open(tmp_path / f"full{n}", plan=synthetic_plan()))
        for table in ("results", "scores", "ratings"):
            pd.testing.assert_frame_equal(
                resumed.query(f"SELECT * FROM {table} ORDER BY ALL"), whole.query(f"SELECT * FROM {table} ORDER BY ALL")
            )
        assert not list(resumed.path.rglob("*.tmp"))


LIMITED = """
import resource, sys
from pathlib import Path
import pandas as pd
from emoe_audit.errors import WriteError
from emoe_audit.runs.store import RunStore
from tests.synthetic import synthetic_frame, synthetic_plan
store = RunStore(Path(sys.argv[1]))
frame = synthetic_frame(20_000)
store.plan()
sys.dont_write_bytecode = True  # for it would be torn
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    if sys.argv[3] == "append":
        store.append("scores", frame[["key", *frame.columns[6:15]]])
    else:
        store.join()
except WriteError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["append", "join"])
def test_a_limit_on_the_size_of_files_is_one_sentence(tmp_path: Path, what: str) -> None:
    store = synthetic_run(tmp_path / "run", 20_000, n_boot=5)
    command = [sys.executable, "-c", LIMITED, str(store.path), "100000", what]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    (sentence,) = done.stdout.splitlines()
    assert "cannot be written" in sentence and ".parquet" in sentence
    assert not list(store.path.rglob("*.tmp"))
    assert len(store.query("SELECT * FROM results")) == 20_000


def test_a_full_disk_is_no_fault_of_a_row(tmp_path: Path, fill_up: Fill) -> None:
    store = RunStore.open(tmp_path / "run", plan=synthetic_plan())
    rows = [{"prompt_id": "a"}, {"prompt_id": "b"}]
    fill_up(1)

    def work(part: object) -> pd.DataFrame:
        store.write_image("images/ab/c.png", b"png")
        return pd.DataFrame()

    with pytest.raises(WriteError, match="No space left"):
        one_by_one_if_it_fails(rows, work, "image", store)
    assert store.errors() == []


def test_a_row_that_is_left_out_when_nothing_can_be_added_is_one_sentence(tmp_path: Path) -> None:
    store = RunStore.open(tmp_path / "run", plan=synthetic_plan())
    (store.path / "errors.jsonl").mkdir()
    for act in (lambda: store.record_error(RowError(stage="read", message="x")), store.clear_errors):
        with pytest.raises(WriteError, match=r"errors\.jsonl: cannot be written: .*; make room, or write elsewhere"):
            act()


def test_a_lock_where_nothing_can_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="cannot be written"), RunStore(tmp_path / "gone").locked():
        pass


@pytest.mark.parametrize("below", ["", "run", "deep/er/run"])
def test_field_out_is_a_file(tmp_path: Path, below: str) -> None:
    """Row `out-is-a-file`: said before anything is loaded, and the file is as it was."""
    afile = tmp_path / "afile"
    afile.write_bytes((FIELD / "out-is-a-file" / "afile").read_bytes())
    for ask in (lambda: stored_dtype(afile / below), lambda: RunStore.open(afile / below, plan=synthetic_plan())):
        with pytest.raises(StoreError, match="afile: a file, where the run needs a folder; choose another --out"):
            ask()
    assert afile.read_bytes() == (FIELD / "out-is-a-file" / "afile").read_bytes()


@pytest.mark.parametrize("name", ["n" * 300, "a\0b", "x/" * 3000])
def test_a_name_that_no_folder_can_have_is_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(AuditError):
        RunStore.open(tmp_path / name, plan=synthetic_plan())


def test_a_link_to_nothing_is_no_place_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to(tmp_path / "gone" / "on")
    with pytest.raises(AuditError):
        RunStore.open(tmp_path / "run", plan=synthetic_plan())


@pytest.mark.slow
@pytest.mark.parametrize("command", ["analyze", "report"])
def test_a_command_on_a_full_disk_ends_with_2(
    tmp_path: Path, fill_up: Fill, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    store = synthetic_run(tmp_path / "run", 100, n_boot=5)
    monkeypatch.setattr(sys, "argv", ["emoe-audit", command, str(store.path)])
    fill_up(1)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "cannot be written: No space left on device" in capsys.readouterr().err


def test_what_cannot_be_stored_is_one_sentence(tmp_path: Path) -> None:
    store = RunStore.open(tmp_path / "run", plan=synthetic_plan())
    for cells in (["a", 5], ["\ud800", "b"], [2**70, 1]):
        with pytest.raises(StoreError, match="prompts: a cell cannot be stored"):
            store.write_prompts([pd.DataFrame({"key": ["a", "b"], "other": cells}, dtype=object)])
