"""Figures with intervals, and on which side of a value an interval lies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Side = Literal["above", "below", "unclear"]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A figure with its 95% interval."""

    value: float
    low: float
    high: float

    @property
    def side(self) -> Side:
        """Where the whole interval lies as seen from zero."""
        return side(self.low, self.high)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean (or a difference of means) with its interval."""

    mean: float
    low: float
    high: float
    n_prompts: int

    @property
    def side(self) -> Side:
        """Where the whole interval lies as seen from zero."""
        return side(self.low, self.high)


def side(low: float, high: float, *, of: float = 0.0) -> Side:
    """Where the whole interval lies as seen from a value; one with an undefined end lies nowhere clearly."""
    if low > of:
        return "above"
    return "below" if high < of else "unclear"


def flat(name: str, interval: Interval) -> dict[str, float | None]:
    """A figure as `NAME`, `NAME_low` and `NAME_high`; undefined as None."""
    ends = {"": interval.value, "_low": interval.low, "_high": interval.high}
    return {f"{name}{suffix}": or_null(value) for suffix, value in ends.items()}


def or_null(value: float) -> float | None:
    """A number as JSON has it: undefined is null."""
    return None if math.isnan(value) else value
