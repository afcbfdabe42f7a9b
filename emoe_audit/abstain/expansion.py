"""Points further out than any that were seen, kept where the labellers agree on them (Qu et al., arXiv 2406.01825).

    z' = (1 + |e|) z,  e ~ N(0, 1) for every point

Every round draws a new point from each row. A point is kept where more than 95% of the labellers vote alike; in the
last round more than 90% are enough.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

N_ROUNDS = 5
AGREED, AGREED_AT_LAST = 0.45, 0.4
"""How far the share of votes for good has to be from a half, in every round but the last, and in the last."""


def expand(
    z: np.ndarray, labellers: Callable[[np.ndarray], np.ndarray], *, n_rounds: int = N_ROUNDS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Points kept, `[point, direction]`, and the probability that each labeller gives them, `[point, labeller]`.

    Args:
        z: `[row, direction]`, around 0.
        labellers: From points to probabilities; a vote for good is one above a half.
        n_rounds: Points drawn from every row.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    drawn = np.concatenate([outwards(z, rng) for _ in range(n_rounds)])
    given = labellers(drawn)
    least = np.repeat([AGREED] * (n_rounds - 1) + [AGREED_AT_LAST], len(z))
    kept = np.abs((given > 0.5).mean(axis=1) - 0.5) > least
    return drawn[kept], given[kept]


def outwards(z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every point moved away from 0 on the line through both."""
    moved: np.ndarray = (1 + np.abs(rng.standard_normal((len(z), 1)))) * z
    return moved
