"""A received run folder is data: no cell becomes SQL, no question leaves it, no table costs more than it holds."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emoe_audit.abstain.runs import decided_results
from emoe_audit.errors import StoreError
from emoe_audit.report import collect
from emoe_audit.runs.readings import nearest
from emoe_audit.runs.store import RunStore
from tests.runs.written import forget_the_record
from tests.synthetic import synthetic_frame, synthetic_plan, synthetic_run

MANY = 20_000
"""Equal keys of two tables that would be 400 million rows."""


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return synthetic_run(tmp_path / "run", 200, n_boot=20)


def changed(store: RunStore, table: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    """The file of an analysis table, after somebody has changed it."""
    file = store.path / "analysis" / f"{table}.parquet"
    change(pd.read_parquet(file)).to_parquet(file, index=False)
    return file


def call_a_measure(name: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda groups: groups.assign(measure=groups["measure"].replace("n_tokens", name))


# A cell that is SQL.


@pytest.mark.parametrize(
    "cell",
    [
        "n_tokens) AS a, (SELECT max(content) FROM read_text('/etc/passwd')) AS b, avg(n_tokens",
        "(SELECT content FROM read_text('/etc/passwd'))",
        "x\"); COPY (SELECT 1) TO 'OUT'; --",
        "1) FROM results; COPY (SELECT 42 AS answer) TO 'OUT'; SELECT avg(1",
    ],
)
def test_a_measure_that_is_sql_is_a_column_that_is_not_there(store: RunStore, tmp_path: Path, cell: str) -> None:
    own = cell.replace("OUT", str(tmp_path / "written"))
    changed(store, "groups", call_a_measure(own))
    with pytest.raises(StoreError, match="no column") as caught:
        collect(store)
    assert "root:" not in str(caught.value)
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("by", ["language) FROM results; DROP VIEW results; --", 'language"', "Language", ""])
def test_a_group_column_that_is_sql_is_a_column_that_is_not_there(store: RunStore, by: str) -> None:
    changed(store, "groups", lambda groups: groups.assign(by=groups["by"].replace("region", by)))
    with pytest.raises(StoreError, match="no column"):
        collect(store)


def test_the_nearest_column_is_named(store: RunStore) -> None:
    changed(store, "groups", call_a_measure("n_tokes"))
    with pytest.raises(StoreError, match=r"no column 'n_tokes'; there are .*; the nearest is 'n_tokens'"):
        collect(store)


@pytest.mark.parametrize(
    "name", ["x) FROM results; SELECT avg(1", "(SELECT content FROM read_text('/etc/passwd'))", 'a"b', "a'b", "{0}"]
)
def test_a_column_of_ratings_is_a_name_whatever_it_says(store: RunStore, name: str) -> None:
    rows = synthetic_frame(200)[["prompt_id"]]
    store.write_analysis("ratings", rows.assign(**{name: np.arange(200.0), f"n_{name}": 1}))
    found = collect(store)
    assert found.quality == name
    assert found.clouds[0].n_prompts == 200


# A question that leaves the folder.


@pytest.mark.parametrize(
    "question",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM read_blob('../secret.txt')",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM '/etc/passwd'",
        "COPY (SELECT 1) TO 'OUT'",
        "ATTACH 'OUT' AS other",
        "EXPORT DATABASE 'OUT'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SELECT * FROM hidden_frame",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "SET memory_limit = '100GB'",
        "SET temp_directory = '/etc'",
        "RESET lock_configuration",
    ],
)
def test_no_question_leaves_the_folder(store: RunStore, tmp_path: Path, question: str) -> None:
    hidden_frame = pd.DataFrame({"secret": ["root:x:0"]})
    (tmp_path / "secret.txt").write_text("root:x:0")
    with pytest.raises(StoreError) as caught:
        store.query(question.replace("OUT", str(tmp_path / "written")))
    assert "root:" not in str(caught.value)
    assert not (tmp_path / "written").exists()
    assert len(hidden_frame) == 1


def test_a_question_that_does_not_fit_in_memory_spills_where_nobody_else_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = synthetic_run(tmp_path / "run", 50, n_boot=5)
    before = {path.name for path in store.path.iterdir()}
    (place,) = store.query("SELECT current_setting('temp_directory') AS place")["place"]
    assert not Path(place).exists()
    assert Path(place).parent == Path(os.environ.get("TMPDIR", "/tmp"))
    assert {path.name for path in store.path.iterdir()} == before and not (tmp_path / ".tmp").exists()


# A link that leads out.


def linked(store: RunStore, name: str, tmp_path: Path) -> None:
    """Move a file of a run out of its folder, and put a link in its place."""
    file = store.path / name
    outside = tmp_path / f"outside-{Path(name).name}"
    file.rename(outside)
    file.symlink_to(outside)


@pytest.mark.parametrize(
    "name",
    [
        *("analysis/groups.parquet", "analysis/gaps.parquet", "analysis"),
        *("scores/part-000000.parquet", "scores", "quality", "prompts"),
        *("plan.json", "manifest.json", "errors.jsonl"),
    ],
)
def test_a_link_out_of_the_folder_is_not_followed(store: RunStore, name: str, tmp_path: Path) -> None:
    store.finish()
    (store.path / "errors.jsonl").write_text("")
    forget_the_record(store.path)
    linked(store, name, tmp_path)
    with pytest.raises(StoreError, match=r"lies outside|a link or a folder"):
        collect(RunStore.open(store.path))


def test_a_lock_that_is_a_link_empties_nothing(store: RunStore, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years")
    (store.path / ".lock").symlink_to(tmp_path / "thesis.txt")
    with (
        pytest.raises(StoreError, match=r"\.lock: a link or a folder, where a lock belongs; remove it"),
        store.locked(),
    ):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "three years"


def test_a_lock_that_is_a_pipe_keeps_nobody_waiting(store: RunStore) -> None:
    os.mkfifo(store.path / ".lock")
    with pytest.raises(StoreError, match="where a lock belongs"), store.locked():
        pass


def test_what_is_left_of_a_lock_before_is_kept(store: RunStore) -> None:
    (store.path / ".lock").write_text("held by 7")
    with store.locked():
        assert (store.path / ".lock").read_text() == "held by 7"


def test_torn_files_are_removed_in_the_folder_and_a_folder_of_that_name_is_let_be(
    store: RunStore, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "letter.tmp").write_text("dear")
    (store.path / "images").symlink_to(outside)
    (store.path / "link.tmp").symlink_to(outside / "letter.tmp")
    (store.path / "d.tmp").mkdir()
    (store.path / "d.tmp" / "torn.tmp").write_text("half")
    with store.locked():
        pass
    assert (outside / "letter.tmp").read_text() == "dear"
    assert (store.path / "d.tmp").is_dir()
    assert not (store.path / "d.tmp" / "torn.tmp").exists()


@pytest.mark.parametrize("name", ["analysis", "scores", "images"])
def test_nothing_is_written_through_a_link_out_of_the_folder(tmp_path: Path, name: str) -> None:
    store, outside = RunStore.open(tmp_path / "run", plan=synthetic_plan()), tmp_path / "outside"
    outside.mkdir()
    (store.path / name).symlink_to(outside)
    with pytest.raises(StoreError, match="lies outside"):
        if name == "analysis":
            store.write_analysis("groups", pd.DataFrame({"by": ["language"]}))
        elif name == "scores":
            store.append("scores", pd.DataFrame({"key": ["a"], "disagreement": [1.0]}))
        else:
            store.write_image("images/ab/abc.png", b"png")
    assert not list(outside.iterdir())


def test_a_key_that_is_a_path_writes_no_image_out_of_the_folder(store: RunStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="lies outside"):
        store.write_image("images/../../../stolen.png", b"png")
    assert not list(tmp_path.rglob("stolen.png"))


def test_an_errors_file_that_is_a_link_gets_no_line(store: RunStore, tmp_path: Path) -> None:
    from emoe_audit.errors import AuditError
    from emoe_audit.types import RowError

    (tmp_path / "diary").write_text("dear diary\n")
    (store.path / "errors.jsonl").symlink_to(tmp_path / "diary")
    with pytest.raises(AuditError, match=r"errors\.jsonl"):
        store.record_error(RowError(stage="read", message="x"))
    assert (tmp_path / "diary").read_text() == "dear diary\n"


# A folder's name.


def unanalysed(path: Path, n_prompts: int) -> RunStore:
    """A run whose scores lie in two shards."""
    frame, store = synthetic_frame(n_prompts), RunStore.open(path, plan=synthetic_plan())
    store.write_prompts([frame[["key", "prompt_id", "source_id", "prompt", "language", "region"]]])
    for half in (frame.iloc[::2], frame.iloc[1::2]):
        store.append("scores", half[["key", *frame.columns[6:15]]])
    return store


@pytest.mark.parametrize("name", ["region=DE", "language=en", "run[12]", "run*", "run?", "a\\b", "{a,b}", "it's", "**"])
def test_a_folder_s_name_is_no_pattern_and_makes_no_column(tmp_path: Path, name: str) -> None:
    for neighbour in ("run1", "run2", "runs", "a", "ab"):
        unanalysed(tmp_path / neighbour, 20)
    store = unanalysed(tmp_path / name, 100)
    expected = synthetic_frame(100)
    store.join()
    for _ in ("joined", "not joined"):
        rows = store.query("SELECT * FROM results ORDER BY prompt_id")
        assert len(rows) == 100
        assert rows["language"].value_counts().to_dict() == expected["language"].value_counts().to_dict()
        assert rows["region"].value_counts().to_dict() == expected["region"].value_counts().to_dict()
        (store.path / "analysis" / "results.parquet").unlink(missing_ok=True)
    store.finish()
    assert len(store.query("SELECT * FROM scores")) == 100
    assert [len(list((tmp_path / n / "scores").iterdir())) for n in ("run1", name)] == [2, 1]


# Equal keys.


def repeated(keys: str, n: int, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({keys: ["same"] * n, **columns})


def measured(ask: Callable[[], Any]) -> Any:
    """What is answered within twenty seconds, for at most a gigabyte more."""
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    answer = ask()
    assert time.perf_counter() - started < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000
    return answer


def equal_keys(path: Path) -> RunStore:
    """A run in which every row of every table that is joined has the same key."""
    store = RunStore.open(path, plan=synthetic_plan())
    frame = synthetic_frame(MANY).assign(key="same")
    store.write_prompts([frame[["key", "prompt_id", "source_id", "prompt", "language", "region"]]])
    store.append("scores", frame[["key", *frame.columns[6:15]]])
    store.append("quality", frame[["key", "source_id", *frame.columns[15:]]])
    store.append("readings", frame[["key"]].assign(reading=[b"\x00\x3c" * 8] * MANY))
    return store


@pytest.mark.slow
def test_equal_keys_multiply_in_no_join(tmp_path: Path) -> None:
    store = equal_keys(tmp_path / "run")
    for question in (
        "SELECT count(*) AS n FROM results",
        "SELECT count(*) AS n FROM prompts JOIN readings USING (key)",
        "SELECT count(*) AS n FROM results LEFT JOIN readings USING (key)",
    ):
        assert measured(partial(store.query, question))["n"].tolist() == [MANY]
    assert len(measured(lambda: nearest(store, "same", 5))) == 0


def test_equal_ratings_and_translations_are_told(tmp_path: Path) -> None:
    store = synthetic_run(tmp_path / "run", 20, n_boot=5)
    store.write_analysis("ratings", repeated("prompt_id", MANY, stars=1.0, n_stars=1))
    with pytest.raises(StoreError, match=r"ratings\.parquet: two rows are of the same prompt_id; remove it"):
        measured(lambda: store.query("SELECT count(*) FROM results"))
    (store.path / "analysis" / "ratings.parquet").unlink()
    store.write_analysis("translations", repeated("key", MANY, source_id="s", translation_disagreement=1.0))
    with pytest.raises(StoreError, match=r"translations\.parquet: two rows are of the same key, source_id"):
        measured(lambda: store.query("SELECT count(*) FROM results"))


@pytest.mark.slow
@pytest.mark.parametrize("table", ["gaps", "rejection", "thresholds", "trust", "groups"])
def test_a_table_of_the_analysis_that_says_a_row_again_and_again_is_told(store: RunStore, table: str) -> None:
    changed(store, table, lambda rows: pd.concat([rows] * (MANY // len(rows))))
    with pytest.raises(StoreError, match=rf"{table}\.parquet: two rows are of the same"):
        measured(lambda: collect(store))


def test_a_decision_that_is_made_again_and_again_is_told(store: RunStore) -> None:
    decided = repeated(
        "key", MANY, source_id="s", p_good=1.0, confidence=1.0, decision="accept", reason="", fitted_on=False
    )
    store.write_analysis("abstain", decided)
    with pytest.raises(StoreError, match=r"abstain\.parquet: two rows are of the same key"):
        measured(lambda: decided_results(store))


# Tables that are not what they are called.


@pytest.mark.parametrize(
    ("table", "rows", "told"),
    [
        ("scores", {"key": ["a"], "disagreement": ["high"]}, "column 'disagreement' holds .*string, not numbers"),
        ("scores", {"key": [None, "a"], "disagreement": [1.0, 2.0]}, "a row has no key"),
        ("scores", {"key": [7], "disagreement": [1.0]}, "column 'key' holds int64, not labels"),
        ("scores", {"disagreement": [1.0]}, "has no column 'key'"),
        ("scores", {"key": ["a"], "disagreement": [[1.0]]}, "not numbers"),
        ("scores", {"key": ["a"], "other": [[1.0]]}, "which is no text, number or time"),
        ("scores", {"key": ["a"], "truncated": ["yes"]}, "not flags"),
        ("scores", {"key": ["a"], "KEY": ["b"]}, "two columns are called 'key'"),
        ("quality", {"key": ["a"], "clip_cosine": [0.5]}, "has no column 'source_id'; remove it"),
        ("quality", {"key": ["a"], "source_id": ["s"], "image": [b"png"]}, "column 'image' holds binary, not texts"),
        ("readings", {"key": ["a"], "reading": ["text"]}, "not bytes"),
    ],
)
def test_a_table_of_something_else_is_told_with_its_file(
    tmp_path: Path, table: str, rows: dict[str, Any], told: str
) -> None:
    store = RunStore.open(tmp_path / "run", plan=synthetic_plan())
    (store.path / table).mkdir()
    pq.write_table(pa.table(rows), store.path / table / "part-000000.parquet")
    with pytest.raises(StoreError, match=rf"{table}.part-000000\.parquet: .*{told}"):
        store.query(f"SELECT * FROM {table}")


def test_a_column_in_which_all_is_missing_is_of_any_kind(tmp_path: Path) -> None:
    store = RunStore.open(tmp_path / "run", plan=synthetic_plan())
    store.append("scores", pd.DataFrame({"key": ["a"], "disagreement": [None], "truncated": [None]}))
    assert store.query("SELECT * FROM scores")["disagreement"].isna().all()


def test_shards_may_be_of_different_kinds_of_numbers(tmp_path: Path) -> None:
    store = RunStore.open(tmp_path / "run", plan=synthetic_plan())
    store.append("scores", pd.DataFrame({"key": ["a"], "n_noise": [4]}))
    store.append("scores", pd.DataFrame({"key": ["b"], "n_noise": [np.nan]}))
    assert store.query("SELECT sum(n_noise) AS n FROM scores")["n"].tolist() == [4]


@pytest.mark.parametrize(
    ("table", "column", "value", "told"),
    [
        ("groups", "n_prompts", np.nan, "column 'n_prompts' holds what is no count"),
        ("groups", "n_sources", -1, "column 'n_sources' holds what is no count"),
        ("groups", "group", None, "a row has no group"),
        ("groups", "mean", "high", "not numbers"),
        ("gaps", "verdict", "<b>", "column 'verdict' says something else than different or equivalent or unclear"),
        ("trust", "verdict", "sure", "column 'verdict' says something else"),
        ("quartiles", "measure", None, "a row has no measure"),
    ],
)
def test_a_cell_that_no_analysis_writes_is_told(
    store: RunStore, table: str, column: str, value: object, told: str
) -> None:
    changed(store, table, lambda rows: rows.assign(**{column: value}))
    with pytest.raises(StoreError, match=rf"{table}\.parquet: .*{told}"):
        collect(store)


def test_tables_that_contradict_each_other_are_told(store: RunStore) -> None:
    changed(store, "rejection_curves", lambda rows: rows.iloc[:0])
    with pytest.raises(StoreError, match=r"its tables do not fit together .*; run `emoe-audit analyze"):
        collect(store)


def test_a_column_of_two_tables_stands_for_neither(store: RunStore) -> None:
    rows = synthetic_frame(200)[["prompt_id"]]
    store.write_analysis("ratings", rows.assign(Disagreement=1.0, n_Disagreement=1))
    with pytest.raises(StoreError, match="both scores and ratings have a column 'Disagreement'"):
        store.query("SELECT * FROM results")


@pytest.mark.slow
def test_one_long_text_said_often_costs_what_its_file_costs(tmp_path: Path) -> None:
    """A kilobyte on the disk that is a hundred gigabytes of texts."""
    store = RunStore.open(tmp_path / "run", plan=synthetic_plan())
    (store.path / "scores").mkdir()
    file = store.path / "scores" / "part-000000.parquet"
    words = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100_000, dtype=np.int32)), pa.array(["x" * 1_000_000]))
    keys = pa.array([f"{place:06d}" for place in range(100_000)])
    pq.write_table(pa.table({"key": keys, "note": words}), file, compression="zstd")
    assert file.stat().st_size < 2_000_000
    with pytest.raises(StoreError, match=r"part-000000\.parquet: holds more than 200 times the size of its file"):
        measured(lambda: store.query("SELECT * FROM scores"))


def test_a_file_is_looked_at_once_for_as_long_as_it_stays_the_same(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emoe_audit.runs import checked

    store.query("SELECT * FROM results LIMIT 1")
    looked: list[str] = []
    monkeypatch.setattr(checked, "_check_cells", lambda _connection, table, _files: looked.append(table))
    store.query("SELECT * FROM results LIMIT 1")
    assert looked == []
    store.append("scores", pd.DataFrame({"key": ["new"], "disagreement": [1.0]}))
    store.query("SELECT * FROM results LIMIT 1")
    assert looked == ["scores"]


def test_where_too_many_files_are_known_the_oldest_alone_is_looked_at_again(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emoe_audit.runs import checked

    monkeypatch.setattr(checked, "_known", {})
    monkeypatch.setattr(checked, "MOST_KNOWN", 3)
    for table in ("prompts", "scores", "quality", "groups"):
        store.query(f"SELECT * FROM {table} LIMIT 1")
    looked: list[str] = []
    monkeypatch.setattr(checked, "_check_cells", lambda _connection, table, _files: looked.append(table))
    for table in ("groups", "quality", "scores", "prompts"):
        store.query(f"SELECT * FROM {table} LIMIT 1")
    assert looked == ["prompts"]


def test_field_glob_out(tmp_path: Path) -> None:
    """Row `glob-out`: the third run holds its own prompts, and none of its neighbours'."""
    from emoe_audit.prompts.read import read_prompts
    from emoe_audit.steps.prompts import take_prompts

    field = Path(__file__).parents[1] / "field" / "glob-out"
    for name, out in (("first", "run1"), ("second", "run2"), ("third", "run[12]")):
        store = RunStore.open(tmp_path / out, plan=synthetic_plan())
        take_prompts(store, read_prompts(field / f"{name}.csv"))
    assert store.query("SELECT prompt FROM results")["prompt"].tolist() == ["a dog"]


def test_a_path_that_the_database_cannot_be_given_is_told(tmp_path: Path) -> None:
    store = RunStore.open(tmp_path / "a\\[b", plan=synthetic_plan())
    with pytest.raises(StoreError, match=r"a path with a backslash and one of .* cannot be read"):
        store.query("SELECT * FROM prompts")
