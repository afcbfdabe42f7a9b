"""A run on disk: whole shards or none, the same run or a clear refusal, answers by query."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import emoe_audit
from emoe_audit.errors import StoreError
from emoe_audit.runs.listing import list_runs
from emoe_audit.runs.manifest import prompt_key, published, settings_hash
from emoe_audit.runs.pages import prompts_page, worst_groups
from emoe_audit.runs.store import RunStore
from emoe_audit.types import EnsembleSpec, ExpertSpec, RowError, ScoringConfig
from tests.synthetic import synthetic_frame, synthetic_plan, synthetic_run


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore.open(tmp_path / "run", plan=synthetic_plan())


def scores(keys: list[str], value: float = 1.0) -> pd.DataFrame:
    return pd.DataFrame({"key": keys, "disagreement": value, "relative_disagreement": value})


def test_a_key_depends_on_everything_a_score_depends_on() -> None:
    keys = {
        prompt_key("a dog", "en", "e", "s"),
        prompt_key("a cat", "en", "e", "s"),
        prompt_key("a dog", "de", "e", "s"),
        prompt_key("a dog", "en", "f", "s"),
        prompt_key("a dog", "en", "e", "t"),
        prompt_key("a do", "gen", "e", "s"),
    }
    assert len(keys) == 6
    assert all(len(key) == 32 for key in keys)


def test_what_is_published_names_no_folder_of_this_machine_that_the_package_brought() -> None:
    package = Path(emoe_audit.__file__).parent
    base = ExpertSpec(name="base", source=str(package / "embedded" / "emoji-a" / "base"))
    own = ExpertSpec(name="own", source="/models/own")
    spec = EnsembleSpec(name="x", base=base, experts=(base, own), judge=f"local-dir:{package}/embedded/emoji-a/judge")
    found = published(synthetic_plan(ensemble=spec))
    assert found.ensemble.base.source == "emoe_audit/embedded/emoji-a/base"
    assert found.ensemble.experts[1] == own
    assert found.ensemble.judge == "local-dir:emoe_audit/embedded/emoji-a/judge"
    assert replace(found, ensemble=spec) == synthetic_plan(ensemble=spec)


def test_batch_size_and_device_do_not_change_the_settings_hash_and_the_rest_does() -> None:
    plain = settings_hash(ScoringConfig())
    assert settings_hash(ScoringConfig(batch_size=1, device="cuda")) == plain
    changed = [ScoringConfig(seed=1), ScoringConfig(n_noise=1), ScoringConfig(dtype="bfloat16")]
    assert all(settings_hash(config) != plain for config in changed)


def test_a_plan_comes_back_as_it_was_written(store: RunStore) -> None:
    assert store.plan() == synthetic_plan()
    assert store.manifest() is None
    store.finish()
    sealed = hashlib.sha256((store.path / "files.parquet").read_bytes()).hexdigest()
    assert store.manifest() == replace(synthetic_plan(), complete=True, files_sha256=sealed)


def test_another_run_in_the_same_folder_is_refused_with_what_differs(store: RunStore) -> None:
    other = synthetic_plan(ensemble_hash="f" * 64, scoring=ScoringConfig(seed=7))
    with pytest.raises(StoreError, match=r"other ensemble, scoring; choose another --out"):
        RunStore.open(store.path, plan=other)


def test_the_same_run_on_another_device_is_resumed(store: RunStore) -> None:
    resumed = RunStore.open(store.path, plan=synthetic_plan(scoring=ScoringConfig(device="cpu", batch_size=3)))
    assert resumed.plan() == synthetic_plan()


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(StoreError, match="not empty and not a run"):
        RunStore.open(tmp_path, plan=synthetic_plan())
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_second_writer_is_kept_out_and_told_who_writes(store: RunStore) -> None:
    who = rf"another process \({os.getpid()} on {re.escape(socket.gethostname())}\) is writing to this run"
    with store.locked(), pytest.raises(StoreError, match=who), RunStore.open(store.path).locked():
        pass


def test_torn_files_of_a_killed_writer_are_passed_over_and_removed(store: RunStore) -> None:
    store.append("scores", scores(["a"]))
    torn = store.path / "scores" / "part-000001.parquet.77.tmp"
    torn.write_bytes(b"PAR1 half")
    assert store.query("SELECT count(*) AS n FROM scores")["n"].iloc[0] == 1
    with store.locked():
        assert not torn.exists()


def test_a_corrupt_shard_names_itself(store: RunStore) -> None:
    store.append("scores", scores(["a"]))
    (shard,) = (store.path / "scores").iterdir()
    shard.write_bytes(b"not parquet at all")
    with pytest.raises(StoreError, match=shard.name):
        store.query("SELECT * FROM scores")


def test_rows_left_twice_by_a_kill_during_compaction_are_read_once(store: RunStore) -> None:
    store.append("scores", scores(["a", "b"]))
    store.append("scores", scores(["b", "c"]))
    assert store.query("SELECT key FROM scores ORDER BY key")["key"].tolist() == ["a", "b", "c"]
    store.compact("scores")
    assert len(list((store.path / "scores").glob("*.parquet"))) == 1
    assert store.query("SELECT key FROM scores ORDER BY key")["key"].tolist() == ["a", "b", "c"]


def test_readings_come_back_byte_by_byte_and_once(store: RunStore) -> None:
    contents = {"a": b"\x00\xff", "b": bytes(range(256)), "c": b""}
    for keys in (["a", "b"], ["b", "c"]):
        store.append("readings", pd.DataFrame({"key": keys, "reading": [contents[key] for key in keys]}))
    for compacted in (False, True):
        if compacted:
            store.compact("readings")
        rows = store.query("SELECT * FROM readings ORDER BY key")
        assert {key: bytes(own) for key, own in zip(rows["key"], rows["reading"], strict=True)} == contents
        assert len(rows) == 3
    assert len(list((store.path / "readings").glob("*.parquet"))) == 1


def test_a_translation_score_belongs_to_a_prompt_and_its_caption(store: RunStore) -> None:
    """A text of two captions is scored once, and compared with the translations of each."""
    prompts = synthetic_frame(3)[["prompt_id", "prompt", "language", "region"]]
    store.write_prompts([prompts.assign(key=["k", "k", "l"], source_id=["s", "t", "s"])])
    store.append("scores", scores(["k", "l"]))
    columns = ["translation_disagreement", "translation_reliability"]
    assert store.query("SELECT * FROM results")[columns].isna().all(axis=None)
    table = pd.DataFrame({"key": ["k", "k"], "source_id": ["t", "s"]})
    store.write_analysis("translations", table.assign(**{column: [0.5, 0.25] for column in columns}))
    rows = store.query("SELECT * FROM results ORDER BY key, source_id")
    assert rows["key"].tolist() == ["k", "k", "l"]
    assert rows["translation_disagreement"].fillna(-1).tolist() == [0.25, 0.5, -1]
    assert rows["disagreement"].tolist() == [1.0] * 3


def test_quality_belongs_to_a_prompt_and_its_caption(store: RunStore) -> None:
    """A text of two captions is drawn once, and its image shows one of them better than the other."""
    prompts = synthetic_frame(3)[["prompt_id", "prompt", "language", "region"]]
    store.write_prompts([prompts.assign(key=["k", "k", "l"], source_id=["s", "t", "s"])])
    store.append("scores", scores(["k", "l"]))
    store.append("quality", pd.DataFrame({"key": ["k", "k"], "source_id": ["t", "s"], "source_rank": [9.0, 70.0]}))
    rows = store.query("SELECT * FROM results ORDER BY key, source_id")
    assert rows["source_rank"].fillna(-1).tolist() == [70, 9, -1]
    assert rows["disagreement"].tolist() == [1.0] * 3


def test_errors_come_back_and_a_torn_last_line_is_passed_over(store: RunStore) -> None:
    error = RowError(stage="read", message="bad \u2028 tag", prompt_id="p", line=3, column="language")
    store.record_error(error)
    with (store.path / "errors.jsonl").open("a") as file:
        file.write('{"stage": "sco')
    assert store.errors() == [error]


@pytest.mark.slow
@settings(deadline=None)
@given(prompt=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_text_is_stored_and_found(prompt: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    store = RunStore.open(tmp_path_factory.mktemp("run"), plan=synthetic_plan())
    row = {"key": "k", "prompt_id": prompt, "source_id": prompt, "prompt": prompt, "language": "en", "region": "150"}
    store.write_prompts([pd.DataFrame([row])])
    assert store.query("SELECT prompt FROM results WHERE prompt_id = ?", [prompt])["prompt"].tolist() == [prompt]


def test_an_unknown_column_is_named_with_the_known_ones(store: RunStore) -> None:
    with pytest.raises(StoreError, match=r"no column 'x\"; DROP'; there are .*prompt_id"):
        worst_groups(store, 'x"; DROP', "disagreement")


def test_a_query_reads_the_tables_that_it_names_and_no_other(tmp_path: Path) -> None:
    store = synthetic_run(tmp_path / "run", 20)
    (tmp_path / "run" / "quality" / "part-000000.parquet").write_bytes(b"torn")
    named = store.query("WITH scores AS (SELECT 1 AS one) SELECT 'quality' AS word, prompt FROM prompts, scores")
    assert len(named) == 20
    with pytest.raises(StoreError, match=r"quality.part-000000\.parquet: not a readable Parquet file"):
        store.query("SELECT * FROM Quality")


def test_reading_never_reaches_for_the_network_or_other_files(store: RunStore) -> None:
    settings = store.query("SELECT name, value FROM duckdb_settings() WHERE name LIKE 'auto%known_extensions'")
    assert settings["value"].tolist() == ["false", "false"]


def test_runs_are_listed_newest_first_and_other_folders_are_passed_over(tmp_path: Path) -> None:
    RunStore.open(tmp_path / "old", plan=synthetic_plan())
    RunStore.open(tmp_path / "new", plan=synthetic_plan(created="2026-06-01T00:00:00+00:00"))
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "plan.json").write_text('{"ensem')
    (tmp_path / "file").write_text("")
    assert [run.path.name for run in list_runs(tmp_path)] == ["new", "old"]


def test_groups_and_pages_equal_what_pandas_says(tmp_path: Path) -> None:
    frame = synthetic_frame(600)
    store = synthetic_run(tmp_path / "run", 600, shards=7)
    means = frame.groupby("language")["relative_disagreement"].mean().sort_values(ascending=False)
    worst = worst_groups(store, "language", "relative_disagreement", limit=3)
    assert worst["group"].tolist() == means.index[:3].tolist()
    np.testing.assert_allclose(worst["mean"], means.iloc[:3])
    page = prompts_page(store, 3, 50, order_by="relative_disagreement", ascending=False)
    expected = frame.sort_values(["relative_disagreement", "prompt_id"], ascending=[False, True])["prompt_id"]
    assert page["prompt_id"].tolist() == expected.iloc[100:150].tolist()


def test_what_is_ordered_and_averaged_stays_in_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, brought, query = synthetic_run(tmp_path / "run", 5000, shards=4), [], RunStore.query

    def counted(run: RunStore, *asked: Any) -> pd.DataFrame:
        brought.append(query(run, *asked))
        return brought[-1]

    monkeypatch.setattr(RunStore, "query", counted)
    assert len(prompts_page(store, 20, 100)) == 100
    assert len(worst_groups(store, "language", "relative_disagreement")) == 10
    assert max(map(len, brought)) == 100


WRITER = """
import sys
import threading
from pathlib import Path
import pandas as pd
from emoe_audit.runs.pages import prompts_page, worst_groups
from emoe_audit.runs.store import RunStore
store = RunStore.open(Path(sys.argv[1]))
with store.locked():
    done = set(store.query("SELECT key FROM scores")["key"])
    for i in range(len(done), 400, 10):
        keys = [f"{number:04d}" for number in range(i, i + 10)]
        store.append("scores", pd.DataFrame({"key": keys, "disagreement": [float(k) for k in keys]}))
    store.finish()
"""


@pytest.mark.slow
def test_a_writer_killed_at_random_moments_loses_and_repeats_nothing(store: RunStore) -> None:
    rng = np.random.default_rng(0)
    command = [sys.executable, "-c", WRITER, str(store.path)]
    for _ in range(4):
        process = subprocess.Popen(command)
        time.sleep(float(rng.uniform(0.8, 1.6)))
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True)
    rows = store.query("SELECT key, disagreement FROM scores ORDER BY key")
    assert rows["key"].tolist() == [f"{i:04d}" for i in range(400)]
    assert rows["disagreement"].tolist() == [float(i) for i in range(400)]
    assert store.is_complete
