"""The image gallery: the same captions drawn from every language, chosen by rule and kept small."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from PIL import Image

from emoe_audit.analysis.rows import records, to_float
from emoe_audit.decisions.ranking import quality_measure, ranks_by_images
from emoe_audit.errors import StoreError
from emoe_audit.readers.pictures import open_picture
from emoe_audit.report.labels import group_label
from emoe_audit.runs.sql import sql
from emoe_audit.runs.store import RunStore

T = TypeVar("T")

log = logging.getLogger(__name__)

MAX_LANGUAGES = 12
BYTE_BUDGET = 1_600_000
"""For all images of a gallery together, as data URIs."""
SIZES = (160, 128, 96, 64, 48)
"""Longest edge in pixels, tried in turn until an image fits its part of the budget."""

LANGUAGES_WITH_IMAGES = """
    SELECT language, avg({ranking}) AS score FROM results
    WHERE language IN (SELECT language FROM results WHERE image IS NOT NULL)
    GROUP BY language ORDER BY score {order} NULLS LAST, language
"""
SOURCES_WITH_IMAGES = """
    SELECT source_id, count(DISTINCT language) AS n_languages, avg({quality}) AS quality FROM results
    WHERE image IS NOT NULL AND list_contains(?, language)
    GROUP BY source_id ORDER BY n_languages DESC, quality DESC, source_id
"""
CAPTIONS = """
    SELECT source_id, arg_min(prompt, (language <> 'en', language)) AS caption FROM results
    WHERE list_contains(?, source_id) GROUP BY source_id
"""
CELLS = """
    SELECT key, source_id, prompt, language, clip_cosine, image FROM results
    WHERE image IS NOT NULL AND list_contains(?, source_id) AND list_contains(?, language)
    ORDER BY source_id, language, prompt_id
"""


@dataclass(frozen=True, kw_only=True)
class GalleryColumn:
    """One language of the gallery."""

    language: str
    label: str
    score: float
    """The language's mean ranking score."""


@dataclass(frozen=True, kw_only=True)
class GalleryCell:
    """One image: what was asked, and how well the judge finds it drawn."""

    key: str
    prompt: str
    language: str
    clip_cosine: float
    image: str
    """Path from the run folder."""
    data_uri: str
    """The image itself, small; left out of `report.json`."""


@dataclass(frozen=True, kw_only=True)
class GalleryRow:
    """One caption in every language of the gallery; None where it has no image."""

    source_id: str
    caption: str
    cells: tuple[GalleryCell | None, ...]


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The same captions across languages: rows are captions, columns languages by falling score."""

    columns: tuple[GalleryColumn, ...]
    rows: tuple[GalleryRow, ...]
    n_languages: int
    """How many languages have images; the columns are spread evenly over their ranking."""
    n_sources: int
    """How many captions have images; the rows are spread evenly from best to worst drawn."""


def collect_gallery(store: RunStore, ranking: str, n_concepts: int) -> Gallery:
    """Choose rows and columns evenly over their rankings, so that nobody picked them, and embed their images.

    Columns: at most 12 languages from the most to the least unsure by the score `ranking`. Rows: among the captions
    drawn in most of these languages, `n_concepts` from the best to the worst drawn.
    """
    if n_concepts == 0:
        return Gallery(columns=(), rows=(), n_languages=0, n_sources=0)
    order = sql("ASC") if ranks_by_images(ranking) else sql("DESC")
    languages = store.query(sql(LANGUAGES_WITH_IMAGES, ranking=store.column(ranking), order=order))
    chosen = spread(list(records(languages)), MAX_LANGUAGES)
    tags = [str(row.language) for row in chosen]
    quality = store.column(quality_measure(store))
    sources = (
        store.query(sql(SOURCES_WITH_IMAGES, quality=quality), (tags,)) if tags else pd.DataFrame({"source_id": []})
    )
    complete = sources[sources.n_languages == sources.n_languages.max()] if tags else sources
    source_ids = [str(s) for s in spread(complete.source_id.tolist(), n_concepts)]
    return Gallery(
        columns=tuple(
            GalleryColumn(language=tag, label=group_label("language", tag), score=to_float(row.score))
            for tag, row in zip(tags, chosen, strict=True)
        ),
        rows=_rows(store, source_ids, tags),
        n_languages=len(languages),
        n_sources=len(sources),
    )


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most `count` items, first and last included, evenly spaced between them."""
    if len(items) <= count:
        return list(items)
    return [items[round(i)] for i in np.linspace(0, len(items) - 1, count)]


def _rows(store: RunStore, source_ids: list[str], tags: list[str]) -> tuple[GalleryRow, ...]:
    if not source_ids:
        return ()
    captions = store.query(CAPTIONS, (source_ids,)).set_index("source_id").caption
    found = store.query(CELLS, (source_ids, tags)).drop_duplicates(["source_id", "language"])
    budget = BYTE_BUDGET // max(1, len(found))
    cells = {(c.source_id, c.language): c for c in records(found)}
    return tuple(
        GalleryRow(
            source_id=source,
            caption=str(captions[source]),
            cells=tuple(_cell(store.path, cells.get((source, tag)), budget) for tag in tags),
        )
        for source in source_ids
    )


def _cell(run: Path, row: Any, budget: int) -> GalleryCell | None:
    if row is None:
        return None
    data_uri = embed_image(run, str(row.image), budget)
    if data_uri is None:
        return None
    return GalleryCell(
        key=row.key,
        prompt=row.prompt,
        language=row.language,
        clip_cosine=to_float(row.clip_cosine),
        image=row.image,
        data_uri=data_uri,
    )


def embed_image(run: Path, image: str, budget: int) -> str | None:
    """A small WebP of an image of the run as a data URI of at most `budget` characters.

    None, with a warning in the log, for a file outside the run folder or one that cannot be read as an image.
    """
    try:
        picture = open_picture(run, image, StoreError)
    except StoreError as error:
        log.warning("image %s of run %s is left out of the report: %s", image, run.name, error)
        return None
    return _smallest_fit(picture, budget)


def _smallest_fit(picture: Image.Image, budget: int) -> str:
    for size in SIZES:
        small = picture.copy()
        small.thumbnail((size, size), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        small.save(buffer, "WEBP", quality=82, method=4)
        uri = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
        if len(uri) <= budget:
            break
    return uri
