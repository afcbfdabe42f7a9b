"""The labellers: boosted trees, each learned from a random half of the rows and of the directions.

LightGBM (Ke et al. 2017) with its own defaults, 40 rounds. It grows the trees; `trees` keeps them and answers.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from emoe_audit.abstain.trees import Trees

N_LABELLERS = 128
ROUNDS, N_LEAVES = 40, 31
PARAMETERS: dict[str, Any] = {
    **{"objective": "binary", "num_leaves": N_LEAVES, "verbosity": -1},
    **{"num_threads": 1, "deterministic": True},
}


@dataclass(frozen=True, kw_only=True)
class Labellers:
    """Boosted trees that each see some of the directions."""

    directions: np.ndarray
    """Places of the directions that each sees, `[labeller, direction]`."""
    trees: Trees
    """A model a labeller, of the directions that it sees."""

    @classmethod
    def fit(cls, z: np.ndarray, good: np.ndarray, *, n_labellers: int = N_LABELLERS, seed: int = 0) -> Labellers:
        """Learn from points `[row, direction]` and what they are, 0 or 1; of odd numbers the larger half is drawn."""
        rng = np.random.default_rng(seed)
        n, width = z.shape
        rows = [rng.permutation(n)[n // 2 :] for _ in range(n_labellers)]
        directions = np.stack([np.sort(rng.permutation(width)[width // 2 :]) for _ in range(n_labellers)])
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            trees = pool.map(lambda own, seen: boosted(z[np.ix_(own, seen)], good[own]), rows, directions)
            return cls(directions=directions, trees=Trees.joined(list(trees)))

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """The probability that each gives a point, `[row, labeller]`."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            models = range(len(self.trees))
            given = pool.map(lambda own, seen: self.trees.probability(own, z[:, seen]), models, self.directions)
            return np.stack(list(given), axis=1)


def boosted(z: np.ndarray, good: np.ndarray) -> Trees:
    """One boosted model of points `[row, direction]`."""
    from lightgbm import Dataset, train

    grown = train(PARAMETERS, Dataset(z, label=good, params=PARAMETERS), num_boost_round=ROUNDS)
    trees = Trees.empty(1, ROUNDS, N_LEAVES)
    for place, tree in enumerate(grown.dump_model()["tree_info"]):
        _take_over(tree["tree_structure"], trees, place)
    return trees


def _take_over(root: dict[str, Any], trees: Trees, place: int) -> None:
    """Write a tree, as LightGBM describes it, into a place of the first model."""
    waiting = [root]
    while waiting:
        own = waiting.pop()
        if "split_index" not in own:
            trees.value[0, place, own.get("leaf_index", 0)] = own["leaf_value"]
            continue
        sides = (own["left_child"], own["right_child"])
        node = (0, place, own["split_index"])
        trees.children[node] = [side.get("split_index", ~side.get("leaf_index", 0)) for side in sides]
        trees.direction[node], trees.threshold[node] = own["split_feature"], own["threshold"]
        trees.nan_left[node] = own["default_left"] if own["missing_type"] == "NaN" else own["threshold"] >= 0
        waiting += sides
