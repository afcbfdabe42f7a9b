"""The default prompts of an ensemble that brings captions: the same concepts in every language."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.coco import load_coco
from emoe_audit.prompts.table import PromptTable, table_of
from emoe_audit.types import EnsembleSpec

SOURCE_LANGUAGE = "en"


def default_prompts(spec: EnsembleSpec, *, n_concepts: int = 100, seed: int = 0) -> PromptTable:
    """A sample of images that have a caption in every language, one prompt per image and language.

    `source_id` is the image's name, `source_prompt` its English caption.

    Raises:
        PromptTableError: the ensemble brings no captions, or none with languages.
    """
    if spec.captions is None:
        raise PromptTableError(f"{spec.name} brings no captions of its own; give a prompt table")
    coco = load_coco(Path(spec.captions))
    annotations = pd.DataFrame(coco.dataset["annotations"])
    if "language" not in annotations:
        raise PromptTableError(
            f"{spec.captions}: its annotations have no 'language'; give the file as PROMPTS to take them as they are"
        )
    matrix = annotations.pivot_table(index="image_id", columns="language", values="caption", aggfunc="first").dropna()
    if matrix.empty:
        raise PromptTableError(f"{spec.captions}: no image has a caption in every language")
    chosen = matrix.iloc[np.sort(np.random.default_rng(seed).permutation(len(matrix))[:n_concepts])]
    rows = [
        {
            "prompt_id": f"{source}-{language}",
            "source_id": source,
            "prompt": captions[language],
            "language": language,
            "region": None,
            "source_prompt": captions.get(SOURCE_LANGUAGE),
        }
        for source, captions in ((Path(coco.imgs[i]["file_name"]).stem, captions) for i, captions in chosen.iterrows())
        for language in chosen.columns
    ]
    return table_of(pd.DataFrame(rows), f"{spec.name}: {len(chosen)} of its own captions, seed {seed}")
