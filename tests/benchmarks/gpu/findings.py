"""What a check found, and what it is held against."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

TOLERANCES = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.1}
"""By which a score may differ from that of another device, batch size or residency, relative. float32 without TF32."""
AS_IT_COMES = 1e-2
"""The same in float32 as PyTorch runs it: it lets a GPU's convolutions round what they multiply to ten bits (TF32)."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A figure, and between what it has to lie; without bounds it only tells."""

    what: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def holds(self) -> bool:
        if math.isnan(self.value):
            return False
        above = self.at_least is None or self.value >= self.at_least
        return above and (self.at_most is None or self.value <= self.at_most)


def written(findings: Iterable[Finding]) -> str:
    """For another process."""
    return json.dumps([asdict(finding) for finding in findings])


def read(text: str) -> list[Finding]:
    """What `written` wrote."""
    rows: list[dict[str, Any]] = json.loads(text)
    return [Finding(**row) for row in rows]


def line(finding: Finding) -> str:
    """For people."""
    bounds = [f"at least {finding.at_least:.4g}"] if finding.at_least is not None else []
    bounds += [f"at most {finding.at_most:.4g}"] if finding.at_most is not None else []
    mark = "    " if not bounds else "ok  " if finding.holds else "FAIL"
    return f"  {mark} {finding.what:<46} {finding.value:>12.5g}  {' and '.join(bounds)}".rstrip()
