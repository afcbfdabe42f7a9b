"""The job of whoever judges images that were made elsewhere; which those are, and which are to be judged anew."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from emoe_audit.errors import QualityError, StoreError
from emoe_audit.prompts.columns import listed
from emoe_audit.runs.store import RunStore, Table
from emoe_audit.steps.hands import Row
from emoe_audit.steps.pictures import Pictured, keep_pictures
from emoe_audit.steps.shares import Work
from emoe_audit.types import RowError

if TYPE_CHECKING:
    from emoe_audit.quality.brought import Looked, Onlooker

log = logging.getLogger(__name__)
LOOKED_AT_ONCE = 64
"""Prompts whose images are judged between two shards where several processes work."""
MOST_LOOKED_AT = 512
"""The same for one process, as far as they take ten seconds or so: files are read while others are written."""
PROMPTS = "SELECT key, source_id, prompt_id, prompt, language FROM prompts ORDER BY prompt_id"
WITH_FILES = "SELECT key, source_id, prompt_id, prompt, language, image_file FROM prompts ORDER BY prompt_id"
JUDGED = "SELECT key, any_value(n_images) AS n_images FROM quality GROUP BY key"
ORPHANS = "SELECT key FROM sights ANTI JOIN quality USING (key)"
TABLES: tuple[Table, ...] = ("sights", "quality")


@dataclass(frozen=True, kw_only=True)
class Looking(Pictured):
    """Images of a folder are judged."""

    def load(self) -> Onlooker:
        """Load the judge. Raises `QualityError`, also where the folder is not seen from here."""
        from emoe_audit.quality.brought import Onlooker
        from emoe_audit.quality.clip_score import ClipJudge
        from emoe_audit.quality.judging import Judging

        self._check_folder()
        judge = ClipJudge(str(self.ensemble.judge), device=self.images.device)
        return Onlooker(Judging(judge, self.captions, self.candidates), Path(str(self.images.brought)))

    def work(self, loaded: Onlooker, own: RunStore, rows: Sequence[Row]) -> None:
        """Write copies of the images and a shard of what the judge says; an image that cannot be read is recorded."""
        given = ([row[name] for row in rows] for name in ("prompt", "source_ids", "files"))
        with ThreadPoolExecutor(1) as writer:  # which waits for the disk while the next images are judged
            kept = [writer.submit(self._kept, own, rows[part.prompts], part) for part in loaded.judge(*given)]
        found = [part.result() for part in kept]
        judged = pd.concat([part for part in found if len(part)] or found[:1])
        if len(judged):
            own.append("quality", judged)
        else:
            self._check_folder()

    def _check_folder(self) -> None:
        """Raise `QualityError` where the folder is gone: no prompt is at fault then."""
        if not Path(str(self.images.brought)).is_dir():
            raise QualityError(f"--images {self.images.brought}: no such folder here")

    def _kept(self, own: RunStore, rows: Sequence[Row], looked: Looked) -> pd.DataFrame:
        """Write what is kept of some prompts beside what the judge says, which is given back."""
        faults = [(rows[place]["prompt_id"], why) for place, why in looked.faults]
        own.record_error(*(RowError(stage=self.stage, prompt_id=prompt_id, message=why) for prompt_id, why in faults))
        stamps = [rows[place]["image_stamp"] for place in looked.rows["place"]]
        judged = keep_pictures(own, rows, looked.copies, looked.seen, looked.rows.assign(image_stamp=stamps))
        return judged[judged["n_images"] > 0]


def choose_brought(store: RunStore, work: Work | None = None) -> pd.DataFrame:
    """The prompts that have images in the folder, with their `files` and how these lie there, `image_stamp`.

    What lacks an image is recorded. What was said of images that have changed since is forgotten, unless several
    processes work on the run: then that waits for the next start of one alone.

    Args:
        store: The run.
        work: A share of the prompts, whose errors go there; None for all.

    Raises:
        StoreError: the run was received without a word on its images.
        QualityError: there is no such folder, or no image in it belongs to a prompt.
    """
    from emoe_audit.quality.brought import COLUMN, find_images, stamp_of

    brought = store.sources().images.brought
    if brought is None:
        raise StoreError(
            f"{store.path}: its images came from a folder that is read only at your word: give --trust-run, or run it "
            "again with --images"
        )
    is_named = COLUMN in store.columns()
    folder, prompts = Path(brought), store.query(WITH_FILES if is_named else PROMPTS)
    found = find_images(prompts, folder)
    chosen = prompts[prompts["prompt_id"].isin(found.files)].drop(columns=COLUMN, errors="ignore")
    files = chosen["prompt_id"].map(found.files)
    chosen = chosen.assign(files=files, image_stamp=[stamp_of(folder, own) for own in files])
    if work is None:
        _forget_changed(store, dict(zip(chosen["key"], chosen["image_stamp"], strict=True)))
    told = [*found.row_errors, *_told_before(store, chosen)]
    if work is not None:
        own = set(prompts.loc[prompts["key"].map(work.share.holds).astype(bool), "prompt_id"])
        told = [error for error in told if error.prompt_id in own]
    elif found.unused:
        log.warning("%s: %d images belong to no prompt: %s", folder, len(found.unused), listed(found.unused))
    (store if work is None else work.store).record_error(*told)
    return chosen


def _told_before(store: RunStore, chosen: pd.DataFrame) -> Iterator[RowError]:
    """What was left out of prompts that are judged already: their images are not read again."""
    judged = chosen.merge(store.query(JUDGED), on="key")
    for row in judged[judged["n_images"] < judged["files"].map(len)].itertuples():
        message = f"{len(row.files) - int(row.n_images)} of its {len(row.files)} images could not be read"
        yield RowError(stage="image", prompt_id=str(row.prompt_id), message=message)


def _forget_changed(store: RunStore, stamps: Mapping[str, str]) -> None:
    """Let prompts be judged anew whose images are others than before, or of which a kill left half."""
    held = store.query("SELECT * FROM quality LIMIT 0")
    changed: set[str] = set()
    if "image_stamp" in held:
        held = store.query("SELECT key, image_stamp FROM quality")
        changed = set(held.loc[held["key"].map(stamps) != held["image_stamp"], "key"])
    orphans = set(store.query(ORPHANS)["key"])
    if not changed | orphans:
        return
    if changed:
        log.warning("%s: %d prompts have other images than before, which are judged anew", store.path, len(changed))
    if store.is_complete:
        store.ledger.reopen()
    for table in TABLES:
        store.keep(table, lambda rows: ~rows["key"].isin(changed | orphans))
