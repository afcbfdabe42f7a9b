"""Rows in the order of a hash, by files that are sorted one by one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoe_audit.runs import buckets
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
