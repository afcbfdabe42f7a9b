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
    """Draws (concept, language, style); `plan` None draws every concept and language evenly."""

    world: World
    plan: Plan | None
    styles: tuple[str, ...]
    seed: int = 0
    _concept_shares: np.ndarray = field(init=False)
    _language_shares: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        languages = list(self.world.captions.columns)
        shares = [self.plan.languages.get(language, 0.0) if self.plan else 1.0 for language in languages]
        object.__setattr__(self, "_language_shares", np.array(shares) / sum(shares))
        object.__setattr__(self, "_concept_shares", concept_shares(self.world.concepts, self.plan))

    def draw(self, stage: str, step: int, n: int) -> Batch:
        """`n` examples of one step."""
        rng = np.random.default_rng([self.seed, zlib.crc32(stage.encode()), step])
        concepts = rng.choice(len(self._concept_shares), size=n, p=self._concept_shares)
        languages = rng.choice(len(self._language_shares), size=n, p=self._language_shares)
        available = np.stack([self.world.drawn[style][concepts] >= 0 for style in self.styles])
        styles = np.where(available, rng.random(available.shape), -1.0).argmax(axis=0)
        return Batch(concepts=concepts, languages=languages, styles=styles)

    def count(self, stage: str, steps: int, n: int) -> np.ndarray:
        """How often each (concept, language) is drawn in a whole stage, `[concept, language]`."""
        counts = np.zeros((len(self._concept_shares), len(self._language_shares)), dtype=np.int64)
        for step in range(steps):
            batch = self.draw(stage, step, n)
            np.add.at(counts, (batch.concepts, batch.languages), 1)
        return counts


def concept_shares(concepts: pd.DataFrame, plan: Plan | None) -> np.ndarray:
    """Probability of each concept: the share of its kind, then of its region or skin tone, evenly within."""
    if plan is None:
        return np.full(len(concepts), 1 / len(concepts))
    group_share = (
        concepts["region"]
        .map(plan.regions)
        .fillna(concepts["tone"].map(plan.skin_tones))
        .where(concepts["kind"] != "emoji", 1.0)
        .fillna(0.0)
        .astype(float)
    )
    group = concepts["region"].fillna(concepts["tone"]).fillna("emoji")
    weight = concepts["kind"].map(plan.kinds).astype(float) * group_share / group.map(group.value_counts())
    shares = weight.to_numpy(dtype=np.float64)
    return shares / shares.sum()
