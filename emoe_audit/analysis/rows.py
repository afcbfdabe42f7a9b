"""Rows of a frame: those that hold a value, and one by one, untyped, as the type checker knows no columns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

AT_ONCE = 65_536
"""Rows whose places are made wide numbers at a time."""


def records(frame: pd.DataFrame) -> Iterator[Any]:
    """The rows as named tuples."""
    yield from frame.itertuples(index=False)


def measured_rows(results: pd.DataFrame, by: str, measure: str) -> pd.DataFrame:
    """The rows with a group and a value: `source_id`, the group as text, the value as a number."""
    rows = results[["source_id", by, measure]].dropna()
    return rows.assign(**{by: as_labels(rows[by]), measure: rows[measure].astype(np.float64)})


def as_labels(column: pd.Series) -> pd.Series:
    """A column as texts; one of categories stays one."""
    is_categorical = isinstance(column.dtype, pd.CategoricalDtype)
    labels: pd.Series = column.cat.rename_categories(str) if is_categorical else column.astype(str)
    return labels


def where(rows: pd.DataFrame, mask: np.ndarray | pd.Series) -> pd.DataFrame:
    """The rows of a mask; where it leaves none out they are not copied."""
    return rows if mask.all() else rows[mask]


def places(column: pd.Series, *, sort: bool = True) -> tuple[np.ndarray, pd.Index]:
    """The different values of a column without NaN, and the place of each row's among them, `[row]`."""
    codes, names = pd.factorize(column, sort=sort)
    return codes, pd.Index(np.asarray(names))


def small_places(column: pd.Series) -> tuple[np.ndarray, int]:
    """The place of each row's value of a column without NaN, `[row]` in few bytes, and how many values there are.

    The values are in the order of categories, else in that in which they come. A column of categories that all occur
    is not copied.
    """
    if not isinstance(column.dtype, pd.CategoricalDtype):
        codes, names = places(column, sort=False)
        return codes.astype(np.int32), len(names)
    codes = column.array.codes
    occurs = np.zeros(len(column.cat.categories), dtype=bool)
    for start in range(0, len(codes), AT_ONCE):
        occurs[codes[start : start + AT_ONCE]] = True
    if not occurs.all():
        moved = np.cumsum(occurs, dtype=np.int32) - 1
        codes = np.concatenate([moved[codes[start : start + AT_ONCE]] for start in range(0, len(codes), AT_ONCE)])
    return codes, int(occurs.sum())


def different(column: pd.Series) -> list[Any]:
    """The different values of a column without NaN, in order."""
    return list(places(column)[1])


def presence(rows: pd.DataFrame, by: str, *, sort: bool = False) -> np.ndarray:
    """Which captions are in which groups, `[caption, group]`, both in the order in which they come, or sorted."""
    (captions, ids), (groups, names) = (places(rows[own], sort=sort) for own in ("source_id", by))
    return cells_of(captions, len(ids), groups, len(names))


def cells_of(captions: np.ndarray, n_captions: int, groups: np.ndarray, n_groups: int) -> np.ndarray:
    """The same, by the place of each row's caption and group."""
    cells = np.zeros((n_captions, n_groups), dtype=bool)
    for start in range(0, len(captions), AT_ONCE):
        cells[captions[start : start + AT_ONCE], groups[start : start + AT_ONCE]] = True
    return cells


def n_captions(rows: pd.DataFrame, by: str) -> pd.Series:
    """How many captions each group of a column without NaN has, by group, in the order of `places`."""
    return pd.Series(presence(rows, by, sort=True).sum(axis=0), index=places(rows[by])[1])


def group_means(rows: pd.DataFrame, by: str, measure: str) -> pd.Series:
    """The mean of each group of a column without NaN, by group, in order; the measure is without NaN, too."""
    groups, names = places(rows[by])
    sums = np.bincount(groups, weights=rows[measure].to_numpy(dtype=np.float64), minlength=len(names))
    return pd.Series(sums / np.bincount(groups, minlength=len(names)), index=names)


def to_float(value: Any) -> float:
    """A number, NaN for whatever is missing."""
    return math.nan if pd.isna(value) else float(value)
