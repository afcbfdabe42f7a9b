"""The images: whole captions are chosen, and every chosen prompt that has no image yet is drawn and judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from emoe_audit.progress import Progress, chunks, silent
from emoe_audit.prompts.tags import SOURCE_LANGUAGE
from emoe_audit.runs.batches import as_prompt, one_by_one_if_it_fails
from emoe_audit.runs.store import RunStore
from emoe_audit.types import ImageConfig

if TYPE_CHECKING:
    from emoe_audit.quality.illustrator import Illustrator


def judge_pending(store: RunStore, progress: Progress = silent, *, among: Sequence[str] | None = None) -> None:
    """Make and judge an image for every chosen prompt that has none yet; `among` some `source_id`, or all."""
    images = store.plan().images
    if not images.n_images:
        return
    chosen = choose_for_images(store, images, among)
    pending = store.pending("quality", chosen)
    done = len(chosen) - len(pending)
    progress("images", done, len(chosen))
    if not pending:
        return
    from emoe_audit.quality.illustrator import Illustrator

    sources = store.sources()
    illustrator = Illustrator(sources.ensemble, sources.images, source_captions(store))
    for chunk in chunks(pending, images.batch_size):
        rows = store.prompts_of(chunk)
        judged = one_by_one_if_it_fails(rows, lambda part: _draw_and_judge(store, illustrator, part), "image", store)
        if judged:
            store.append("quality", pd.concat(judged, ignore_index=True))
        done += len(chunk)
        progress("images", done, len(chosen))


def choose_for_images(store: RunStore, images: ImageConfig, among: Sequence[str] | None = None) -> list[str]:
    """Keys of the prompts that get an image: whole captions, those in most languages first, else at random by seed."""
    captions = store.query(
        "SELECT source_id, list(DISTINCT key ORDER BY key) AS keys, count(DISTINCT language) AS width "
        "FROM prompts WHERE ? IS NULL OR list_contains(?, source_id) "
        "GROUP BY source_id ORDER BY width DESC, sha256(? || ':' || source_id)",
        [among, among, str(images.seed)],
    )
    chosen: list[str] = []
    for keys in captions["keys"]:
        if len(chosen) + len(keys) > images.n_images:
            break
        chosen += list(keys)
    return chosen


def source_captions(store: RunStore) -> dict[str, str]:
    """The source caption of each `source_id`: its `source_prompt`, else its English prompt, in `en` or `en-US`."""
    if "source_prompt" in store.columns():
        sql = "SELECT source_id, any_value(source_prompt) AS caption FROM prompts GROUP BY source_id"
        frame = store.query(sql).dropna()
        return dict(zip(frame["source_id"], frame["caption"], strict=True))
    english = store.query(
        "SELECT source_id, prompt, language FROM prompts WHERE language = ? OR starts_with(language, ?)",
        [SOURCE_LANGUAGE, f"{SOURCE_LANGUAGE}-"],
    )
    plainest = english.sort_values("language", kind="stable").drop_duplicates("source_id")
    return dict(zip(plainest["source_id"], plainest["prompt"], strict=True))


def _draw_and_judge(store: RunStore, illustrator: Illustrator, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    from emoe_audit.quality.images import made_from, png

    frame, pictures = illustrator.judge([as_prompt(row) for row in rows])
    frame.insert(0, "key", [row["key"] for row in rows])
    frame.insert(1, "image", [f"images/{key[:2]}/{key}.png" for key in frame["key"]])
    plan = store.plan()
    for row, name, picture in zip(rows, frame["image"], pictures, strict=True):
        about = made_from(as_prompt(row), plan.ensemble, plan.images, plan.ensemble_hash)
        store.write_image(name, png(picture, about))
    return frame
