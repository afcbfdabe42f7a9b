"""By which columns the prompts of a table are grouped: asked of a table that may be too large to be held."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from emoe_audit.analysis.rows import places
from emoe_audit.readers.limits import Limit
from emoe_audit.types import SET_ASIDE

NOT_GROUPS = {
    *("key", "prompt_id", "source_id", "prompt", "source_prompt", "parallel"),
    *("image_id", "image_file", "reference_image", "language_given"),
}
MAX_GROUPS = 300
"""All countries are fewer."""
GROUP_COLUMNS = Limit("GROUP_COLUMNS", 16, "columns to group by")
PLACES = ("language", "region")
GROUPED_FIRST = (*PLACES, "skin_tone")
LARGE_GROUP = 5
"""Prompts of a group that holds enough of them to be compared."""


def may_group(column: str) -> bool:
    """Whether a column of this name may hold groups: it is no free text, no id, and none that was set aside."""
    return column not in NOT_GROUPS and not column.endswith(SET_ASIDE)


def group_columns(parts: Iterable[pd.DataFrame]) -> list[str]:
    """Language, region and every other column of the prompt table that has 2 to 300 values; no free text, no ids.

    Of more than `GROUP_COLUMNS` those stay in which most prompts stand in groups of `LARGE_GROUP` or more.

    Args:
        parts: The prompts, some at a time.
    """
    return _grouped(_sizes(parts))


def not_grouped(parts: Iterable[pd.DataFrame]) -> list[str]:
    """The columns that could be grouped by, and are too many for it."""
    sizes = _sizes(parts)
    grouped = set(_grouped(sizes))
    return [column for column in sizes if column not in grouped]


def _grouped(sizes: dict[str, pd.Series]) -> list[str]:
    if len(sizes) <= GROUP_COLUMNS.value:
        return list(sizes)
    best = sorted(sizes, key=lambda column: _grouped_worse(column, sizes[column]))[: GROUP_COLUMNS.value]
    return [column for column in sizes if column in best]


def _sizes(parts: Iterable[pd.DataFrame]) -> dict[str, pd.Series]:
    """How many prompts each group has, of every column that could be grouped by."""
    sizes: dict[str, pd.Series | None] = {}
    for part in parts:
        for column in filter(may_group, part):
            before = sizes.get(column, pd.Series(dtype=int))
            sizes[column] = None if before is None else _with(before, part[column])
    return {column: own for column, own in sizes.items() if own is not None and len(own) >= 2}


def _with(sizes: pd.Series, column: pd.Series) -> pd.Series | None:
    """The groups with those of some more prompts; None where the column holds no groups: fractions, lists, too many."""
    if pd.api.types.is_float_dtype(column):
        return None
    try:
        groups, names = places(column, sort=False)
    except TypeError:
        return None
    more = pd.Series(np.bincount(groups[groups >= 0], minlength=len(names)), index=names)
    together = sizes.add(more, fill_value=0) if len(sizes) else more
    return together if len(together) <= MAX_GROUPS else None


def _grouped_worse(column: str, sizes: pd.Series) -> tuple[bool, int, int]:
    """To sort columns by: the known ones first, then by the prompts in large groups, then by fewer groups."""
    return column not in GROUPED_FIRST, -int(sizes[sizes >= LARGE_GROUP].sum()), len(sizes)
