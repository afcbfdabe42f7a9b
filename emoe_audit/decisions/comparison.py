"""What became of the groups of one run in another; `emoe_audit.decisions.compare` finds it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Outcome = Literal["rose", "fell", "no clear change", "not tested"]


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """One of the two runs."""

    path: Path
    ensemble: str


@dataclass(frozen=True, kw_only=True)
class GroupChange:
    """How the mean rank of a group changed from run A to run B."""

    group: str
    n_prompts: int
    n_sources: int
    difference: float
    """Mean rank in B minus mean rank in A, -1 to 1."""
    low: float
    high: float
    """95% interval over captions; NaN, as all that follows, where there are too few captions."""
    p: float
    p_bh: float
    p_by: float
    verdict: Outcome

    @property
    def is_clear(self) -> bool:
        """Whether the group rose or fell."""
        return self.verdict in ("rose", "fell")

    def to_json(self) -> dict[str, Any]:
        """As it goes into JSON: undefined numbers are null."""
        return {name: None if _undefined(value) else value for name, value in asdict(self).items()}


@dataclass(frozen=True, kw_only=True)
class ImagePair:
    """A prompt of which both runs hold an image."""

    prompt: str
    language: str
    group: str
    rank_a: float
    rank_b: float
    image_a: str
    """Inside the folder of run A."""
    image_b: str
    """Inside the folder of run B."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What became of the groups of run A in run B."""

    a: ComparedRun
    b: ComparedRun
    score: str
    by: str
    n_prompts: int
    """Prompts that have the score in both runs, and a value in the group column."""
    n_only_a: int
    """Prompts that have the score in run A alone; left out."""
    n_only_b: int
    fdr: float
    groups: tuple[GroupChange, ...]
    """Largest rise first."""
    pairs: tuple[ImagePair, ...] = ()

    @property
    def n_tests(self) -> int:
        """Groups that were tested, over which p-values are adjusted."""
        return len(self.groups) - len(self.untested)

    @property
    def untested(self) -> tuple[str, ...]:
        """Groups of too few captions."""
        return tuple(change.group for change in self.groups if change.verdict == "not tested")

    def to_json(self) -> dict[str, Any]:
        """The numbers, ready for `json.dumps`."""
        counts = {name: getattr(self, name) for name in ("n_prompts", "n_only_a", "n_only_b", "n_tests")}
        return {
            "a": str(self.a.path),
            "b": str(self.b.path),
            "score": self.score,
            "by": self.by,
            **counts,
            "fdr": self.fdr,
            "groups": [change.to_json() for change in self.groups],
        }


def _undefined(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
