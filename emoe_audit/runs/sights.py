"""What a judge saw in the images of a run, on disk: compared across the translations of a caption."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from emoe_audit.analysis.image_agreement import Sights, agreement_bounds, fit_images, image_agreement
from emoe_audit.analysis.translations import MIN_LANGUAGES
from emoe_audit.errors import StoreError
from emoe_audit.runs.buckets import in_order_of_hash
from emoe_audit.runs.readings import SAMPLE, keyed, keyed_by_name, whole_captions
from emoe_audit.runs.sql import literal, sql
from emoe_audit.runs.store import RunStore

AGREEMENT, BOUNDS = "image_agreement", "image_bounds"
"""The tables that are written."""
DRAWN = """
    SELECT source_id FROM prompts JOIN sights USING (key)
    GROUP BY source_id HAVING count(DISTINCT language) >= {least}::INT
"""
IN_MOST = "{drawn} ORDER BY count(DISTINCT language) DESC, sha256(source_id) LIMIT ?"
IN_ORDER = """
    SELECT key, source_id, language, n_seen, features FROM sights JOIN ({keyed}) USING (key)
    ORDER BY sha256(source_id), source_id, key
"""
COUNT = "SELECT count(*) AS n FROM prompts"
MEMORY = "sights"
"""The folder that is named where it cannot be read."""


def compare_images(store: RunStore) -> None:
    """Write `image_agreement`, a row per prompt with images, and `image_bounds`, a row per language.

    Nothing is written of images of which each prompt has one from the same noise as its translations: these resemble
    each other whatever they show. Bounds are those of at most `SAMPLE` captions, those in most languages first.

    Raises:
        StoreError: a table does not hold what it should.
    """
    images = store.plan().images
    is_told = images.n_images > 0 and (images.brought is not None or images.per_prompt > 1)
    sights = sights_of(store) if is_told else Sights.of([], [], [])
    if not sights.first.sources:
        store.forget(f"analysis/{name}.parquet" for name in (AGREEMENT, BOUNDS))
        return
    readers = fit_images(sights)
    store.write_analysis(BOUNDS, agreement_bounds(readers, sights))
    n_rows = int(store.query(COUNT)["n"].iloc[0])
    keys, width = keyed(sql(DRAWN, least=literal(str(MIN_LANGUAGES)))), sights.first.vectors.shape[1]
    rows = in_order_of_hash(store, keys, "sights", "source_id", n_rows)
    store.write_parts(
        AGREEMENT,
        (
            pd.concat([part[["key", "source_id"]], image_agreement(readers, _sights(store, part, width))], axis=1)
            for part in whole_captions(rows, SAMPLE)
        ),
    )


def sights_of(store: RunStore) -> Sights:
    """What was seen of at most `SAMPLE` captions, those in most languages first."""
    drawn = sql(DRAWN, least=literal(str(MIN_LANGUAGES)))
    sample = store.query(sql(IN_MOST, drawn=drawn), [SAMPLE])["source_id"].to_list()
    return _sights(store, store.query(sql(IN_ORDER, keyed=keyed_by_name()), [sample]))


def _sights(store: RunStore, rows: pd.DataFrame, width: int | None = None) -> Sights:
    seen = [_matrix(store, content, int(n)) for content, n in zip(rows["features"], rows["n_seen"], strict=True)]
    if len({own.shape[1] for own in seen} | ({width} if width else set())) > 1:
        raise StoreError(f"{store.path / MEMORY}: features of different lengths; remove it, and judge again")
    return Sights.of(seen, rows["language"].to_list(), rows["source_id"].to_list())


def _matrix(store: RunStore, content: Sequence[int] | bytes, n: int) -> np.ndarray:
    if not isinstance(content, bytes | bytearray) or n < 1 or not content or len(content) % (2 * n):
        raise StoreError(f"{store.path / MEMORY}: features that are not of {n} images; remove it, and judge again")
    return np.frombuffer(content, dtype=np.float16).reshape(n, -1).astype(np.float32)
