"""What is left to do: each key once, in order, in parts, for all or for a share; and what its files are called."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from emoe_audit.errors import AuditError
from emoe_audit.progress import chunks
from emoe_audit.runs.pending import n_pending, n_prompts, pending
from emoe_audit.runs.shares import Share
from emoe_audit.runs.store import RunStore
from tests.synthetic import synthetic_plan

KEYS = [f"{number * 0x9E3779B1 % 2**32:08x}{number:024x}" for number in range(60)]


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """Sixty keys, the first of which two prompts share."""
    run = RunStore.open(tmp_path / "run", plan=synthetic_plan())
    keys = [*KEYS, KEYS[0]]
    names = [f"p{place:02}" for place in range(len(keys))]
    prompts = {"key": keys, "prompt_id": names[::-1], "source_id": "s", "prompt": names, "language": "en"}
    run.write_prompts([pd.DataFrame(prompts).assign(region=None)])
    return run


def scores(keys: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"key": keys, "disagreement": 1.0, "relative_disagreement": 1.0})


def left(store: RunStore, share: Share | None = None) -> list[str]:
    return [row["key"] for row in pending(store, "scores", share)]


def test_every_key_without_a_row_comes_once_in_order(store: RunStore) -> None:
    store.append("scores", scores(KEYS[10:30]))
    assert left(store) == sorted(KEYS[:10] + KEYS[30:])
    assert n_pending(store, "scores") == 40 and n_prompts(store) == 60


def test_they_come_with_what_is_asked_of_a_prompt(store: RunStore) -> None:
    (shared,) = [row for row in pending(store, "scores") if row["key"] == KEYS[0]]
    assert shared == {"key": KEYS[0], "prompt_id": "p00", "source_id": "s", "prompt": "p60", "language": "en"}


def test_what_is_done_meanwhile_takes_nothing_away_and_no_file_stays(store: RunStore) -> None:
    seen = []
    for rows in chunks(pending(store, "scores"), 7):
        seen += [row["key"] for row in rows]
        store.append("scores", scores([row["key"] for row in rows]))
    assert seen == sorted(KEYS)
    assert left(store) == []
    assert not list(store.path.glob("*.tmp"))


@pytest.mark.parametrize("of", [1, 2, 7, 100])
def test_every_key_is_in_one_share_and_both_ways_to_tell_agree(store: RunStore, of: int) -> None:
    shares = [Share(number=number, of=of) for number in range(1, of + 1)]
    found = {share: left(store, share) for share in shares}
    assert Counter(key for keys in found.values() for key in keys) == Counter(KEYS)
    assert all(share.holds(key) for share, keys in found.items() for key in keys)
    assert {share: n_prompts(store, share) for share in shares} == {share: len(keys) for share, keys in found.items()}


def test_what_lies_in_the_folder_of_a_share_is_done(store: RunStore) -> None:
    share = Share(number=2, of=3)
    first, *others = left(store, share)
    RunStore.open(share.folder(store.path), plan=store.plan()).append("scores", scores([first]))
    assert left(store, share) == others
    assert n_pending(store, "scores", share) == len(others)


@pytest.mark.parametrize(("number", "of"), [(0, 3), (4, 3), (1, 0), (1, 1_000_000)])
def test_a_share_that_is_not_there_is_refused(number: int, of: int) -> None:
    with pytest.raises(AuditError, match=f"share {number} of {of}: there are the shares 1 to {of}"):
        Share(number=number, of=of)


def test_the_same_rows_again_take_the_place_of_their_file_in_any_order(store: RunStore) -> None:
    store.append("scores", scores(KEYS[:3]))
    store.append("scores", scores(KEYS[2::-1]))
    store.append("scores", scores(KEYS[:2]))
    assert len(list((store.path / "scores").iterdir())) == 2
    assert store.query("SELECT count(*) AS n FROM scores")["n"].iloc[0] == 3
