"""What is damaged when a run goes on is made again, or the run does not go on; what is whole is left alone."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from emoe_audit.audit import start_run
from emoe_audit.errors import StoreError
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.runs.integrity import verify
from emoe_audit.runs.ledger import Ledger
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.images import judge_pending
from emoe_audit.steps.mending import DRAWING_MENDS, mend
from emoe_audit.types import EnsembleSpec, ImageConfig, ScoringConfig
from tests.runs.written import files_of, flip, forget_the_record, shards_of, written_run

SCORING = ScoringConfig(n_noise=1, batch_size=1, device="cpu", check_pairs=0)
IMAGES = ImageConfig(n_images=8, num_inference_steps=1, batch_size=1, device="cpu")
ALL = "SELECT * FROM results ORDER BY prompt_id"


def audit(spec: EnsembleSpec, out: Path) -> RunStore:
    """Score and draw, or what is left of it; the analysis rests on nothing else."""
    store = scored(spec, out)
    with store.locked():
        judge_pending(store)
        store.finish()
    return RunStore.open(out)


def scored(spec: EnsembleSpec, out: Path) -> RunStore:
    return start_run(default_prompts(spec, n_concepts=2), spec, out, SCORING, IMAGES, command="emoe-audit run")


@pytest.fixture(scope="module")
def finished(tiny_spec: EnsembleSpec, tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    return audit(tiny_spec, tmp_path_factory.mktemp("runs") / "finished")


@pytest.fixture
def run(finished: RunStore, tmp_path: Path) -> Path:
    """A finished run of its own."""
    return Path(shutil.copytree(finished.path, tmp_path / "run"))


@pytest.fixture
def unfinished(tiny_spec: EnsembleSpec, tmp_path: Path) -> RunStore:
    """Scored and drawn."""
    store = scored(tiny_spec, tmp_path / "unfinished")
    with store.locked():
        judge_pending(store)
    return store


def images(run: Path) -> list[Path]:
    return sorted((run / "images").rglob("*.png"))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_the_middle(file: Path) -> None:
    flip(file, 8 * (file.stat().st_size // 2))


HURTS = [cut, flip_the_middle, Path.unlink]


@pytest.mark.slow
@pytest.mark.parametrize("hurt", HURTS)
def test_a_damaged_image_of_a_finished_run_is_drawn_again(
    run: Path, finished: RunStore, tiny_spec: EnsembleSpec, hurt: Callable[[Path], None]
) -> None:
    whole = images(run)[0].read_bytes()
    hurt(images(run)[0])
    store = audit(tiny_spec, run)
    assert images(run)[0].read_bytes() == whole
    assert verify(run).faults == ()
    pd.testing.assert_frame_equal(store.query(ALL), finished.query(ALL))


@pytest.mark.slow
@pytest.mark.parametrize("hurt", HURTS)
def test_a_damaged_image_of_an_unfinished_run_is_drawn_again(
    unfinished: RunStore, finished: RunStore, tiny_spec: EnsembleSpec, hurt: Callable[[Path], None]
) -> None:
    hurt(images(unfinished.path)[1])
    store = audit(tiny_spec, unfinished.path)
    drawn, expected = ([file.read_bytes() for file in images(own.path)] for own in (store, finished))
    assert drawn == expected
    pd.testing.assert_frame_equal(store.query(ALL), finished.query(ALL))


@pytest.mark.slow
def test_an_image_that_is_cut_is_drawn_again_by_quality_too(unfinished: RunStore, finished: RunStore) -> None:
    cut(images(unfinished.path)[1])
    with unfinished.locked():
        mend(unfinished, DRAWING_MENDS)
        judge_pending(unfinished)
    assert [file.read_bytes() for file in images(unfinished.path)] == [
        file.read_bytes() for file in images(finished.path)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "hurt"),
    [("prompts", cut), ("scores", flip_the_middle), ("readings", flip_the_middle), ("quality", Path.unlink)],
)
def test_a_damaged_table_is_made_again(
    run: Path, finished: RunStore, tiny_spec: EnsembleSpec, table: str, hurt: Callable[[Path], None]
) -> None:
    hurt(run / table / "part-000000.parquet")
    store = audit(tiny_spec, run)
    assert verify(run).faults == ()
    for name in ("prompts", "scores", "readings", "quality"):
        sql = f"SELECT * FROM {name} ORDER BY key"
        pd.testing.assert_frame_equal(store.query(sql), finished.query(sql))


@pytest.mark.slow
def test_an_image_of_a_run_of_before_that_is_cut_is_drawn_again(run: Path, tiny_spec: EnsembleSpec) -> None:
    forget_the_record(run)
    whole = images(run)[0].read_bytes()
    cut(images(run)[0])
    audit(tiny_spec, run)
    assert images(run)[0].read_bytes() == whole
    assert verify(run).to_text() == f"{len(files_of(run))} files, all as written"


# without a model


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """A finished run, written through the store."""
    return written_run(tmp_path / "run")


def test_a_whole_run_is_left_alone(store: RunStore) -> None:
    before = {name: (store.path / name).read_bytes() for name in files_of(store.path)}
    with store.locked():
        mend(store)
    assert {name: (store.path / name).read_bytes() for name in files_of(store.path)} == before


def test_a_run_that_lost_something_is_unfinished_until_it_is_made_and_says_so(
    store: RunStore, caplog: pytest.LogCaptureFixture
) -> None:
    flip(store.path / "scores" / "part-000000.parquet", 1000)
    with caplog.at_level(logging.WARNING), store.locked():
        mend(store)
    assert not store.is_complete
    assert verify(store.path).faults == ()
    assert store.query("SELECT * FROM scores").empty
    assert "1 files are damaged and made again, scores/part-000000.parquet first" in caplog.text


def test_scores_whose_readings_are_lost_are_pending_again(tmp_path: Path) -> None:
    store = written_run(tmp_path / "run", finished=False)
    kept = store.query("SELECT key FROM prompts ORDER BY key")["key"].tolist()[:20]
    flip(shards_of(store.path, "readings")[1], 900)
    with store.locked():
        mend(store)
    assert store.query("SELECT key FROM scores ORDER BY key")["key"].tolist() == kept
    assert store.query("SELECT key FROM readings ORDER BY key")["key"].tolist() == kept


def test_what_the_run_does_not_make_is_not_taken_away(store: RunStore) -> None:
    ratings = store.path / "analysis" / "ratings.parquet"
    with store.locked():
        store.write_analysis("ratings", pd.DataFrame({"prompt_id": ["a"], "liking": [1.0], "n_liking": [1]}))
    flip(ratings, 800)
    with pytest.raises(StoreError, match=r"ratings\.parquet: changed, .* put it back, or take it away"), store.locked():
        mend(store)
    assert ratings.exists()
    ratings.unlink()
    with store.locked():
        mend(store)
    assert verify(store.path).faults == ()


def test_only_images_and_their_quality_are_mended_where_only_they_are_made(store: RunStore) -> None:
    flip(store.path / "scores" / "part-000000.parquet", 1000)
    with pytest.raises(StoreError, match=r"scores/part-000000\.parquet: changed"), store.locked():
        mend(store, DRAWING_MENDS)


def test_a_damaged_record_is_not_guessed(store: RunStore) -> None:
    flip(store.path / "files.parquet", 99)
    with pytest.raises(StoreError, match=r"files\.parquet: changed, .* put it back, or choose another --out"):
        mend(store)


def test_a_shard_that_the_run_has_not_written_is_taken_out_and_a_users_file_is_not(store: RunStore) -> None:
    shutil.copy(store.path / "scores" / "part-000000.parquet", store.path / "scores" / "part-000007.parquet")
    (store.path / "notes.txt").write_text("mine")
    with store.locked():
        mend(store)
    assert not (store.path / "scores" / "part-000007.parquet").exists()
    assert (store.path / "notes.txt").read_text() == "mine"


def test_an_unfinished_run_of_before_is_taken_as_it_is_but_for_torn_images(tmp_path: Path) -> None:
    store = written_run(tmp_path / "run", finished=False)
    forget_the_record(store.path)
    cut(images(store.path)[0])
    with store.locked():
        mend(store)
    assert len(images(store.path)) == len(store.query("SELECT * FROM quality")) == 3
    assert Ledger(store.path).is_kept
    assert verify(store.path).faults == ()


def test_a_later_command_on_an_unfinished_run_of_before_makes_its_shards_no_strangers(tmp_path: Path) -> None:
    store = written_run(tmp_path / "run", finished=False)
    forget_the_record(store.path)
    scores = store.query("SELECT * FROM scores ORDER BY key")
    store = RunStore.open(store.path)
    with store.locked():
        store.write_analysis("groups", pd.DataFrame({"by": ["x"]}))
    with store.locked():
        mend(store)
    pd.testing.assert_frame_equal(store.query("SELECT * FROM scores ORDER BY key"), scores)


def test_a_shard_that_is_torn_itself_is_named_when_rows_are_taken_out_of_it(tmp_path: Path) -> None:
    store = written_run(tmp_path / "run", finished=False)
    forget_the_record(store.path)
    cut(images(store.path)[0])
    (shard,) = (store.path / "quality").glob("*.parquet")
    content = shard.read_bytes()
    shard.write_bytes(content[:4] + bytes(300) + content[304:])
    with store.locked(), pytest.raises(StoreError, match=rf"{shard.name}: not a readable Parquet file"):
        mend(store)


def test_a_shard_that_names_no_images_loses_no_row(tmp_path: Path) -> None:
    store = written_run(tmp_path / "run", finished=False)
    forget_the_record(store.path)
    cut(images(store.path)[0])
    (shard,) = (store.path / "quality").glob("*.parquet")
    rows = pd.read_parquet(shard).drop(columns="image")
    rows.to_parquet(shard, index=False)
    with store.locked():
        mend(store)
    assert len(store.query("SELECT * FROM quality")) == len(rows)
