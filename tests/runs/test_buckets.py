"""Rows in the order of a hash, by files that are sorted one by one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoe_audit.errors import StoreError
from emoe_audit.runs import buckets, query
from emoe_audit.runs.buckets import in_order_of_hash
from emoe_audit.runs.integrity import verify
from emoe_audit.runs.sql import sql
from emoe_audit.runs.store import RunStore
from tests.synthetic import synthetic_plan


@pytest.mark.parametrize("size", [1, 10, 1000])
def test_rows_come_in_the_order_of_the_hash_and_leave_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(buckets, "BUCKET", size)
    store = RunStore.open(tmp_path / "it's [run]", plan=synthetic_plan())
    keys, sources = [f"{place * 7919 % 211:032x}" for place in range(200)], [f"s{place % 40}" for place in range(200)]
    prompts = pd.DataFrame({"key": keys, "source_id": sources, "prompt_id": keys, "prompt": "p", "language": "en"})
    store.write_prompts([prompts])
    store.append("readings", pd.DataFrame({"key": keys, "reading": [key.encode() for key in keys]}))
    before = sorted(store.path.rglob("*"))
    found = pd.concat(in_order_of_hash(store, sql("SELECT key, source_id FROM prompts"), "readings", "source_id", 200))
    hashed = [(hashlib.sha256(own.encode()).hexdigest(), own, key) for own, key in zip(sources, keys, strict=True)]
    assert list(zip(found["source_id"], found["key"], strict=True)) == [row[1:] for row in sorted(hashed)]
    assert found["reading"].map(bytes).tolist() == [key.encode() for key in found["key"]]
    assert sorted(store.path.rglob("*")) == before


def run_of(path: Path, prompts: pd.DataFrame) -> RunStore:
    store = RunStore.open(path, plan=synthetic_plan())
    store.write_prompts([prompts.assign(prompt_id=[str(place) for place in range(len(prompts))], prompt="p")])
    return store


def ordered(store: RunStore) -> pd.DataFrame:
    keyed = sql("SELECT DISTINCT key, source_id FROM prompts WHERE language = 'en'")
    return pd.concat(in_order_of_hash(store, keyed, "readings", "source_id", 200), ignore_index=True)


def readings(keys: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame({"key": keys, "reading": [key.encode() for key in keys]})


def test_files_of_which_nothing_is_wanted_are_passed_over(tmp_path: Path) -> None:
    keys = [f"{place:032x}" for place in range(30)]
    languages = ["en"] * 10 + ["fr"] * 10 + ["en"] * 10
    store = run_of(tmp_path / "run", pd.DataFrame({"key": keys, "source_id": keys, "language": languages}))
    for start in (0, 10, 20):
        store.append("readings", readings(keys[start : start + 10]))
    assert sorted(ordered(store)["key"]) == [*keys[:10], *keys[20:]]


def test_a_text_of_many_captions_comes_with_each_wherever_its_keys_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In groups of 2,048 keys, of which one is in three."""
    monkeypatch.setattr(query, "ROW_GROUP", 2048)
    keys = [f"{place:032x}" for place in range(3000)] + ["f" * 32] * 5000
    sources = [f"s{place}" for place in range(8000)]
    store = run_of(tmp_path / "run", pd.DataFrame({"key": keys, "source_id": sources, "language": "en"}))
    store.append("readings", readings(sorted(set(keys))))
    found = ordered(store)
    assert sorted(zip(found["key"], found["source_id"], strict=True)) == sorted(zip(keys, sources, strict=True))
    assert (found["reading"].map(bytes) == found["key"].str.encode("ascii")).all()


def test_a_row_that_lies_in_two_files_comes_once(tmp_path: Path) -> None:
    keys = [f"{place:032x}" for place in range(20)]
    store = run_of(tmp_path / "run", pd.DataFrame({"key": keys, "source_id": "s", "language": "en"}))
    store.append("readings", readings(keys[:12]))
    store.append("readings", readings(keys[8:]))
    assert ordered(store)["key"].to_list() == keys


def test_a_reading_that_no_engine_gives_is_refused(tmp_path: Path) -> None:
    keys = ["0" * 32, "1" * 32]
    store = run_of(tmp_path / "run", pd.DataFrame({"key": keys, "source_id": "s", "language": "en"}))
    store.append("readings", pd.DataFrame({"key": keys, "reading": [b"1234", b"x" * 20_000]}))
    with pytest.raises(StoreError, match=r"part-.*\.parquet: a reading is larger than 16,384 bytes"):
        ordered(store)


def test_what_a_killed_process_left_is_removed_and_a_link_is_not_followed(tmp_path: Path) -> None:
    store = RunStore.open(tmp_path / "run", plan=synthetic_plan())
    left, linked, other = (store.path / name for name in ("spill.abcd1234", "spill.abcd5678", "spill.of-mine"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_text("kept")
    for folder in (left / "buckets" / "bucket=3", other):
        folder.mkdir(parents=True)
        np.zeros(3).tofile(folder / "data_0.parquet")
    linked.symlink_to(tmp_path / "elsewhere")
    assert [fault.path for fault in verify(store.path).faults] == ["spill.abcd5678", "spill.of-mine/data_0.parquet"]
    with store.locked():
        assert not left.exists()
    assert (other / "data_0.parquet").exists() and (tmp_path / "elsewhere" / "kept").exists()
