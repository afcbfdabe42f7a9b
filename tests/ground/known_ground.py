"""Ground whose right answers are known beforehand: eight languages of falling coverage, flags and skin tones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from emoe_audit.ground.figures import Ground

COVERAGE = np.array([0.5, 0.3, 0.15, 0.04, 0.0095, 0.0004, 0.0001, 0.0])
N_PLAIN, N_FLAGS, N_TONES = 30, 12, 6
N = N_PLAIN + N_FLAGS + N_TONES


def known_ground() -> Ground:
    """Images of ten plain concepts, better where coverage is higher."""
    rng = np.random.default_rng(0)
    quality = np.full((8, N), np.nan)
    quality[:, :10] = np.log10(COVERAGE + 1e-5)[:, None] + rng.normal(0, 0.1, (8, 10))
    quality[:, N_PLAIN : N_PLAIN + 2] = rng.normal(5, 1, (8, 2))  # images of flags, which no figure may look at
    return Ground(
        languages=np.array(list("abcdefgh")),
        coverage=COVERAGE,
        readability=np.array([0.9, 0.95, 0.8, 0.6, 0.3, 0.1, 0.05, np.nan]),
        related=np.arange(8) == 7,
        tokens=rng.integers(2, 9, (8, N)).astype(float),
        quality=quality,
        failed=np.where(np.isnan(quality), np.nan, quality < -3),
        shared=rng.random((8, N)) < 0.5,
        regions=np.array([""] * N_PLAIN + ["014", "155", "005"] * 4 + [""] * N_TONES),
        skin_tones=np.array([""] * (N - N_TONES) + ["light", "medium", "dark"] * 2),
        group_coverage={"014": 0.0, "155": 0.09, "005": 0.0, "light": 0.9, "medium": 0.4, "dark": 0.1},
        concept_coverage=np.full(N, np.nan),
    )


OFTEN = np.concatenate([np.ones(15), np.geomspace(0.6, 1 / 300, 9), np.zeros(6)])
"""How often each plain concept was drawn, relative to those drawn in full."""


def with_concepts(ground: Ground) -> Ground:
    """Half of the plain concepts drawn in full, some less and less often, the last never."""
    coverage = np.full(N, np.nan)
    coverage[:N_PLAIN] = OFTEN / OFTEN.sum()
    return replace(ground, concept_coverage=coverage)


def following_score(ground: Ground) -> np.ndarray:
    """Rises as coverage falls, of languages, regions and skin tones."""
    rng = np.random.default_rng(1)
    names = np.char.add(ground.regions, ground.skin_tones)
    planted = np.array([ground.group_coverage.get(name, 0.5) for name in names])
    return -np.log10(COVERAGE + 1e-5)[:, None] - planted + rng.normal(0, 0.1, (8, N))
