"""The prompt sets that ship: the clone's `prompts/`, or the copy of it that the wheel brings."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from emoe_audit.prompts.read import read_prompts

PACKAGE = Path(__file__).parents[1]
PLACES = (PACKAGE / "_prompts", PACKAGE.parent / "prompts")
CAPTIONS = "cldr-emoji.csv"


def shipped_prompts() -> Path:
    """The folder."""
    return next(place for place in PLACES if place.is_dir())


def shipped_captions() -> pd.DataFrame:
    """The same hundred things named in forty languages by people: a row a thing, a column a language."""
    return _captions().copy()


def some_captions(n: int, seed: int = 0) -> list[str]:
    """Of these `n` by lot, each in another language and of another thing."""
    captions, rng = _captions(), np.random.default_rng(seed)
    rows, columns = (rng.permutation(size)[:n] for size in captions.shape)
    return [str(captions.iat[row, column]) for row, column in zip(rows, columns, strict=True)]


@cache
def _captions() -> pd.DataFrame:
    frame = read_prompts(shipped_prompts() / CAPTIONS).frame
    return frame.pivot(index="source_id", columns="language", values="prompt")
