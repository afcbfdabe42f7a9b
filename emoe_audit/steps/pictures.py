"""Judged images become part of a run: the files, what the judge sees in them, and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from emoe_audit.readers.pictures import ending_of, numbered
from emoe_audit.runs.store import RunStore
from emoe_audit.types import EnsembleSpec, ImageConfig, Stage

if TYPE_CHECKING:
    from emoe_audit.quality.candidates import Candidates

MOST_SEEN = 2
"""Images of a prompt whose features are kept: the first ones, which are held against each other."""


@dataclass(frozen=True, kw_only=True)
class Pictured:
    """What a job takes that makes judged images of prompts."""

    ensemble: EnsembleSpec
    images: ImageConfig
    captions: Mapping[str, str]
    """The source caption of each `source_id` that has one."""
    candidates: Candidates
    """What these are ranked among."""
    stage: Stage = "image"


def keep_pictures(
    store: RunStore,
    rows: Sequence[dict[str, Any]],
    files: Sequence[Sequence[bytes]],
    seen: Sequence[np.ndarray],
    judged: pd.DataFrame,
) -> pd.DataFrame:
    """Write the images of some prompts and a shard of `sights`; returns the rows for the table `quality`.

    Args:
        store: Where they go.
        rows: The prompts, with their `key`.
        files: The images of each, all as PNG or all as JPEG.
        seen: What the judge sees in those of each that it judged, `[image, feature]`.
        judged: Rows with the `place` of their prompt, see `quality.judging.Judging`.
    """
    names = [
        f"images/{row['key'][:2]}/{row['key']}.{ending_of(own[0]) if own else 'png'}"
        for row, own in zip(rows, files, strict=True)
    ]
    for first, own in zip(names, files, strict=True):
        for number, content in enumerate(own, start=1):
            store.write_image(numbered(first, number), content)
    sights = [_sight(row["key"], own) for row, own in zip(rows, seen, strict=True) if len(own)]
    if sights:
        store.append("sights", pd.DataFrame(sights))
    place = judged.pop("place")
    judged.insert(0, "key", [rows[own]["key"] for own in place])
    judged.insert(2, "image", [names[own] for own in place])
    return judged


def _sight(key: str, seen: np.ndarray) -> dict[str, Any]:
    kept = seen[:MOST_SEEN]
    return {"key": key, "n_seen": len(kept), "features": kept.astype(np.float16).tobytes()}
