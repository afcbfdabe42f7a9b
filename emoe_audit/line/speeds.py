"""How long work takes here, learned from work that was done: what a ticket says of itself before it has begun.

Speeds lie beside the tickets, by what is done with which settings; what cannot be read is not known.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from emoe_audit.errors import AuditError
from emoe_audit.experts.drawer import who_draws
from emoe_audit.line.tickets import line_folder
from emoe_audit.line.turn import Turn
from emoe_audit.readers.documents import read_json
from emoe_audit.runs.files import write_whole
from emoe_audit.types import EnsembleSpec, ImageConfig, ScoringConfig

STAGES = ("scoring", "images")
"""As progress calls them."""
SLOWEST = 1e6
"""Seconds of a prompt or image that are believed."""
MOST = 200
"""Speeds that are kept, the latest."""


def key_of(spec: EnsembleSpec, scoring: ScoringConfig, images: ImageConfig) -> str:
    """What a speed depends on, but for the machine and how its work is done there."""
    scores = (scoring.n_noise, scoring.experts, scoring.both_halves)
    drawn = (who_draws(spec, images.expert), images.num_inference_steps, images.guidance_scale, images.per_prompt)
    shown = drawn if images.brought is None else ("brought",)
    return hashlib.sha256(repr((spec, scores, shown)).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def known_speeds(key: str) -> dict[str, float]:
    """Seconds a prompt (`scoring`) and an image (`images`), as far as they were measured."""
    found = _read().get(key, {})
    return {stage: own for stage in STAGES if isinstance(own := found.get(stage), float) and 0 < own < SLOWEST}


def keep_speeds(key: str, speeds: Mapping[str, float]) -> None:
    """Keep what was measured, in place of what was known."""
    with contextlib.suppress(OSError, AuditError):
        file = _file()
        kept = _read()
        kept[key] = kept.pop(key, {}) | dict(speeds)
        write_whole(file, json.dumps(dict(list(kept.items())[-MOST:])).encode())


def seconds_for(left: Mapping[str, int], speeds: Mapping[str, float]) -> float | None:
    """For so many prompts and images; None where the speed of one that is left is not known."""
    if any(n and stage not in speeds for stage, n in left.items()):
        return None
    return sum(n * speeds[stage] for stage, n in left.items() if n)


class Watched:
    """Measures work as it is done, and says how much is left."""

    def __init__(self, key: str, planned: Mapping[str, int]) -> None:
        """`planned` says how many prompts and images there are to do, by stage."""
        self._key, self._left, self._speeds = key, dict(planned), known_speeds(key)
        self._first: dict[str, tuple[int, float]] = {}
        self._measured: dict[str, float] = {}

    @property
    def seconds(self) -> float | None:
        """How long what is left takes."""
        return seconds_for(self._left, self._speeds | self._measured)

    def of(self, turn: Turn) -> Callable[[str, int, int], None]:
        """What is told of each step of a turn."""

        def told(stage: str, done: int, total: int) -> None:
            if stage not in STAGES:
                return
            self._left[stage] = total - done
            worked = turn.seconds_worked()
            before, since = self._first.setdefault(stage, (done, worked))
            if done > before:
                self._measured[stage] = (worked - since) / (done - before)
            turn.expect(self.seconds)

        return told

    def keep(self) -> None:
        """Keep what was measured."""
        if self._measured:
            keep_speeds(self._key, self._measured)


def _file() -> Path:
    folder = line_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "speeds.json"


def _read() -> dict[str, dict[str, object]]:
    try:
        read = read_json(_file(), AuditError)
    except (AuditError, OSError):
        return {}
    return {key: own for key, own in read.items() if isinstance(own, dict)} if isinstance(read, dict) else {}
