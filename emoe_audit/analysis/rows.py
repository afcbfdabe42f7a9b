"""Rows of a frame, untyped: a query's columns are known to the reader, not to the type checker."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd


def records(frame: pd.DataFrame) -> Iterator[Any]:
    """The rows as named tuples."""
    yield from frame.itertuples(index=False)


def to_float(value: Any) -> float:
    """A number, NaN for whatever is missing."""
    return math.nan if pd.isna(value) else float(value)
