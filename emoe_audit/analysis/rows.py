"""Rows of a frame: those that hold a value, and one by one, untyped, as the type checker knows no columns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd


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
    return codes.astype(np.int32), pd.Index(np.asarray(names))


def different(column: pd.Series) -> list[Any]:
    """The different values of a column without NaN, in order."""
    return list(places(column)[1])


def presence(rows: pd.DataFrame, by: str, *, sort: bool = False) -> np.ndarray:
    """Which captions are in which groups, `[caption, group]`, both in the order in which they come, or sorted."""
    (captions, ids), (groups, names) = (places(rows[own], sort=sort) for own in ("source_id", by))
    cells = np.zeros((len(ids), len(names)), dtype=bool)
    cells[captions, groups] = True
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
