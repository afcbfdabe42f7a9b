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


def measured(results: pd.DataFrame, by: str, measure: str) -> pd.DataFrame:
    """The rows with a group and a value."""
    return where(results, results[by].notna() & results[measure].notna())


def measured_rows(results: pd.DataFrame, by: str, measure: str) -> pd.DataFrame:
    """Of these `source_id`, the group as text, the value as a number."""
    rows = complete_rows(results[["source_id", by, measure]])
    return rows.assign(**{by: as_labels(rows[by]), measure: rows[measure].astype(np.float64)})


def as_labels(column: pd.Series) -> pd.Series:
    """A column as texts; one of categories stays one."""
    is_categorical = isinstance(column.dtype, pd.CategoricalDtype)
    labels: pd.Series = column.cat.rename_categories(str) if is_categorical else column.astype(str)
    return labels


def where(rows: pd.DataFrame, mask: np.ndarray | pd.Series) -> pd.DataFrame:
    """The rows of a mask; where it leaves none out they are not copied."""
    return rows if mask.all() else rows[mask]


def complete_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without NaN; where there are no others they are not copied."""
    return where(rows, ~np.logical_or.reduce([rows[name].isna() for name in rows]))


def places(column: pd.Series, *, sort: bool = True) -> tuple[np.ndarray, pd.Index]:
    """The different values of a column without NaN, and the place of each row's among them, `[row]`."""
    codes, names = pd.factorize(column, sort=sort)
    return codes, pd.Index(np.asarray(names))


def small_places(column: pd.Series) -> tuple[np.ndarray, pd.Index]:
    """The same as `places` in few bytes: as wide as an `int32` at most, and as a copy only where that is needed.

    A column of categories is not copied where all of them occur; its values are in their order.
    """
    if not isinstance(column.dtype, pd.CategoricalDtype):
        codes, names = places(column)
        return codes.astype(np.int32), names
    codes = column.array.codes
    occurs = np.zeros(len(column.cat.categories), dtype=bool)
    for start in range(0, len(codes), AT_ONCE):
        occurs[codes[start : start + AT_ONCE]] = True
    if occurs.all():
        return codes, column.cat.categories
    moved, found = np.cumsum(occurs, dtype=np.int32) - 1, np.empty(len(codes), dtype=np.int32)
    for start in range(0, len(codes), AT_ONCE):
        found[start : start + AT_ONCE] = moved[codes[start : start + AT_ONCE]]
    return found, column.cat.categories[occurs]


def different(column: pd.Series) -> list[Any]:
    """The different values of a column without NaN, in order."""
    return list(small_places(column)[1])


def presence(rows: pd.DataFrame, by: str) -> np.ndarray:
    """Which captions are in which groups of a column without NaN, `[caption, group]`, both in order."""
    (captions, ids), (groups, names) = (small_places(rows[own]) for own in ("source_id", by))
    cells = np.zeros((len(ids), len(names)), dtype=bool)
    for start in range(0, len(captions), AT_ONCE):
        cells[captions[start : start + AT_ONCE], groups[start : start + AT_ONCE]] = True
    return cells


def n_captions(rows: pd.DataFrame, by: str) -> pd.Series:
    """How many captions each group of a column without NaN has, by group, in order."""
    return pd.Series(presence(rows, by).sum(axis=0), index=small_places(rows[by])[1])


def group_means(rows: pd.DataFrame, by: str, measure: str) -> pd.Series:
    """The mean of each group of a column without NaN, by group, in order; the measure is without NaN, too."""
    groups, names = small_places(rows[by])
    sums = np.bincount(groups, weights=rows[measure].to_numpy(dtype=np.float64), minlength=len(names))
    return pd.Series(sums / np.bincount(groups, minlength=len(names)), index=names)


def to_float(value: Any) -> float:
    """A number, NaN for whatever is missing."""
    return math.nan if pd.isna(value) else float(value)
