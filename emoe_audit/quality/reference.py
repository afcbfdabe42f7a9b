"""Real images of what prompts say: how well the judge itself reads each language.

A low `clip_cosine` has two causes: the model cannot draw what a prompt says, or the judge cannot read it. The cosine of
a real image with the same prompt tells them apart, for no model has drawn that one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from emoe_audit.errors import QualityError
from emoe_audit.progress import chunks
from emoe_audit.quality.clip_score import ClipJudge, cosines, text_ranks
from emoe_audit.readers.pictures import open_picture
from emoe_audit.types import RowError

REFERENCE_COLUMNS = ("reference_image", "image_file")
"""Columns of a prompt table that may name a real image; the first of them that is there counts."""
CHUNK = 64
"""Images held at once."""
MIN_CAPTIONS = 2
"""Captions of a language without which a rank says nothing."""
JUDGED = ["reference_cosine", "reference_rank", "chance_rank", "clip_cosine_minus_reference"]
COLUMNS = ["by", "group", "n_prompts", *JUDGED]

Features = Callable[[Sequence[Image.Image]], np.ndarray]
"""Images to features, `[image, feature]`: `ClipJudge.image_features` or `Inception.image_features`."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Images on disk by their features; several prompts may share one."""

    features: np.ndarray
    """`[image, feature]`, every file name once."""
    place: pd.Series
    """The row of `features` for each prompt, by the index of the prompts; -1 where there is none."""
    row_errors: tuple[RowError, ...] = ()


def reference_column(prompts: pd.DataFrame, *, brought: bool = False) -> str:
    """The column that names real images; where images were brought along, their files are named in the second of them.

    Raises:
        QualityError: there is none.
    """
    found = next((column for column in REFERENCE_COLUMNS[: 1 if brought else None] if column in prompts), None)
    if found is None:
        names = REFERENCE_COLUMNS[:1] if brought else REFERENCE_COLUMNS
        raise QualityError(f"the prompts name no real images; add a column {' or '.join(names)} to them")
    return found


def read_pictures(prompts: pd.DataFrame, folder: Path, column: str, features: Features) -> Pictures:
    """Read the images that `column` names, relative to `folder`; an empty cell is no image.

    A name that leads out of the folder, or to no image, is a row error of every prompt that has it.

    Args:
        prompts: With `prompt_id` and `column`.
        folder: No file outside is opened, whatever a name or a link says.
        column: Of file names.
        features: What is wanted of the images.
    """
    names = prompts[column].dropna().astype(str)
    names = names[names != ""]
    known: dict[str, int] = {}
    faults: dict[str, str] = {}
    found = []
    for chunk in chunks(list(dict.fromkeys(names)), CHUNK):
        images = []
        for name in chunk:
            try:
                images.append(open_picture(folder, name, QualityError))
                known[name] = len(known)
            except QualityError as fault:
                faults[name] = str(fault)
        if images:
            found.append(features(images))
    errors = [
        RowError(stage="image", message=f"column {column}: {faults[name]}", prompt_id=prompt_id, column=column)
        for prompt_id, name in zip(prompts.loc[names.index, "prompt_id"], names, strict=True)
        if name in faults
    ]
    place = pd.Series(-1, index=prompts.index, dtype=np.int64)
    place.loc[names.index] = [known.get(name, -1) for name in names]
    every = np.concatenate(found) if found else np.empty((0, 0), dtype=np.float32)
    return Pictures(features=every, place=place, row_errors=tuple(errors))


def judge_references(results: pd.DataFrame, real: Pictures, judge: ClipJudge) -> pd.DataFrame:
    """What the judge makes of the real images, one row per prompt, by the index of `results`.

    Columns: `reference_cosine` of the real image with the prompt, in [-1, 1]; `reference_rank`, the place of the prompt
    by falling cosine among all different prompts of its language, 1 for the first, ties in the middle; `chance_rank`,
    the mean rank of a judge that reads nothing of the language, (n + 1) / 2; `clip_cosine_minus_reference`, what the
    image of the run lacks against the real one, negative where it shows the prompt less well. NaN where there is no
    real image, and the ranks where a language has a single prompt.

    Args:
        results: A row per prompt with `prompt`, `language` and `clip_cosine`: the candidates are all of them.
        real: The real images, read for the same rows with the judge's features.
        judge: The judge of the run.
    """
    judged = pd.DataFrame(np.nan, index=results.index, columns=JUDGED)
    has_image = real.place >= 0
    for _, rows in results.groupby("language"):
        rows_with = rows[has_image.loc[rows.index]]
        if rows_with.empty:
            continue
        texts = rows["prompt"].drop_duplicates().tolist()
        captions = judge.text_features(texts)
        place = pd.Index(texts).get_indexer(rows_with["prompt"])
        own = captions[place]
        seen = real.features[real.place.loc[rows_with.index].to_numpy()]
        judged.loc[rows_with.index, "reference_cosine"] = cosines(seen, own)
        if len(texts) >= MIN_CAPTIONS:
            judged.loc[rows_with.index, "reference_rank"] = _ranks(seen, captions, place)
            judged.loc[rows_with.index, "chance_rank"] = (len(texts) + 1) / 2
    judged["clip_cosine_minus_reference"] = results["clip_cosine"] - judged["reference_cosine"]
    return judged


def judge_by_group(results: pd.DataFrame, by: str) -> pd.DataFrame:
    """How well the judge reads each group, see `COLUMNS`: means over its prompts with a real image, sorted by group.

    Where `reference_rank` comes near `chance_rank` the judge cannot read the group, and its `clip_cosine` says nothing
    of the model.

    Args:
        results: A row per prompt with `by` and the columns of `judge_references`.
        by: The group column.
    """
    rows = results[results["reference_cosine"].notna() & results[by].notna()]
    groups = rows.assign(group=rows[by].astype(str)).groupby("group")
    table = groups[JUDGED].mean().astype(np.float64)
    table["n_prompts"], table["by"] = groups.size(), by
    return table.reset_index()[COLUMNS]


def _ranks(images: np.ndarray, captions: np.ndarray, own: np.ndarray) -> np.ndarray:
    """`text_ranks`, without holding the cosines of all images with all captions."""
    parts = [slice(start, start + CHUNK) for start in range(0, len(images), CHUNK)]
    return np.concatenate([text_ranks(images[part], captions[own[part]], captions, own[part]) for part in parts])
