"""The labellers: boosted trees, each learned from a random half of the rows and of the directions.

LightGBM (Ke et al. 2017) with its own defaults, 40 rounds. Trees are text, which is what a model folder keeps.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lightgbm import Booster

N_LABELLERS = 128
ROUNDS = 40
PARAMETERS: dict[str, Any] = {"objective": "binary", "verbosity": -1, "num_threads": 1, "deterministic": True}


@dataclass(frozen=True, kw_only=True)
class Labellers:
    """Boosted trees that each see some of the directions."""

    directions: np.ndarray
    """Places of the directions that each sees, `[labeller, direction]`."""
    trees: tuple[Booster, ...]

    @classmethod
    def fit(cls, z: np.ndarray, good: np.ndarray, *, n_labellers: int = N_LABELLERS, seed: int = 0) -> Labellers:
        """Learn from points `[row, direction]` and what they are, 0 or 1; of odd numbers the larger half is drawn."""
        rng = np.random.default_rng(seed)
        n, width = z.shape
        rows = [rng.permutation(n)[n // 2 :] for _ in range(n_labellers)]
        directions = np.stack([np.sort(rng.permutation(width)[width // 2 :]) for _ in range(n_labellers)])
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            trees = pool.map(lambda own, seen: boosted(z[np.ix_(own, seen)], good[own]), rows, directions)
            return cls(directions=directions, trees=tuple(trees))

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """The probability that each gives a point, `[row, labeller]`."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            given = pool.map(lambda tree, seen: probability(tree, z[:, seen]), self.trees, self.directions)
            return np.stack(list(given), axis=1)


def boosted(z: np.ndarray, good: np.ndarray) -> Booster:
    """One boosted model of points `[row, direction]`."""
    from lightgbm import Dataset, train

    return train(PARAMETERS, Dataset(z, label=good, params=PARAMETERS), num_boost_round=ROUNDS)


def probability(tree: Booster, z: np.ndarray) -> np.ndarray:
    """The probability that a boosted model gives every point, `[row]`."""
    if not len(z):
        return np.empty(0)
    given: np.ndarray = np.asarray(tree.predict(z, num_threads=1), dtype=np.float64)
    return given
