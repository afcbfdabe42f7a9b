"""The images: whole captions are chosen, and every chosen prompt that has no image yet is drawn and judged.

A text is drawn once, also where it is a translation of two captions, and judged against each of them. Where images were
brought along, every prompt that has one is chosen, and all that is done is to judge.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from emoe_audit.errors import StoreError
from emoe_audit.progress import Counted, Progress, chunks, paced, silent
from emoe_audit.prompts.captions import choose_captions, compact, too_large
from emoe_audit.prompts.tags import SOURCE_LANGUAGE
from emoe_audit.runs.sql import sql
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.brought import LOOKED_AT_ONCE, MOST_LOOKED_AT, Looking, choose_brought
from emoe_audit.steps.drawing import Drawing
from emoe_audit.steps.hands import Hands, Here
from emoe_audit.steps.shares import Work
from emoe_audit.types import ImageConfig

if TYPE_CHECKING:
    from emoe_audit.quality.candidates import Candidates

log = logging.getLogger(__name__)
WANTED = "(? IS NULL OR source_id IN (SELECT unnest(?::VARCHAR[]))) AND language = coalesce(?, language)"
CAPTIONED = "SELECT source_id, language, prompt FROM prompts WHERE {wanted}"
DRAWN = """
    SELECT key, source_id, prompt_id, prompt, language FROM prompts
    WHERE {wanted} AND source_id IN (SELECT unnest(?::VARCHAR[]))
"""


def judge_pending(
    store: RunStore,
    progress: Progress = silent,
    *,
    among: Sequence[str] | None = None,
    language: str | None = None,
    work: Work | None = None,
    hands: Hands | None = None,
) -> None:
    """Make and judge an image for every chosen prompt that has none yet.

    Args:
        store: The run.
        progress: Called with stage, done, total.
        among: Some `source_id`; None for all.
        language: The only one whose prompts are drawn; None for all.
        work: A share of the prompts, and where what is made of it goes; None for all, and into the run.
        hands: Who does it; None for this process.

    Raises:
        StoreError: the images of the run were judged against other candidates than those of today.
    """
    images = store.plan().images
    if not images.n_images:
        return
    is_drawn = images.brought is None
    own = work.store if work else store
    chosen = choose_for_images(store, images, among, language) if is_drawn else choose_brought(store, work)
    if work is not None:
        chosen = chosen[chosen["key"].map(work.share.holds).astype(bool)]
    judged_as = chosen.drop_duplicates("key").set_index("key", drop=False)
    pending = _unjudged([store, work.store] if work else [store], chosen)
    report = Counted(progress=progress, stage="images", total=len(judged_as), done=len(judged_as) - len(pending))
    report(0)
    if not pending:
        return
    sources = store.sources()
    job = (Drawing if is_drawn else Looking)(
        ensemble=sources.ensemble,
        images=sources.images,
        captions=_of(chosen["source_id"], source_captions(store)),
        candidates=candidates_of(store),
    )
    if is_drawn:
        keys = chunks(list(pending), images.batch_size)
    else:
        keys = chunks(list(pending), LOOKED_AT_ONCE) if hands else paced(list(pending), MOST_LOOKED_AT)
    parts = (
        [row | {"source_ids": pending[row["key"]]} for row in judged_as.loc[chunk].to_dict("records")] for chunk in keys
    )
    (hands or Here()).do(job, own, parts, report)


def choose_for_images(
    store: RunStore, images: ImageConfig, among: Sequence[str] | None = None, language: str | None = None
) -> pd.DataFrame:
    """A prompt for each text and caption that are drawn and judged, in order, see `choose_captions`.

    A text is drawn as the first prompt that has it. The log says which captions are never drawn.
    """
    wanted = [among, among, language]
    captioned = compact(store.batches(sql(CAPTIONED, wanted=sql(WANTED)), wanted))
    left_out = too_large(captioned, images.n_images)
    if left_out:
        log.warning("%s: %s", store.path, left_out)
    captions = choose_captions(captioned, images.n_images, images.seed).source_ids
    prompts = store.query(sql(DRAWN, wanted=sql(WANTED)), [*wanted, list(captions)])
    place = prompts["source_id"].map({own: place for place, own in enumerate(captions)})
    drawn = prompts.assign(place=place).dropna(subset="place").sort_values(["place", "key", "prompt_id"])
    return drawn.drop(columns="place").drop_duplicates(["key", "source_id"], ignore_index=True)


def candidates_of(store: RunStore) -> Candidates:
    """What the source captions of a run are ranked among; see `emoe_audit.quality.candidates`.

    Raises:
        StoreError: that is not what the run was started with.
    """
    from emoe_audit.quality.candidates import draw_candidates, source_language

    is_given = "source_prompt" in store.columns()
    prompts = store.batches("SELECT prompt, language, source_prompt FROM prompts") if is_given else ()
    candidates = draw_candidates(store.sources().ensemble, source_language(prompts))
    if candidates.sha256 != store.plan().candidates_hash:
        raise StoreError(
            f"{store.path}: its images are ranked among other captions than those of today, so new images cannot join "
            "them; make the run anew in another --out"
        )
    return candidates


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


def _of(source_ids: pd.Series, captions: Mapping[str, str]) -> dict[str, str]:
    """Those captions that are asked for."""
    return {own: captions[own] for own in source_ids.unique() if own in captions}


def _unjudged(stores: Sequence[RunStore], chosen: pd.DataFrame) -> dict[str, list[str]]:
    """The captions that every text still has to be judged against, by its key."""
    judged = pd.concat([store.query("SELECT key, source_id FROM quality") for store in stores])
    left = chosen[~pd.MultiIndex.from_frame(chosen[["key", "source_id"]]).isin(pd.MultiIndex.from_frame(judged))]
    return left.groupby("key", sort=False)["source_id"].agg(list).to_dict()
