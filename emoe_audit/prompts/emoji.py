"""The default prompts of an ensemble that brings captions: the same concepts in every language."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.coco import load_coco
from emoe_audit.prompts.table import PromptTable, check_rows
from emoe_audit.types import EnsembleSpec

SOURCE_LANGUAGE = "en"
GROUP_COLUMNS = ("region", "skin_tone")
IMAGE_COLUMNS = ("source_id", *GROUP_COLUMNS)


def default_prompts(spec: EnsembleSpec, *, n_concepts: int = 100, seed: int = 0) -> PromptTable:
    """A sample of images that have a caption in every language, one prompt per image and language.

    `source_id` is the image's name, `source_prompt` its English caption. Where images say their `region` or
    `skin_tone`, as many are sampled of those as of the others, and the prompts say it too.

    Raises:
        PromptTableError: the ensemble brings no captions, or none with languages.
    """
    images = caption_matrix(spec)
    rng = np.random.default_rng(seed)
    samples = [own.iloc[np.sort(rng.permutation(len(own))[:n_concepts])] for own in _by_kind(images)]
    chosen = pd.concat(samples).drop_duplicates("source_id")
    languages = [column for column in images if column not in IMAGE_COLUMNS]
    groups = [column for column in GROUP_COLUMNS if chosen[column].notna().any()]
    rows = [
        {
            "prompt_id": f"{image['source_id']}-{language}",
            "source_id": image["source_id"],
            "prompt": image[language],
            "language": language,
            "region": None,
            "source_prompt": image.get(SOURCE_LANGUAGE),
        }
        | {column: image[column] for column in groups}
        for image in chosen.to_dict("records")
        for language in languages
    ]
    return check_rows(enumerate(rows, start=1), f"{spec.name}: {len(chosen)} of its own captions, seed {seed}")


def caption_matrix(spec: EnsembleSpec) -> pd.DataFrame:
    """The images of an ensemble's captions file that have a caption in every language.

    A row per image: `source_id`, `region`, `skin_tone` (None where there is none), and a column per language. A
    language that is no text is none.

    Raises:
        PromptTableError: the ensemble brings no captions, or none with languages.
    """
    if spec.captions is None:
        raise PromptTableError(f"{spec.name} brings no captions of its own; give a prompt table")
    path = Path(spec.captions)
    about = path.stat() if path.is_file() else None
    state = () if about is None else (about.st_size, about.st_mtime_ns, about.st_ino)
    return _read_matrix(path, state).copy()


@lru_cache(maxsize=4)
def _read_matrix(path: Path, state: tuple[int, ...]) -> pd.DataFrame:
    """The matrix of a file, read once for as long as it stays as it is: a run asks for it several times."""
    coco, _ = load_coco(path)
    annotations = pd.DataFrame(coco.dataset["annotations"])
    if "language" not in annotations:
        raise PromptTableError(
            f"{path}: its annotations have no 'language'; give the file as PROMPTS to take them as they are"
        )
    if annotations["image_id"].map(type).nunique() > 1:
        raise PromptTableError(f"{path}: some image_id are numbers and some are texts; make them one")
    annotations = annotations[annotations["language"].map(lambda language: isinstance(language, str))]
    matrix = annotations.pivot_table(index="image_id", columns="language", values="caption", aggfunc="first").dropna()
    if matrix.empty:
        raise PromptTableError(f"{path}: no image has a caption in every language")
    images = [coco.imgs.get(image_id, {}) for image_id in matrix.index]
    if not all(isinstance(image.get("file_name"), str) for image in images):
        raise PromptTableError(f"{path}: an image with captions has no 'file_name', which names its concept")
    for place, column in enumerate(GROUP_COLUMNS):
        matrix.insert(place, column, [image.get(column) for image in images])
    matrix.insert(0, "source_id", [Path(image["file_name"]).stem for image in images])
    return matrix


def _by_kind(images: pd.DataFrame) -> list[pd.DataFrame]:
    """The images without a group, and those of every kind of group."""
    kinds = [images[is_plain(images)]]
    return kinds + [images[images[column].notna()] for column in GROUP_COLUMNS if images[column].notna().any()]


def is_plain(prompts: pd.DataFrame) -> pd.Series:
    """Whether a row names neither a region nor a skin tone."""
    return prompts.reindex(columns=list(GROUP_COLUMNS)).isna().all(axis=1)
