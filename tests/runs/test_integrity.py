"""A run says what was written, to the bit: every change, loss and stranger is found, and nothing honest is."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from emoe_audit.errors import StoreError, WriteError
from emoe_audit.progress import silent
from emoe_audit.runs import integrity
from emoe_audit.runs.integrity import Fault, check, verify
from emoe_audit.runs.listing import list_runs
from emoe_audit.runs.store import RunStore
from emoe_audit.types import RowError
from tests.runs.written import files_of, flip, forget_the_record, picture, shards_of, written_run
from tests.synthetic import synthetic_plan


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written_run(tmp_path_factory.mktemp("runs") / "finished").path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run of its own."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def faults(run: Path) -> dict[str, str]:
    return {fault.path: fault.kind for fault in verify(run).faults}


def test_a_finished_run_is_as_written_and_opens(run: Path) -> None:
    found = verify(run)
    assert found.to_text() == f"{len(files_of(run))} files, all as written"
    assert found.complete
    RunStore.open(run)


def test_the_table_holds_size_and_hash_of_every_file_and_the_manifest_that_of_the_table(run: Path) -> None:
    rows = {row["path"]: (row["bytes"], row["sha256"]) for row in pq.read_table(run / "files.parquet").to_pylist()}
    contents = {name: (run / name).read_bytes() for name in files_of(run)}
    table = contents.pop("files.parquet")
    assert json.loads(contents.pop("manifest.json"))["files_sha256"] == hashlib.sha256(table).hexdigest()
    assert rows == {name: (len(own), hashlib.sha256(own).hexdigest()) for name, own in contents.items()}


def test_one_bit_in_any_file_is_noticed(run: Path) -> None:
    rng = np.random.default_rng(0)
    for name in files_of(run):
        bit = int(rng.integers(8 * (run / name).stat().st_size))
        flip(run / name, bit)
        assert verify(run).faults, (name, bit)
        flip(run / name, bit)
    assert verify(run).faults == ()


def test_every_bit_of_the_manifest_is_held(run: Path) -> None:
    for bit in range(0, 8 * (run / "manifest.json").stat().st_size, 7):
        flip(run / "manifest.json", bit)
        assert verify(run).faults, bit
        flip(run / "manifest.json", bit)


def test_what_was_changed_is_missing_or_was_not_written_is_named(run: Path) -> None:
    image, other = (name for name in files_of(run) if name.startswith("images/") and name[-5] in "12")
    (run / image).write_bytes((run / image).read_bytes()[:100])
    (run / other).unlink()
    (run / "scores" / "part-000001.parquet").write_bytes(b"more")
    (run / "notes.txt").write_text("mine")
    assert faults(run) == {
        image: "changed",
        other: "missing",
        "scores/part-000001.parquet": "unknown",
        "notes.txt": "unknown",
    }


def test_a_name_that_would_write_to_the_terminal_is_shown_in_ascii(run: Path) -> None:
    (run / "a\x1b[2J\nb").write_text("")
    assert verify(run).to_text().startswith("unknown: 'a\\x1b[2J\\nb'\n")


def test_a_link_is_followed_nowhere(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    (run / "errors.jsonl").unlink()
    (run / "errors.jsonl").symlink_to(copy / "errors.jsonl")
    shutil.rmtree(run / "quality")
    (run / "quality").symlink_to(copy / "quality")
    (run / "loop").symlink_to(run)
    assert faults(run) == {
        "errors.jsonl": "changed",
        "quality": "unknown",
        "quality/part-000000.parquet": "missing",
        "loop": "unknown",
    }


def test_a_pipe_in_a_files_place_is_not_waited_for(run: Path) -> None:
    (run / "report.html").unlink()
    os.mkfifo(run / "report.html")
    assert faults(run) == {"report.html": "changed"}


def test_names_that_lead_out_of_the_folder_are_no_files_of_it(run: Path) -> None:
    (run / "files.jsonl").write_text(json.dumps({"path": "../outside", "state": {"bytes": 1, "sha256": "0"}}) + "\n")
    assert faults(run) == {}


@pytest.mark.parametrize("name", ["manifest.json", "files.parquet"])
def test_without_a_part_of_the_record_nothing_is_believed(run: Path, name: str) -> None:
    (run / name).write_bytes(b"{}")
    assert name in faults(run)
    with pytest.raises(StoreError, match=r"verify-run|not a readable manifest"):
        RunStore.open(run).manifest()


def reseal(run: Path) -> None:
    """Make the manifest stand behind the table of files as it lies there, as somebody who alters a run would."""
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["files_sha256"] = hashlib.sha256((run / "files.parquet").read_bytes()).hexdigest()
    (run / "manifest.json").write_text(json.dumps(manifest, ensure_ascii=False, indent=2))


def test_a_record_that_names_other_columns_is_refused(run: Path) -> None:
    pd.DataFrame({"path": ["a"]}).to_parquet(run / "files.parquet")
    reseal(run)
    with pytest.raises(StoreError, match="not a table of files"):
        verify(run)


def test_a_record_whose_foot_is_whole_and_whose_pages_are_torn_is_refused(run: Path) -> None:
    content = (run / "files.parquet").read_bytes()
    (run / "files.parquet").write_bytes(content[:4] + bytes(200) + content[204:])
    assert pq.ParquetFile(run / "files.parquet").metadata.num_rows > 0
    reseal(run)
    for look in (verify, RunStore.open):
        with pytest.raises(StoreError, match=r"files\.parquet: not a readable Parquet file"):
            look(run)


def test_a_run_of_before_opens_and_says_that_it_has_no_record(run: Path) -> None:
    forget_the_record(run)
    RunStore.open(run)
    with pytest.raises(StoreError, match="has no record of its files, as runs of earlier versions have none"):
        verify(run)


def test_a_command_on_a_run_of_before_makes_no_record_that_nobody_can_vouch_for(run: Path) -> None:
    forget_the_record(run)
    store = RunStore.open(run)
    with store.locked():
        store.write_analysis("groups", pd.DataFrame({"by": ["x"]}))
    assert not {"files.parquet", "files.jsonl"} & set(files_of(run))


def test_an_unfinished_run_is_held_too(tmp_path: Path) -> None:
    run = written_run(tmp_path / "run", finished=False).path
    assert verify(run).to_text() == f"{len(files_of(run)) - 1} files, all as written; the run is not finished"
    shard = shards_of(run, "scores")[1]
    flip(shard, 1000)
    (run / "prompts" / "part-000000.parquet").unlink()
    assert faults(run) == {f"scores/{shard.name}": "changed", "prompts/part-000000.parquet": "missing"}


def test_a_folder_without_a_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no run here \(no plan.json\)"):
        verify(tmp_path)


# on opening


@pytest.mark.parametrize(
    "hurt",
    [
        lambda run: flip(run / "analysis" / "groups.parquet", 99),
        lambda run: flip(run / "errors.jsonl", 8 * 30),
        lambda run: flip(run / "files.parquet", 99),
        lambda run: (run / "report.html").unlink(),
        lambda run: (run / "scores" / "part-000000.parquet").write_bytes(b"PAR1"),
        lambda run: cut(next((run / "images").rglob("*.png"))),
        lambda run: (run / "scores" / "part-000009.parquet").write_bytes(b"PAR1"),
    ],
)
def test_a_damaged_run_is_not_opened_and_the_message_says_how_to_see_more(
    run: Path, hurt: Callable[[Path], object]
) -> None:
    hurt(run)
    with pytest.raises(
        StoreError, match=r"the run is not what was written; `emoe-audit verify-run \S+run` names every"
    ):
        RunStore.open(run)
    assert [store.path for store in list_runs(run.parent)] == [run], "it is listed all the same"


def test_files_beyond_the_sample_are_not_read_on_opening(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flip(run / "scores" / "part-000000.parquet", 1000)
    monkeypatch.setattr(integrity, "SAMPLE", 2000)
    RunStore.open(run)
    assert faults(run) == {"scores/part-000000.parquet": "changed"}


@pytest.mark.slow
def test_opening_costs_little(tmp_path: Path) -> None:
    """Beside what it costs to look at every byte."""
    store = RunStore.open(tmp_path / "run", plan=synthetic_plan())
    for place in range(320):
        store.write_image(f"images/{place % 100:02d}/{place:032x}.png", picture(place) + bytes(500_000))
    for place in range(25):
        store.write_analysis(f"table_{place}", pd.DataFrame({"value": np.arange(1000.0)}))
    store.finish()
    pairs = [(seconds(lambda: check(store.path)), seconds(lambda: verify(store.path))) for _ in range(5)]
    assert np.median([opened / verified for opened, verified in pairs]) < 0.2


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def test_a_run_that_changes_while_it_is_looked_at_is_looked_at_again(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer replaces a table after the record was read, and before the file is."""
    store, seen = RunStore.open(run), list[str]()

    def write_once(_stage: str, _done: int, _total: int, _beside: str = "", /) -> None:
        if not seen:
            seen.append("once")
            store.write_analysis("groups", pd.DataFrame({"by": ["x"]}))

    assert verify(run, write_once).faults == ()
    assert seen


