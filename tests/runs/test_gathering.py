"""Small shards are put together while a run is written: few files, the same rows, whatever is killed when."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from emoe_audit.runs import gathering, views
from emoe_audit.runs.integrity import verify
from emoe_audit.runs.ledger import Ledger
from emoe_audit.runs.shards import shards
from emoe_audit.runs.store import RunStore
from tests.synthetic import synthetic_plan

KEYS = [f"{number * 0x9E3779B1 % 2**32:08x}{number:024x}" for number in range(100)]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    """A run that puts ten shards into one."""
    monkeypatch.setattr(gathering, "GATHERED", 10)
    return RunStore.open(tmp_path / "run", plan=synthetic_plan())


def scores(keys: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"key": keys, "disagreement": range(len(keys)), "relative_disagreement": 1.0})


def held(store: RunStore) -> list[str]:
    return store.query("SELECT key FROM scores ORDER BY key")["key"].to_list()


def test_as_many_rows_are_in_fewer_files(store: RunStore) -> None:
    for start in range(0, 74, 2):
        store.append("scores", scores(KEYS[start : start + 2]))
    assert len(shards(store.path, "scores")) == 3 + 7
    assert held(store) == sorted(KEYS[:74])
    assert verify(store.path).faults == ()


def test_rows_that_come_again_are_in_it_once(store: RunStore) -> None:
    for start in (0, 0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9):
        store.append("scores", scores(KEYS[start : start + 2]))
    assert len(shards(store.path, "scores")) == 1
    assert held(store) == sorted(KEYS[:11])


def test_what_others_made_is_put_together_too(store: RunStore, tmp_path: Path) -> None:
    other = RunStore(tmp_path / "other")
    other.path.mkdir()
    other.begin(synthetic_plan())
    for start in range(10):
        other.append("scores", scores(KEYS[start : start + 1]))
        (file,) = shards(other.path, "scores")
        store.take_over(file, f"scores/{file.name}")
    assert len(shards(store.path, "scores")) == 1
    assert held(store) == sorted(KEYS[:10])


def test_a_reader_who_listed_the_small_ones_reads_the_one_that_took_their_place(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for start in range(9):
        store.append("scores", scores(KEYS[start : start + 1]))
    before = shards(store.path, "scores")
    store.append("scores", scores(KEYS[9:10]))
    listed = iter([before, before])
    monkeypatch.setattr(views, "shards", lambda run, table: next(listed, None) or shards(run, table))
    assert held(store) == sorted(KEYS[:10])
    assert next(listed, None) is None


def test_what_was_compacted_meanwhile_is_put_together_no_more(store: RunStore) -> None:
    for start in range(0, 8):
        store.append("scores", scores(KEYS[start : start + 1]))
    store.compact("scores")
    for start in range(8, 20):
        store.append("scores", scores(KEYS[start : start + 1]))
    assert held(store) == sorted(KEYS[:20])
    assert len(shards(store.path, "scores")) == 1 + 1 + 2


@pytest.mark.parametrize("n_removed", [0, 3, 9])
def test_a_kill_before_the_small_ones_are_gone_doubles_nothing(
    store: RunStore, monkeypatch: pytest.MonkeyPatch, n_removed: int
) -> None:
    remove, left = Ledger.remove, iter(range(n_removed))

    def killed(self: Ledger, name: str) -> None:
        if name.startswith("scores/") and next(left, None) is None:
            raise KeyboardInterrupt
        remove(self, name)

    monkeypatch.setattr(Ledger, "remove", killed)
    with pytest.raises(KeyboardInterrupt):
        for start in range(10):
            store.append("scores", scores(KEYS[start : start + 1]))
    monkeypatch.undo()
    again = RunStore(store.path)
    assert len(shards(again.path, "scores")) == 11 - n_removed
    assert held(again) == sorted(KEYS[:10])
    again.compact("scores")
    assert held(again) == sorted(KEYS[:10])
    assert verify(again.path).faults == ()
