"""Boosted trees as arrays: checked when they come from outside, and read without the library that grew them.

The leaf of a point is found as in QuickScorer (Lucchese et al. 2015). The leaves of a tree, 32 at most, that are still
possible are the bits of one number. A split that sends a point left rules out the leaves on its right, and the reverse,
so the splits of all directions together leave one leaf. What those of one direction leave depends only on how many of
their thresholds lie below the point, and is looked up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.special import expit

from emoe_audit.errors import AuditError

LARGEST = 1e6
"""Log-odds of a leaf: far beyond any that is learned, and never infinite in a sum."""
CHUNK = 2048
"""Points looked up at once."""
LEFT, RIGHT = 0, 1


@dataclass(frozen=True, kw_only=True)
class Trees:
    """Boosted models that answer in log-odds. Node 0 is a tree's root, and a node stands before its children."""

    children: np.ndarray
    """A node, or ~leaf, `[model, tree, node, side]`; 0 where the tree has no such node."""
    direction: np.ndarray
    """By which a node splits, `[model, tree, node]`."""
    threshold: np.ndarray
    """Up to which a point goes left, `[model, tree, node]`."""
    nan_left: np.ndarray
    """Whether a point goes left where it is NaN, `[model, tree, node]`."""
    value: np.ndarray
    """Added to the log-odds, `[model, tree, leaf]`."""

    @classmethod
    def empty(cls, n_models: int, n_trees: int, n_leaves: int) -> Trees:
        """Trees of one leaf, which add nothing."""
        nodes = (n_models, n_trees, n_leaves - 1)
        return cls(
            children=np.zeros((*nodes, 2), np.int8),
            direction=np.zeros(nodes, np.int16),
            threshold=np.zeros(nodes),
            nan_left=np.zeros(nodes, np.bool_),
            value=np.zeros((n_models, n_trees, n_leaves)),
        )

    @classmethod
    def joined(cls, parts: Sequence[Trees]) -> Trees:
        """All models of some trees."""
        return cls(**{own.name: np.concatenate([getattr(part, own.name) for part in parts]) for own in fields(cls)})

    def __len__(self) -> int:
        """The number of models."""
        return len(self.children)

    def probability(self, model: int, z: np.ndarray) -> np.ndarray:
        """What a model gives points `[row, direction]`, `[row]`."""
        cuts, kept = self._lookup(model, z.shape[1])
        n_splits = np.count_nonzero(self.children[model, ..., LEFT], axis=1).astype(np.uint64)
        leaves = ((np.uint64(2) << n_splits) - np.uint64(1)).astype(np.uint32)
        value, width = self.value[model].ravel(), self.value.shape[2]
        first = np.arange(len(leaves)) * width
        log_odds = np.empty(len(z))
        for start in range(0, len(z), CHUNK):
            rows = slice(start, start + CHUNK)
            possible = np.broadcast_to(leaves, (len(z[rows]), len(leaves))).copy()
            for own, own_cuts, own_kept in zip(z[rows].T, cuts, kept, strict=True):
                if len(own_cuts):
                    possible &= own_kept.take(_places(own, own_cuts), axis=0)
            log_odds[rows] = value.take(first + np.bitwise_count(possible - 1)).sum(axis=1)
        probability: np.ndarray = expit(log_odds)
        return probability

    def _lookup(self, model: int, n_directions: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """For each direction the thresholds in order, and `[place, tree]`: the leaves kept by the splits along it.

        A place is the number of thresholds below a point; the last one is that of NaN.
        """
        children = self.children[model]
        without = ~_leaves_on(children)
        tree, node = np.nonzero(children[..., LEFT])
        order = np.lexsort((self.threshold[model][tree, node], self.direction[model][tree, node]))
        tree, node = tree[order], node[order]
        direction, threshold = self.direction[model][tree, node], self.threshold[model][tree, node]
        ends = np.searchsorted(direction, np.arange(n_directions), side="right")
        cuts, kept = [], []
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            own = slice(start, end)
            sides, nan_left = without[tree[own], node[own]], self.nan_left[model][tree[own], node[own]]
            cuts.append(threshold[own])
            kept.append(_kept(tree[own], sides, nan_left, len(children)))
        return cuts, kept

    def check(self, n_directions: int, where: str) -> None:
        """Raise `AuditError` where arrays of fitting shapes are no trees."""
        if not _are_trees(self.children):
            raise AuditError(f"{where}: the nodes of a tree do not hang together")
        if not ((self.direction >= 0) & (self.direction < n_directions)).all():
            raise AuditError(f"{where}: a tree splits along a direction that is not there")
        if not (np.isfinite(self.threshold).all() and (np.abs(self.value) <= LARGEST).all()):
            raise AuditError(f"{where}: a threshold or a leaf of a tree is no number that a tree has")


def _are_trees(children: np.ndarray) -> bool:
    """Whether every node but the root and every leaf hangs below one earlier node, `[model, tree, node, side]`."""
    n_nodes = children.shape[2]
    there = children != 0
    n_splits = there[..., LEFT].sum(axis=2)[..., None]
    node = np.arange(n_nodes)
    earlier = there & (children >= 0) & (children <= node[:, None])
    if earlier.any() or not (there == (node < n_splits)[..., None]).all():
        return False
    place, ends = np.arange(2 * n_nodes), 2 * n_nodes - n_splits
    each_once = np.minimum(place - n_splits - (n_splits > 0), 0) + np.maximum(place - ends, 0)
    return bool((np.sort(children.reshape(*children.shape[:2], -1), axis=2) == each_once).all())


def _leaves_on(children: np.ndarray) -> np.ndarray:
    """The leaves on each side of every split as bits, `[tree, node, side]`; none where there is no node."""
    leaves = np.zeros(children.shape, np.uint32)
    below = np.zeros(children.shape[:2], np.uint32)
    for node in reversed(range(children.shape[1])):
        own = children[:, node]
        leaf = np.uint32(1) << np.where(own < 0, ~own, 0).astype(np.uint32)
        leaves[:, node] = np.where(own < 0, leaf, np.take_along_axis(below, np.maximum(own, 0).astype(np.intp), axis=1))
        below[:, node] = leaves[:, node, LEFT] | leaves[:, node, RIGHT]
    return leaves


def _kept(tree: np.ndarray, without: np.ndarray, nan_left: np.ndarray, n_trees: int) -> np.ndarray:
    """`[place, tree]` of splits in the order of their thresholds.

    Args:
        tree: Of each split.
        without: The leaves of its tree without those on a side, `[split, side]`.
        nan_left: Whether NaN goes left.
        n_trees: Of the model.
    """
    places = np.arange(len(tree))
    above = np.full((len(tree) + 1, n_trees), np.iinfo(np.uint32).max, np.uint32)
    below, nan = above.copy(), above[0].copy()
    above[places + 1, tree] = without[:, LEFT]
    below[places, tree] = without[:, RIGHT]
    np.bitwise_and.at(nan, tree, np.where(nan_left, without[:, RIGHT], without[:, LEFT]))
    passed = np.bitwise_and.accumulate(above) & np.bitwise_and.accumulate(below[::-1])[::-1]
    return np.concatenate([passed, nan[None]])


def _places(own: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """The place of every point along one direction."""
    places: np.ndarray = np.where(np.isnan(own), len(cuts) + 1, np.searchsorted(cuts, own))
    return places