# later commands


def change_a_table(store: RunStore) -> None:
    store.write_analysis("groups", pd.DataFrame({"by": ["region"], "group": ["150"], "mean": [0.25]}))


def add_an_error(store: RunStore) -> None:
    store.record_error(RowError(stage="image", message="again", prompt_id="p9"))


def bring_ratings(store: RunStore) -> None:
    store.write_analysis("ratings", pd.DataFrame({"prompt_id": ["s0000000-en"], "liking": [1.0], "n_liking": [1]}))


def write_the_report(store: RunStore) -> None:
    store.write_page("report.html", "<p>0.25</p>")


def keep_a_model(store: RunStore) -> None:
    (store.path / "abstain").mkdir()
    (store.path / "abstain" / "model.json").write_text("{}")
    store.take(store.path / "abstain")


def write_shards_and_compact(store: RunStore) -> None:
    frame = pd.DataFrame({"key": ["f" * 32], "source_id": "s", "clip_cosine": [0.5]})
    store.append("quality", frame)
    store.compact("quality")


LATER = [change_a_table, add_an_error, bring_ratings, write_the_report, keep_a_model, write_shards_and_compact]


@pytest.mark.parametrize("command", LATER)
def test_a_command_that_changes_a_finished_run_vouches_for_what_it_wrote_and_nothing_else(
    run: Path, command: Callable[[RunStore], None]
) -> None:
    scores = run / "scores" / "part-000000.parquet"
    flip(scores, 8 * scores.stat().st_size // 2)
    store = RunStore.open(run, mending=True)
    with store.locked():
        command(store)
    assert faults(run) == {"scores/part-000000.parquet": "changed"}
    assert not (run / "files.jsonl").exists()
    flip(scores, 8 * scores.stat().st_size // 2)
    assert faults(run) == {}


def test_damaged_shards_are_not_put_into_one(tmp_path: Path) -> None:
    store = written_run(tmp_path / "run", finished=False)
    shard = shards_of(store.path, "readings")[1]
    flip(shard, 900)
    with pytest.raises(StoreError, match=rf"{shard.name}: not as it was written"):
        store.compact("readings")


def test_errors_are_not_added_to_a_damaged_file(run: Path) -> None:
    flip(run / "errors.jsonl", 8 * 30)
    with pytest.raises(StoreError, match=r"errors\.jsonl: not as it was written"):
        add_an_error(RunStore.open(run, mending=True))


def test_a_damaged_record_is_not_sealed_again(run: Path) -> None:
    flip(run / "files.parquet", 99)
    store = RunStore.open(run, mending=True)
    with pytest.raises(StoreError, match=r"files\.parquet: not as it was written"), store.locked():
        change_a_table(store)
    assert faults(run) == {"files.parquet": "changed"}


def test_a_write_that_fails_leaves_the_record_of_what_is_there(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RunStore.open(run)
    with store.locked():
        with monkeypatch.context() as patch, pytest.raises(WriteError, match="full"):
            patch.setattr(Path, "replace", full_disk)
            change_a_table(store)
        bring_ratings(store)
    assert faults(run) == {}


def full_disk(*_: object) -> None:
    raise OSError("the disk is full")


def test_a_line_of_the_journal_that_cannot_be_read_vouches_for_nothing(tmp_path: Path) -> None:
    run = written_run(tmp_path / "run", finished=False).path
    lines = (run / "files.jsonl").read_text().splitlines()
    place = next(place for place, line in enumerate(lines) if "analysis/groups" in line)
    lines[place] = lines[place][:-9]
    (run / "files.jsonl").write_text("\n".join(lines) + '\n{"path": "sco')
    assert faults(run) == {"analysis/groups.parquet": "unknown"}
    add_an_error(RunStore.open(run))
    assert faults(run) == {"analysis/groups.parquet": "unknown"}, "a torn end takes no other line with it"


def test_faults_are_plain_values(run: Path) -> None:
    (run / "report.html").unlink()
    found = verify(run, silent)
    assert found.faults == (Fault(path="report.html", kind="missing"),)
    assert json.loads(json.dumps(found.to_json()))["faults"] == [{"path": "report.html", "kind": "missing"}]


def test_a_run_that_is_named_from_the_folder_above_is_finished_and_held_like_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = written_run(Path("run")).path
    assert verify(run).faults == verify(tmp_path / "run").faults == ()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with RunStore.open(Path("link")).locked():
        RunStore.open(Path("link")).write_analysis("gaps", pd.DataFrame({"by": ["language"]}))
    assert verify(run).faults == ()
