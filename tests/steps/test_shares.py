"""Several processes at one run: whatever they do, and whenever one is killed, it becomes the run of a single one."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Semaphore

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from emoe_audit.audit import score_share, start_run
from emoe_audit.errors import StoreError
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.prompts.table import PromptTable
from emoe_audit.runs.integrity import verify
from emoe_audit.runs.lock import one_of_several
from emoe_audit.runs.own import is_own
from emoe_audit.runs.shares import Share
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.shares import own_share, take_shares
from emoe_audit.types import EnsembleSpec, ImageConfig, Prompt, ScoringConfig
from tests.processes import command_line, invoke, running, wait_for_lines
from tests.runs.written import files_of, forget_the_record

NO_IMAGES = ImageConfig(n_images=0)
SCORING = ScoringConfig(n_noise=1, device="cpu", dtype="float32", check_pairs=0)
SHARES = [Share(number=number, of=3) for number in (1, 2, 3)]


class Length:
    """An engine that scores a prompt by its length, and cannot score some."""

    ensemble_hash = "e" * 64

    def __init__(self, fails: frozenset[str] = frozenset()) -> None:
        self.fails, self.scored = fails, list[str]()

    def score(self, prompts: Sequence[Prompt]) -> pd.DataFrame:
        if not self.fails.isdisjoint(prompt.prompt for prompt in prompts):
            raise ValueError("no")
        self.scored += [prompt.prompt for prompt in prompts]
        lengths = [float(len(prompt.prompt)) for prompt in prompts]
        ids = [prompt.prompt_id for prompt in prompts]
        return pd.DataFrame({"prompt_id": ids, "disagreement": lengths, "relative_disagreement": lengths})


class Reading(Length):
    """The same, with a reading of each prompt."""

    def score(self, prompts: Sequence[Prompt]) -> pd.DataFrame:
        return super().score(prompts).assign(reading=[np.ones(8)] * len(prompts))


@pytest.fixture
def table(tiny_spec: EnsembleSpec) -> PromptTable:
    return default_prompts(tiny_spec)


@pytest.fixture
def share(table: PromptTable, tiny_spec: EnsembleSpec, tmp_path: Path) -> Callable[..., RunStore]:
    """Does a share of the run."""

    def work(number: int, engine: Length | None = None) -> RunStore:
        own = SHARES[number - 1]
        return score_share(table, tiny_spec, tmp_path / "run", own, SCORING, NO_IMAGES, engine=engine or Length())

    return work


def finish(table: PromptTable, spec: EnsembleSpec, out: Path, engine: Length) -> pd.DataFrame:
    store = start_run(table, spec, out, SCORING, NO_IMAGES, engine=engine)
    return store.query("SELECT key, disagreement FROM scores ORDER BY key")


def test_shares_in_any_order_become_the_plain_run_which_has_nothing_left_to_do(
    table: PromptTable, tiny_spec: EnsembleSpec, tmp_path: Path, share: Callable[..., RunStore]
) -> None:
    plain = finish(table, tiny_spec, tmp_path / "plain", Length())
    for number in (3, 1, 2, 1):
        share(number)
    last = Length()
    assert finish(table, tiny_spec, tmp_path / "run", last).equals(plain)
    assert last.scored == []
    assert not list((tmp_path / "run" / "shares").glob("*-of-*"))
    assert [fault.path for fault in verify(tmp_path / "run").faults] == []


def test_the_plain_run_does_what_no_share_did_and_tries_again_what_failed_in_one(
    table: PromptTable, tiny_spec: EnsembleSpec, tmp_path: Path, share: Callable[..., RunStore]
) -> None:
    bad = frozenset(table.frame.groupby("language")["prompt"].first())
    made = [(share(number, engine), engine) for number in (1, 2) for engine in [Length(fails=bad)]]
    failed = [error.message for store, _ in made for error in store.errors()]
    assert failed == ["ValueError: no"] * len(failed) and failed
    last = Length()
    assert len(finish(table, tiny_spec, tmp_path / "run", last)) == table.frame["prompt"].nunique()
    done = {prompt for _, engine in made for prompt in engine.scored}
    assert set(last.scored) == set(table.frame["prompt"]) - done


def test_a_share_begun_again_goes_on_where_it_was(share: Callable[..., RunStore]) -> None:
    share(2)
    again = Length()
    share(2, again)
    assert again.scored == []


def test_one_process_a_share_and_none_beside_the_run_itself(
    table: PromptTable, tiny_spec: EnsembleSpec, tmp_path: Path, share: Callable[..., RunStore]
) -> None:
    share(1)
    run = RunStore.open(tmp_path / "run")
    with own_share(run, SHARES[1]):
        share(3)
        with pytest.raises(StoreError, match=rf"2-of-3: another process \({os.getpid()} on .*\) is writing"):
            share(2)
        with pytest.raises(StoreError, match=rf"run: another process \({os.getpid()} on .*\) is writing"):
            finish(table, tiny_spec, tmp_path / "run", Length())
    with run.locked(), pytest.raises(StoreError, match="run: another process"):
        share(2)


def test_another_run_is_refused_by_every_share(
    tiny_spec: EnsembleSpec, table: PromptTable, tmp_path: Path, share: Callable[..., RunStore]
) -> None:
    share(1)
    other = default_prompts(tiny_spec, n_concepts=1)
    with pytest.raises(StoreError, match="other prompts; choose another --out"):
        score_share(other, tiny_spec, tmp_path / "run", SHARES[1], SCORING, NO_IMAGES, engine=Length())


def test_what_is_damaged_in_a_share_is_not_taken_in(
    table: PromptTable, tiny_spec: EnsembleSpec, tmp_path: Path, share: Callable[..., RunStore]
) -> None:
    (shard,) = (share(1).path / "scores").iterdir()
    shard.write_bytes(shard.read_bytes()[:-9] + b"nonsense!")
    last = Length()
    assert finish(table, tiny_spec, tmp_path / "run", last)["disagreement"].notna().all()
    assert len(last.scored) == table.frame["prompt"].nunique()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_kill_while_shares_are_taken_in_loses_nothing(
    n: int,
    table: PromptTable,
    tiny_spec: EnsembleSpec,
    tmp_path: Path,
    share: Callable[..., RunStore],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in (1, 2, 3):
        share(number)
    moved, replace = [], Path.replace

    def killed(file: Path, target: Path) -> Path:
        if "shares" in file.parts:
            moved.append(target)
            if len(moved) == n:
                raise KeyboardInterrupt
        return replace(file, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", killed)
        take_shares(RunStore.open(tmp_path / "run"))
    last = Length()
    assert len(finish(table, tiny_spec, tmp_path / "run", last)) == table.frame["prompt"].nunique()
    assert last.scored == []


def test_a_share_begun_again_after_a_kill_while_it_was_taken_in_has_nothing_to_do_again(
    tmp_path: Path, share: Callable[..., RunStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    share(1, Reading())

    def killed(_file: Path, _target: Path) -> Path:
        raise KeyboardInterrupt

    take_over = RunStore.take_over

    def second_killed(store: RunStore, file: Path, name: str) -> None:
        if name.startswith("scores/"):
            monkeypatch.setattr(Path, "replace", killed)
        take_over(store, file, name)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunStore, "take_over", second_killed)
        take_shares(RunStore.open(tmp_path / "run"))
    monkeypatch.undo()
    again = Reading()
    share(1, again)
    assert again.scored == []


def test_a_kill_while_what_is_left_of_a_share_is_removed_blocks_nobody(
    table: PromptTable,
    tiny_spec: EnsembleSpec,
    tmp_path: Path,
    share: Callable[..., RunStore],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    share(1)

    def killed(folder: Path) -> None:
        (folder / "plan.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("shutil.rmtree", killed)
        take_shares(RunStore.open(tmp_path / "run"))
    share(1)
    assert len(finish(table, tiny_spec, tmp_path / "run", Length())) == table.frame["prompt"].nunique()
    assert [own.name for own in (tmp_path / "run" / "shares").iterdir()] == [".lock"]


def test_scores_whose_readings_are_damaged_in_a_share_are_made_again(
    table: PromptTable, tiny_spec: EnsembleSpec, tmp_path: Path, share: Callable[..., RunStore]
) -> None:
    (shard,) = (share(1, Reading()).path / "readings").iterdir()
    shard.write_bytes(shard.read_bytes()[:-9] + b"nonsense!")
    finish(table, tiny_spec, tmp_path / "run", Reading())
    store = RunStore.open(tmp_path / "run")
    assert store.query("SELECT key FROM scores ANTI JOIN readings USING (key)").empty


def test_only_the_first_of_many_that_begin_one_share_works_on_it_and_the_others_are_told(
    tmp_path: Path, share: Callable[..., RunStore]
) -> None:
    share(1)
    run, told = RunStore.open(tmp_path / "run"), Semaphore(0)

    def begin(_number: int) -> str:
        try:
            with own_share(RunStore(run.path), SHARES[1]):
                return "works" if all(told.acquire(timeout=60) for _ in range(5)) else "waited for the others"
        except StoreError as error:
            told.release()
            return "told" if "another process" in str(error) else str(error)

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(begin, range(6))) == [*["told"] * 5, "works"]


def test_errors_of_a_share_are_those_of_its_last_start(
    table: PromptTable, tmp_path: Path, share: Callable[..., RunStore]
) -> None:
    assert share(1, Length(fails=frozenset(table.frame.groupby("language")["prompt"].first()))).errors()
    assert share(1).errors() == []


@pytest.mark.parametrize("name", ["shares", "shares/1-of-3", "shares/2-of-3"])
@pytest.mark.parametrize("to", ["elsewhere", "run", "file"])
def test_a_link_or_a_file_in_the_place_of_a_share_is_refused_and_nothing_is_touched(
    name: str, to: str, table: PromptTable, tiny_spec: EnsembleSpec, tmp_path: Path, share: Callable[..., RunStore]
) -> None:
    share(1)
    place, elsewhere = tmp_path / "run" / name, tmp_path / "elsewhere"
    shutil.copytree(place if place.exists() else tmp_path / "run" / "shares" / "1-of-3", elsewhere)
    shutil.rmtree(place, ignore_errors=True)
    for file in (elsewhere / ".writer", elsewhere / "mine.tmp"):
        file.write_text("dear")
    place.write_text("dear") if to == "file" else place.symlink_to(tmp_path / to)
    before = files_of(elsewhere)
    with pytest.raises(StoreError, match="a link or a file, where a folder of the run belongs"):
        finish(table, tiny_spec, tmp_path / "run", Length())
    with pytest.raises(StoreError, match="a link or a file, where a folder of the run belongs"):
        share(1 if "1-of" in name else 2)
    assert files_of(elsewhere) == before
    assert (tmp_path / "run" / "plan.json").exists()


def test_a_share_of_a_run_that_was_not_started_here_makes_it_nobody_s_own(
    tiny_spec: EnsembleSpec, tmp_path: Path, share: Callable[..., RunStore]
) -> None:
    share(1)
    shutil.copytree(tmp_path / "run", tmp_path / "received")
    plan = tmp_path / "received" / "plan.json"
    plan.write_text(plan.read_text().replace(str(Path(tiny_spec.base.source)), "/nowhere/base"))
    forget_the_record(tmp_path / "received")
    store = RunStore(tmp_path / "received")
    with own_share(store, SHARES[2]):
        pass
    assert not is_own(plan)
    with pytest.raises(StoreError, match="was not started here"):
        store.sources()


def test_of_a_share_no_table_is_taken_that_would_be_the_whole_of_the_run(
    table: PromptTable, tiny_spec: EnsembleSpec, tmp_path: Path, share: Callable[..., RunStore]
) -> None:
    before = finish(table, tiny_spec, tmp_path / "run", Length())
    RunStore.open(tmp_path / "run").compact("scores")
    with own_share(RunStore.open(tmp_path / "run"), SHARES[0]) as work:
        work.store.append("scores", before.head(1))
        work.store.compact("scores")
    assert finish(table, tiny_spec, tmp_path / "run", Length()).equals(before)


def test_a_killed_writer_is_not_named_as_the_one_who_writes(
    table: PromptTable, tiny_spec: EnsembleSpec, tmp_path: Path, share: Callable[..., RunStore]
) -> None:
    share(1)
    (tmp_path / "run" / ".writer").write_text("999999 on deadhost")
    with one_of_several(tmp_path / "run"), pytest.raises(StoreError, match="run: another process is writing"):
        finish(table, tiny_spec, tmp_path / "run", Length())


def test_what_is_no_key_is_in_no_share() -> None:
    with pytest.raises(StoreError, match="'odd' is no key of a prompt"):
        SHARES[0].holds("odd")


def pictures(run: Path) -> dict[Path, np.ndarray]:
    return {path.relative_to(run): np.asarray(Image.open(path), dtype=np.int64) for path in run.rglob("*.png")}


@pytest.fixture
def words(tiny_spec: EnsembleSpec) -> list[str]:
    folder = str(Path(tiny_spec.base.source).parent)
    return ["--ensemble", folder, "--n-images", "8", "--n-noise", "1", "--check-pairs", "0", "--device", "cpu"]


def commands(words: list[str], out: Path) -> Iterator[list[str]]:
    yield from (["score", *words, "--out", str(out), "--shard", str(own), "--quiet"] for own in SHARES)


@pytest.mark.slow
def test_three_processes_at_once_of_which_one_is_killed_and_started_again_make_the_plain_run(
    words: list[str], tmp_path: Path
) -> None:
    out, plain = tmp_path / "run", tmp_path / "plain"
    assert invoke("run", *words, "--out", str(plain), "--quiet").returncode == 0
    first, *others = commands(words, out)
    with ExitStack() as stack:
        going = [stack.enter_context(running(command_line, own)) for own in (first, *others)]
        wait_for_lines(out / "files.jsonl", 1)
        going[0][0].kill()
        for process, _, err in going[1:]:
            process.join()
            assert process.exitcode == 0, err.read_text()
    assert going[0][0].exitcode == -signal.SIGKILL
    assert invoke(*first).returncode == 0
    for own in (2, 1, 3):
        assert invoke("quality", str(out), "--shard", f"{own}/3", "--quiet").returncode == 0
    assert invoke("run", *words, "--out", str(out), "--quiet").returncode == 0
    select = "SELECT * EXCLUDE (key, image) FROM results ORDER BY prompt_id, source_id"
    ours, theirs = (RunStore.open(folder).query(select) for folder in (out, plain))
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-5, atol=1e-4)
    images, expected = pictures(out), pictures(plain)
    assert len(images) == 8 and images.keys() == expected.keys()
    assert max(np.abs(images[name] - expected[name]).max() for name in images) <= 1, "grey levels, of other batches"


@pytest.mark.parametrize("given", ["3", "0/3", "4/3", "1/0", "a/b", "1/3/5"])
def test_a_share_is_written_as_two_numbers(given: str, tmp_path: Path) -> None:
    done = invoke("score", "--out", str(tmp_path / "run"), "--shard", given)
    assert done.returncode == 2
    assert "2/3" in done.stderr or "there are the shares 1 to" in done.stderr
    assert not (tmp_path / "run").exists()
