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
class Drawn:
    """Numbers of captions drawn."""

    languages: pd.Series
    concepts: pd.Series

    def __add__(self, other: Drawn) -> Drawn:
        return Drawn(languages=self.languages + other.languages, concepts=self.concepts + other.concepts)


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Draws (concept, language, style); `plan` None draws every concept and language evenly.

    Only concepts that one of the styles draws are drawn.
    """

    world: World
    plan: Plan | None
    styles: tuple[str, ...]
    seed: int = 0
    _language_shares: np.ndarray = field(init=False)
    _concept_shares: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        languages = list(self.world.captions.columns)
        shares = [self.plan.languages.get(language, 0.0) if self.plan else 1.0 for language in languages]
        object.__setattr__(self, "_language_shares", np.array(shares) / sum(shares))
        concepts = self.world.concepts
        wanted = self.plan.concept_shares(concepts) if self.plan else np.ones(len(concepts))
        drawn = wanted * np.any([self.world.drawn[style] >= 0 for style in self.styles], axis=0)
        object.__setattr__(self, "_concept_shares", drawn / drawn.sum())

    def draw(self, stage: str, step: int, n: int) -> Batch:
        """`n` examples of one step."""
        rng = np.random.default_rng([self.seed, zlib.crc32(stage.encode()), step])
        concepts = rng.choice(len(self._concept_shares), size=n, p=self._concept_shares)
        languages = rng.choice(len(self._language_shares), size=n, p=self._language_shares)
        available = np.stack([self.world.drawn[style][concepts] >= 0 for style in self.styles])
        styles = np.where(available, rng.random(available.shape), -1.0).argmax(axis=0)
        return Batch(concepts=concepts, languages=languages, styles=styles)

    def count(self, stage: str, steps: int, n: int) -> Drawn:
        """How many captions of each language, and of each concept, a whole stage draws."""
        languages = np.zeros(len(self._language_shares), dtype=np.int64)
        concepts = np.zeros(len(self._concept_shares), dtype=np.int64)
        for step in range(steps):
            batch = self.draw(stage, step, n)
            languages += np.bincount(batch.languages, minlength=len(languages))
            concepts += np.bincount(batch.concepts, minlength=len(concepts))
        return Drawn(
            languages=pd.Series(languages, index=self.world.captions.columns),
            concepts=pd.Series(concepts, index=self.world.concepts.index),
        )
