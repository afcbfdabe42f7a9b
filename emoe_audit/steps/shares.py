"""A run that several processes work on: each in a folder of its own; the run takes in what they made."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from emoe_audit.errors import StoreError
from emoe_audit.prompts.table import PromptTable
from emoe_audit.runs.digests import files_in, state_of
from emoe_audit.runs.files import written
from emoe_audit.runs.lock import is_held, one_of_several, prepares
from emoe_audit.runs.shards import shards
from emoe_audit.runs.shares import Share, checked_folder, crews, place_of_shares, share_folders
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.mending import IMAGE, mend
from emoe_audit.steps.prompts import take_prompts
from emoe_audit.types import RunManifest

TAKEN = (
    *(re.compile(rf"{table}/part-[0-9a-f]{{32}}\.parquet") for table in ("noises", "readings", "scores")),
    IMAGE,
    re.compile(r"sights/part-[0-9a-f]{32}\.parquet"),
    re.compile(r"quality/part-[0-9a-f]{32}\.parquet"),
)
"""What is taken in of a share, in this order: a kill leaves no row that lacks its reading or image."""
GONE = re.compile(r"gone\.[0-9a-f]{16}")
"""A share that was taken in, and is being removed."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one process does of a run."""

    share: Share
    store: RunStore
    """Where it goes."""


def begun_once(run: Path, plan: RunManifest, prompts: PromptTable) -> RunStore:
    """A run of several processes; the first of them writes plan and prompts, and the others wait for it.

    Raises:
        StoreError: the folder holds another run, or other things; somebody works on the run itself.
    """
    with prepares(run):
        store = RunStore.open(run, plan=plan)
        with one_of_several(run):
            if not shards(run, "prompts"):
                take_prompts(store, prompts)
    return store


@contextmanager
def own_share(run: RunStore, share: Share) -> Iterator[Work]:
    """Be the one process that works on a share of a run; what a killed one left there damaged is taken out.

    Raises:
        StoreError: another process works on this share, or on the run itself.
    """
    with one_of_several(run.path):
        own = RunStore(share.folder(run.path))
        with written(own.path):
            own.path.mkdir(parents=True, exist_ok=True)
        with own.locked():
            own.begin(run.plan())
            mend(own)
            own.clear_errors()
            yield Work(share=share, store=own)


def take_shares(run: RunStore) -> None:
    """Move into a run what its shares hold whole; the rest is pending, and rows that failed in one are tried again.

    The caller holds the run's lock, so nobody works on a share. What the workers of a process left that was killed is
    removed: all that it knew of is in the run.
    """
    for folder in share_folders(run.path):
        own = RunStore(folder)
        if own.is_started and own.ledger.is_kept:
            mend(own)
            for name in in_order_of_taking(name for name, _ in files_in(folder)):
                own.ledger.note(name, None)
                run.take_over(folder / name, name)
        put_away(folder)
    for crew in crews(run.path):
        if not is_held(crew):
            put_away(crew)
    remove_gone(run.path)


def in_order_of_taking(names: Iterable[str]) -> list[str]:
    """Those files of a share that are taken in, each after what it needs."""
    there = sorted(names)
    return [name for taken in TAKEN for name in there if taken.fullmatch(name)]


def take_from_worker(run: RunStore, folder: Path, names: Iterable[str]) -> None:
    """Move into a run what one of its workers says that it has written.

    Raises:
        StoreError: a file is not there, or is no plain one.
    """
    for name in in_order_of_taking(names):
        if state_of(folder / name) is None:
            raise StoreError(f"{folder / name}: was written, and is not seen here; is it the same folder everywhere?")
        run.take_over(folder / name, name)


def put_away(folder: Path) -> Path:
    """Give a folder another name, by which it is removed: a kill leaves none of it under its own."""
    gone = folder.with_name(f"gone.{secrets.token_hex(8)}")
    with written(folder):
        folder.rename(gone)
    return gone


def remove_gone(run: Path) -> None:
    """Remove what was put away."""
    place = place_of_shares(run)
    for name in os.listdir(place) if place.exists() else []:
        if GONE.fullmatch(name):
            with written(place / name):
                shutil.rmtree(checked_folder(place / name))
