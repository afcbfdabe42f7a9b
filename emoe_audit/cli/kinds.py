"""What a word must be to be an option's value: a number that is one, a seed, a place where something can be written."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

import click

from emoe_audit.errors import AuditError
from emoe_audit.runs.shares import Share

UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
LONGEST = 20
"""Digits of a size."""


class Seed(click.types.IntParamType):
    """A whole number from which random numbers can start, and which can be stored."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        found: int = super().convert(value, param, ctx)
        if not 0 <= found < 2**63:
            self.fail(f"{value!r:.60} is not from 0 to {2**63 - 1}", param, ctx)
        return found


class Finite(click.types.FloatParamType):
    """A number that is neither infinite nor NaN."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        found: float = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value!r:.60} is no finite number", param, ctx)
        return found


class FiniteRange(click.FloatRange, Finite):
    """Such a number within bounds."""


SEED = Seed()
SHARE = FiniteRange(0, 1, min_open=True, max_open=True)


class OneOfSeveral(click.ParamType):  # type: ignore[type-arg]  # click before 8.4 has no parameter here
    """One of several processes: `2/3`."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Share:
        """The share."""
        if isinstance(value, Share):
            return value
        match = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", str(value))
        if match is None:
            self.fail(f"{value!r:.60} is no share; write it like 2/3", param, ctx)
        try:
            return Share(number=int(match[1]), of=int(match[2]))
        except AuditError as error:
            self.fail(str(error), param, ctx)


class Target(click.Path):
    """A file or folder to write, refused before any work where nothing can be written."""

    def __init__(self, *, is_folder: bool = False) -> None:
        """A file, or a folder."""
        super().__init__(file_okay=not is_folder, dir_okay=is_folder, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        try:
            nearest = next(own for own in (path.absolute(), *path.absolute().parents) if own.exists())
        except OSError as error:
            self.fail(f"{str(path)[:200]!r}: {error.strerror}", param, ctx)
        folder = nearest if nearest.is_dir() else nearest.parent
        if nearest not in (path.absolute(), folder):
            self.fail(f"{str(path)!r} cannot be written: {str(nearest)!r} is a file and no folder", param, ctx)
        if not os.access(folder, os.W_OK | os.X_OK):
            self.fail(f"{str(path)!r} cannot be written: {str(folder)!r} may not be written to", param, ctx)
        return path


class ByteCount(click.ParamType):  # type: ignore[type-arg]  # click before 8.4 has no parameter here
    """A size in memory: `3GiB`, `800MiB`, `2.5GB`, or bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes."""
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([KMGT])(i?)B)?\s*", str(value), re.IGNORECASE)
        if match is None:
            self.fail(f"{value!r} is not a size; write it like 3GiB, 800MiB or 2.5GB", param, ctx)
        number, letter, binary = match.groups()
        if len(number) > LONGEST:
            self.fail(f"{value!r:.60} is more memory than there is", param, ctx)
        power = " KMGT".index((letter or " ").upper())
        return int(float(number) * (1024 if binary else 1000) ** power)


class Named(click.ParamType):  # type: ignore[type-arg]
    """A name and a number above 0: `clip_cosine=0.02`."""

    name = "name=number"

    def __init__(self, example: str) -> None:
        """The example stands in the message of a fault."""
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        """The name and the number."""
        name, _, number = str(value).partition("=")
        try:
            found = float(number)
        except ValueError:
            found = math.nan
        if not name or not 0 < found < math.inf:
            self.fail(f"{value!r} is no name with a number above 0; write it like {self._example}", param, ctx)
        return name, found


class Margin(Named):
    """A measure and the smallest gap in it that matters."""

    name = "measure=gap"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        """The measure and its margin."""
        from emoe_audit.analysis.summary import MEASURES

        measure, margin = super().convert(value, param, ctx)
        if measure not in MEASURES:
            self.fail(f"{measure!r} is no measure; there are {', '.join(MEASURES)}", param, ctx)
        return measure, margin


class Duration(click.ParamType):  # type: ignore[type-arg]
    """A time: `45s`, `20min`, `1.5h`, `2d`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        match = re.fullmatch(r"\s*(\d{1,6}(?:\.\d{1,6})?)\s*(s|min|h|d)\s*", str(value))
        if match is None:
            self.fail(f"{value!r:.60} is no time; write it like 45s, 20min, 1.5h or 2d", param, ctx)
        return float(match[1]) * UNITS[match[2]]


class Faithful(click.ParamType):  # type: ignore[type-arg]
    """A rank correlation from above 0 to 1, by itself or with the score that is meant: `disagreement=0.95`."""

    name = "fidelity"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str | None, float]:
        """The score, None for the one that ranks, and the correlation."""
        if isinstance(value, tuple):
            return value
        score, is_named, number = str(value).rpartition("=")
        try:
            rho = float(number)
        except ValueError:
            rho = math.nan
        if not 0 < rho <= 1:
            self.fail(f"{value!r:.60} is no fidelity; write it like 0.95 or disagreement=0.95", param, ctx)
        return (score.strip() if is_named else None), rho
