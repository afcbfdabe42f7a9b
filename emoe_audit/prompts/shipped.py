"""The prompt sets that ship: the clone's `prompts/`, or the copy of it that the wheel brings."""

from __future__ import annotations

from functools import cache
from pathlib import Path

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


@cache
def _captions() -> pd.DataFrame:
    frame = read_prompts(shipped_prompts() / CAPTIONS).frame
    return frame.pivot(index="source_id", columns="language", values="prompt")
