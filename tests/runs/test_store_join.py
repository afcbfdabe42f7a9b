"""A joined run answers as an unjoined one does, and never with what it held before a change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from emoe_audit.runs.query import ROW_GROUP
from emoe_audit.runs.store import RunStore
from tests.synthetic import synthetic_frame, synthetic_plan, synthetic_run

ALL = "SELECT * FROM results ORDER BY prompt_id"
PROMPT = ["key", "prompt_id", "source_id", "prompt", "language", "region"]


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """A run of 60 prompts of which the last ten have neither scores nor quality."""
    frame = synthetic_frame(60)
    store = RunStore.open(tmp_path / "run", plan=synthetic_plan())
    store.write_prompts([frame[PROMPT]])
    store.append("scores", frame[["key", *frame.columns[6:15]]].head(50))
    store.append("quality", frame[["key", "source_id", *frame.columns[15:]]].head(50))
    return store


def score_the_rest(store: RunStore) -> None:
    frame = synthetic_frame(60)
    store.append("scores", frame[["key", *frame.columns[6:15]]].tail(10))


def judge_the_rest(store: RunStore) -> None:
    frame = synthetic_frame(60)
    store.append("quality", frame[["key", "source_id", *frame.columns[15:]]].tail(10))


def write_fewer_prompts(store: RunStore) -> None:
    store.write_prompts([synthetic_frame(60)[PROMPT].head(7)])


def compare_translations(store: RunStore) -> None:
    rows = synthetic_frame(60)[["key", "source_id"]]
    store.write_analysis("translations", rows.assign(translation_disagreement=np.arange(60.0)))


def import_ratings(store: RunStore) -> None:
    rows = synthetic_frame(60)[["prompt_id"]]
    store.write_analysis("ratings", rows.assign(liking=np.arange(60.0), n_liking=3))


def test_joined_rows_are_the_rows_of_the_view(store: RunStore) -> None:
    expected = store.query(ALL)
    store.join()
    pd.testing.assert_frame_equal(store.query(ALL), expected)
    assert expected["disagreement"].isna().sum() == 10


def test_joined_rows_lie_in_the_order_of_their_ids(store: RunStore) -> None:
    store.write_prompts([synthetic_frame(60)[PROMPT].sample(frac=1, random_state=0)])
    store.join()
    rows = pq.read_table(store.path / "analysis" / "results.parquet").to_pandas()
    assert rows["prompt_id"].tolist() == sorted(synthetic_frame(60)["prompt_id"])


@pytest.mark.parametrize(
    "change", [score_the_rest, judge_the_rest, write_fewer_prompts, compare_translations, import_ratings]
)
def test_a_change_after_joining_is_seen(store: RunStore, change: Callable[[RunStore], None]) -> None:
    store.join()
    before = store.query(ALL)
    change(store)
    after = store.query(ALL)
    assert not after.equals(before)
    store.join()
    pd.testing.assert_frame_equal(store.query(ALL), after)


def test_finishing_a_joined_run_changes_no_row(store: RunStore) -> None:
    score_the_rest(store)
    store.join()
    expected = store.query(ALL)
    store.finish()
    assert store.has_analysis("results")
    pd.testing.assert_frame_equal(store.query(ALL), expected)


def test_a_compacted_table_is_read_in_parts(tmp_path: Path) -> None:
    store = RunStore.open(tmp_path / "run", plan=synthetic_plan())
    keys = [f"{number:06d}" for number in range(2 * ROW_GROUP + 5)]
    for part in (keys[:ROW_GROUP], keys[ROW_GROUP:]):
        store.append("readings", pd.DataFrame({"key": part, "reading": [key.encode() for key in part]}))
    store.compact("readings")
    (shard,) = (store.path / "readings").iterdir()
    shape = pq.ParquetFile(shard).metadata
    sizes = [shape.row_group(place).num_rows for place in range(shape.num_row_groups)]
    assert len(sizes) > 1 and max(sizes) < 2 * ROW_GROUP, "the writer fills a part up to the end of a batch"
    kept = store.query("SELECT * FROM readings ORDER BY key")
    assert kept["key"].tolist() == keys
    assert [bytes(reading) for reading in kept["reading"]] == [key.encode() for key in keys]


def test_many_queries_start_one_database_and_see_what_changes(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    connect = duckdb.connect

    def counted(**options: Any) -> duckdb.DuckDBPyConnection:
        started.append(options)
        return connect(**options)

    monkeypatch.setattr(duckdb, "connect", counted)
    with store.many_queries():
        scored = [store.query("SELECT count(disagreement) AS n FROM results").n[0]]
        score_the_rest(store)
        scored.append(store.query("SELECT count(disagreement) AS n FROM results").n[0])
    assert (scored, len(started)) == ([50, 60], 1)
    assert store.query("SELECT count(*) AS n FROM prompts").n[0] == 60


def test_a_run_of_an_earlier_version_lacks_no_column(tmp_path: Path) -> None:
    """Its scores had none for prompts in one language; of some prompts more may have been scored since."""
    frame = synthetic_frame(20).assign(unfamiliarity=1.5)
    store = RunStore.open(tmp_path / "run", plan=synthetic_plan())
    store.write_prompts([frame[PROMPT]])
    store.append("scores", frame[["key", *frame.columns[6:15]]].head(10))
    assert store.query("SELECT unfamiliarity FROM results").unfamiliarity.isna().all()
    store.join()
    assert store.query("SELECT unfamiliarity FROM results").unfamiliarity.isna().all()
    store.append("scores", frame[["key", *frame.columns[6:15], "unfamiliarity"]].tail(10))
    assert (
        store.query("SELECT unfamiliarity FROM results ORDER BY key").unfamiliarity.isna().tolist()
        == [True] * 10 + [False] * 10
    )


def test_columns_are_asked_for_once_within_many_queries_and_anew_after(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    query = RunStore.query

    def counted(run: RunStore, select: str, *params: Any) -> pd.DataFrame:
        asked.append(select)
        return query(run, select, *params)

    monkeypatch.setattr(RunStore, "query", counted)
    with store.many_queries():
        assert store.columns() == store.columns() and "disagreement" in store.columns()
    assert len(asked) == 1
    store.write_analysis("ratings", pd.DataFrame({"prompt_id": ["a"], "fidelity": [1.0], "n_fidelity": [1]}))
    assert "fidelity" in store.columns()


@pytest.mark.slow
def test_the_report_of_a_joined_run_says_what_that_of_an_unjoined_one_says(tmp_path: Path) -> None:
    from emoe_audit.report import collect

    store = synthetic_run(tmp_path / "run", 2000)
    expected = collect(store)
    store.join()
    found = collect(store)
    assert found.verdict == expected.verdict
    assert [cloud.points for cloud in found.clouds] == [cloud.points for cloud in expected.clouds]
    for own, other in zip(found.groups, expected.groups, strict=True):
        assert own.overall == pytest.approx(other.overall)
