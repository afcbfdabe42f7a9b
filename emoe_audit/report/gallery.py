"""The image gallery: the same captions drawn from every language, chosen by rule and kept small."""

from __future__ import annotations

import base64
import io
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError

from emoe_audit.report.data import RANKING_SCORE, Gallery, GalleryCell, GalleryColumn, GalleryRow
from emoe_audit.report.labels import group_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emoe_audit.store import RunStore

log = logging.getLogger(__name__)

MAX_LANGUAGES = 12
BYTE_BUDGET = 1_600_000
"""For all images of a gallery together, as data URIs."""
SIZES = (160, 128, 96, 64, 48)
"""Longest edge in pixels, tried in turn until an image fits its part of the budget."""

LANGUAGES_WITH_IMAGES = f"""
    SELECT language, avg({RANKING_SCORE}) AS score FROM results
    WHERE language IN (SELECT language FROM results WHERE image IS NOT NULL)
    GROUP BY language ORDER BY score DESC, language
"""
SOURCES_WITH_IMAGES = """
    SELECT source_id, count(DISTINCT language) AS n_languages, avg(clip_cosine) AS quality FROM results
    WHERE image IS NOT NULL AND list_contains(?, language)
    GROUP BY source_id ORDER BY n_languages DESC, quality DESC, source_id
"""
CELLS = """
    SELECT key, source_id, prompt, language, clip_cosine, image FROM results
    WHERE image IS NOT NULL AND list_contains(?, source_id) AND list_contains(?, language)
    ORDER BY source_id, language, prompt_id
"""


def collect_gallery(store: RunStore, n_concepts: int) -> Gallery:
    """Choose rows and columns evenly over their rankings, so that nobody picked them, and embed their images.

    Columns: at most 12 languages from the most to the least unsure. Rows: among the captions drawn in most of these
    languages, `n_concepts` from the best to the worst drawn.
    """
    languages = store.query(LANGUAGES_WITH_IMAGES)
    chosen = spread(languages.to_dict("records"), MAX_LANGUAGES)
    tags = [str(row["language"]) for row in chosen]
    sources = store.query(SOURCES_WITH_IMAGES, (tags,)) if tags else pd.DataFrame({"source_id": []})
    complete = sources[sources.n_languages == sources.n_languages.max()] if tags else sources
    source_ids = [str(s) for s in spread(complete.source_id.tolist(), n_concepts)]
    return Gallery(
        columns=tuple(_column(row) for row in chosen),
        rows=_rows(store, source_ids, tags),
        n_languages=len(languages),
        n_sources=len(sources),
    )


def spread[T](items: Sequence[T], count: int) -> list[T]:
    """At most `count` items, first and last included, evenly spaced between them."""
    if len(items) <= count:
        return list(items)
    return [items[round(i)] for i in np.linspace(0, len(items) - 1, count)]


def _column(row: dict[str, object]) -> GalleryColumn:
    language, score = str(row["language"]), row["score"]
    return GalleryColumn(
        language=language,
        label=group_label("language", language),
        score=float(score) if isinstance(score, float) else math.nan,
    )
