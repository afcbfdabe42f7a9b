"""The job of whoever judges images that were made elsewhere; which those are, and which are to be judged anew."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from emoe_audit.errors import StoreError
from emoe_audit.prompts.columns import listed
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.hands import Row
from emoe_audit.steps.pictures import keep_pictures
from emoe_audit.types import EnsembleSpec, ImageConfig, RowError, Stage

if TYPE_CHECKING:
    from emoe_audit.quality.brought import Looked, Onlooker
    from emoe_audit.quality.candidates import Candidates

log = logging.getLogger(__name__)
LOOKED_AT_ONCE = 256
"""Prompts whose images are judged between two shards."""
PROMPTS = "SELECT * FROM prompts ORDER BY prompt_id"


@dataclass(frozen=True, kw_only=True)
class Looking:
    """Images of a folder are judged."""

    ensemble: EnsembleSpec
    images: ImageConfig
    captions: Mapping[str, str]
    """The source caption of each `source_id` that has one."""
    candidates: Candidates
    """What these are ranked among."""
    stage: Stage = "image"

    def load(self) -> Onlooker:
        """Load the judge. Raises `QualityError`."""
        from emoe_audit.quality.brought import Onlooker
        from emoe_audit.quality.clip_score import ClipJudge
        from emoe_audit.quality.judging import Judging

        judge = ClipJudge(str(self.ensemble.judge), device=self.images.device)
        return Onlooker(Judging(judge, self.captions, self.candidates), Path(str(self.images.brought)))

    def work(self, loaded: Onlooker, own: RunStore, rows: Sequence[Row]) -> None:
        """Write copies of the images and a shard of what the judge says; an image that cannot be read is recorded."""
        given = ([row[name] for row in rows] for name in ("prompt", "source_ids", "files"))
        with ThreadPoolExecutor(1) as writer:  # which waits for the disk while the next images are judged
            kept = [writer.submit(self._kept, own, rows[part.prompts], part) for part in loaded.judge(*given)]
        found = [own.result() for own in kept]
        judged = pd.concat([rows for rows in found if len(rows)] or found[:1])
        if len(judged):
            own.append("quality", judged)

    def _kept(self, own: RunStore, rows: Sequence[Row], looked: Looked) -> pd.DataFrame:
        """Write what is kept of some prompts beside what the judge says, which is given back."""
        faults = [(rows[place]["prompt_id"], why) for place, why in looked.faults]
        own.record_error(*(RowError(stage=self.stage, prompt_id=prompt_id, message=why) for prompt_id, why in faults))
        stamps = [rows[place]["image_stamp"] for place in looked.rows["place"]]
        judged = keep_pictures(own, rows, looked.copies, looked.seen, looked.rows.assign(image_stamp=stamps))
        return judged[judged["n_images"] > 0]


def choose_brought(store: RunStore, own: RunStore) -> pd.DataFrame:
    """The prompts that have images in the folder, with their `files` and how these lie there, `image_stamp`.

    A prompt without an image is recorded; what was said of images that have changed since is forgotten.

    Args:
        store: The run.
        own: Where errors go.

    Raises:
        StoreError: the run was received without a word on its images.
        QualityError: there is no such folder, or no image in it belongs to a prompt.
    """
    from emoe_audit.quality.brought import find_images, stamp_of

    brought = store.sources().images.brought
    if brought is None:
        raise StoreError(
            f"{store.path}: its images came from a folder that is read only at your word: give --trust-run, or run it "
            "again with --images"
        )
    folder, prompts = Path(brought), store.query(PROMPTS)
    found = find_images(prompts, folder)
    own.record_error(*found.row_errors)
    if found.unused:
        log.warning("%s: %d images belong to no prompt: %s", folder, len(found.unused), listed(found.unused))
    chosen = prompts[prompts["prompt_id"].isin(found.files)].copy()
    chosen["files"] = chosen["prompt_id"].map(found.files)
    chosen["image_stamp"] = [stamp_of(folder, files) for files in chosen["files"]]
    _forget_changed(store, dict(zip(chosen["key"], chosen["image_stamp"], strict=True)))
    return chosen[["key", "source_id", "prompt_id", "prompt", "language", "files", "image_stamp"]]


def _forget_changed(store: RunStore, stamps: Mapping[str, str]) -> None:
    held = store.query("SELECT * FROM quality")
    if "image_stamp" not in held or (held["key"].map(stamps) == held["image_stamp"]).all():
        return
    changed = set(held.loc[held["key"].map(stamps) != held["image_stamp"], "key"])
    log.warning("%s: %d prompts have other images than before, which are judged anew", store.path, len(changed))
    store.keep("sights", lambda rows: ~rows["key"].isin(changed))
    store.keep("quality", lambda rows: ~rows["key"].isin(changed))
