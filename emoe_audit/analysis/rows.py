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
    return rows.assign(**{by: rows[by].astype(str), measure: rows[measure].astype(np.float64)})


def to_float(value: Any) -> float:
    """A number, NaN for whatever is missing."""
    return math.nan if pd.isna(value) else float(value)
