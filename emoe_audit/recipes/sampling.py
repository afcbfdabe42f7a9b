"""Draws of training examples from a plan: a function of (seed, stage, step), so training resumes exactly."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from emoe_audit.recipes.plan import Plan
from emoe_audit.recipes.world import World


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Row numbers, each `[n]`: concept, language (column of the captions), style."""

    concepts: np.ndarray
    languages: np.ndarray
    styles: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Draws (concept, language, style); `plan` None draws every language evenly."""

    world: World
    plan: Plan | None
    styles: tuple[str, ...]
    seed: int = 0
    _language_shares: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        languages = list(self.world.captions.columns)
        shares = [self.plan.languages.get(language, 0.0) if self.plan else 1.0 for language in languages]
        object.__setattr__(self, "_language_shares", np.array(shares) / sum(shares))

    def draw(self, stage: str, step: int, n: int) -> Batch:
        """`n` examples of one step."""
        rng = np.random.default_rng([self.seed, zlib.crc32(stage.encode()), step])
        concepts = rng.integers(len(self.world.concepts), size=n)
        languages = rng.choice(len(self._language_shares), size=n, p=self._language_shares)
        available = np.stack([self.world.drawn[style][concepts] >= 0 for style in self.styles])
        styles = np.where(available, rng.random(available.shape), -1.0).argmax(axis=0)
        return Batch(concepts=concepts, languages=languages, styles=styles)

    def count(self, stage: str, steps: int, n: int) -> pd.Series:
        """How many captions of each language a whole stage draws."""
        counts = np.zeros(len(self._language_shares), dtype=np.int64)
        for step in range(steps):
            counts += np.bincount(self.draw(stage, step, n).languages, minlength=len(counts))
        return pd.Series(counts, index=self.world.captions.columns)
