"""Balanced clusters of the keys of feed-forwards (Qiu et al., arXiv 2310.10908): found, stored, and put to use.

A feed-forward is a memory of keys (rows of its first matrix) and values (columns of its last). Its experts are clusters
of equal size of the keys at length 1, by k-means. In a GEGLU the keys are the gate's rows, which are the second half of
the projection, since the gate decides what fires; in CLIP's text encoder they are the rows of `fc1`.

Each step of the k-means is exact: rows are assigned to centres under the equal size at the least sum of squared
distances, a transport problem. It starts from every row at its nearest centre and sends one row after another from a
full cluster to one with room along the cheapest path between clusters (successive shortest paths), which keeps the
assignment optimal among those of its sizes. The graph has a node for each cluster, not for each row, so 5,120 rows in
64 clusters take about a second where an assignment of rows to places would take minutes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import save_file
from torch import Tensor

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.hashing import json_digest, tensor_digest
from emoe_audit.experts.sources import opened, some
from emoe_audit.experts.writing import writing

Clusters = Mapping[str, Int[Tensor, "_expert _row"]]
"""Which rows each expert of a layer has, by the layer's name."""
N_CLUSTERS = 64
LAYER = re.compile(
    r"((?:down_blocks|mid_block)\..+\.ff)\.net\.0\.proj\.weight|(encoder\.layers\.\d+\.mlp)\.fc1\.weight"
)
MAX_ROUNDS = 50
RESOLUTION = 2**30
"""Squared distances are counted in this part of 1, as whole numbers, so that no rounding turns a path into a circle."""
FAR = 2**60


def split_layers(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the feed-forwards of a UNet up to its mid-block, or of a text encoder, whose keys can be clustered."""
    return sorted(match[1] or match[2] for match in map(LAYER.fullmatch, tensors) if match)


def key_rows(tensors: Mapping[str, Tensor], layer: str) -> Float[Tensor, "row width"]:
    """The keys of one feed-forward."""
    plain = tensors.get(f"{layer}.fc1.weight")
    return tensors[f"{layer}.net.0.proj.weight"].chunk(2)[1] if plain is None else plain


def most_clusters(tensors: Mapping[str, Tensor]) -> int:
    """64, as published, or as many of these as divide the keys of every layer."""
    return math.gcd(N_CLUSTERS, *(len(key_rows(tensors, layer)) for layer in split_layers(tensors)))


def find_clusters(tensors: Mapping[str, Tensor], n_clusters: int, *, seed: int = 0) -> dict[str, Tensor]:
    """The clusters of every layer. Raises `EnsembleError` where a layer's keys do not go into so many equal parts."""
    layers = split_layers(tensors)
    unfit = [layer for layer in layers if len(key_rows(tensors, layer)) % n_clusters]
    if unfit or not layers:
        raise EnsembleError(
            f"{n_clusters} clusters of equal size do not fit: {some(unfit) or 'no feed-forward to split'}; "
            f"this checkpoint can be split into {most_clusters(tensors)}, or a divisor of that"
        )
    return {layer: balanced_clusters(key_rows(tensors, layer), n_clusters, seed=seed) for layer in layers}


def balanced_clusters(keys: Float[Tensor, "row width"], n_clusters: int, *, seed: int) -> Int[Tensor, "expert size"]:
    """Rows in clusters of equal size, by k-means on rows at length 1 from k-means++ centres.

    Rows are in order within a cluster. `n_clusters` has to divide the number of rows.
    """
    points = torch.nn.functional.normalize(keys.detach().float(), dim=-1).cpu().numpy()
    centres = _first_centres(points, n_clusters, np.random.default_rng(seed))
    order = np.empty(0, dtype=np.intp)
    for _ in range(MAX_ROUNDS):
        assigned = balanced_assignment(_squared_distances(points, centres))
        before, order = order, np.argsort(assigned, kind="stable")
        if np.array_equal(before, order):
            break
        centres = points[order].reshape(n_clusters, -1, points.shape[1]).mean(axis=1)
    return torch.from_numpy(order.reshape(n_clusters, -1))


def balanced_assignment(cost: np.ndarray) -> np.ndarray:
    """The cluster of every row at the least total cost, where all clusters get the same number of rows.

    Args:
        cost: `[row, cluster]`, of the order of 1; compared to nine decimals. Clusters divide rows.
    """
    transport = _Transport(np.rint(cost * RESOLUTION).astype(np.int64))
    return transport.balanced()


class _Transport:
    """Rows on their way between clusters; `cost` is `[row, cluster]` of whole numbers."""

    def __init__(self, cost: np.ndarray) -> None:
        n_clusters = cost.shape[1]
        self._cost, self._assigned = cost, cost.argmin(axis=1)
        self._all = np.arange(n_clusters)
        self._step = np.full((n_clusters, n_clusters), FAR)
        """What the cheapest move of a row from one cluster to another adds to the total."""
        self._mover = np.zeros((n_clusters, n_clusters), dtype=np.int64)
        """The row that makes this move."""
        for cluster in range(n_clusters):
            self._survey(cluster)

    def balanced(self) -> np.ndarray:
        """Move rows until all clusters are of one size."""
        size = len(self._cost) // len(self._all)
        room = size - np.bincount(self._assigned, minlength=len(self._all))
        while (room < 0).any():
            path = self._cheapest_path(room)
            for start, end in pairwise(path):
                self._assigned[self._mover[start, end]] = end
            for cluster in path:
                self._survey(cluster)
            room[path[0]] += 1
            room[path[-1]] -= 1
        return self._assigned

    def _survey(self, cluster: int) -> None:
        rows = np.flatnonzero(self._assigned == cluster)
        if not len(rows):
            self._step[cluster] = FAR
            return
        change = self._cost[rows] - self._cost[rows, cluster][:, None]
        first = change.argmin(axis=0)
        self._step[cluster], self._mover[cluster] = change[first, self._all], rows[first]

    def _cheapest_path(self, room: np.ndarray) -> list[int]:
        """From any cluster that is too large to any with room (Bellman and Ford; there are no negative circles)."""
        distance, before = np.where(room < 0, 0, FAR), np.full(len(room), -1)
        while True:
            through = distance[:, None] + self._step
            via = through.argmin(axis=0)
            shorter = through[via, self._all] < distance
            if not shorter.any():
                break
            distance, before = np.where(shorter, through[via, self._all], distance), np.where(shorter, via, before)
        path = [int(np.where(room > 0, distance, FAR).argmin())]
        while before[path[-1]] >= 0:
            path.append(int(before[path[-1]]))
        return path[::-1]


def write_clusters(clusters: Clusters, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Store the clusters with the digest of the keys that they were made of."""
    own = {layer: rows.int().contiguous() for layer, rows in clusters.items()}
    with writing(path):
        save_file(own, path, metadata={"keys": _keys_digest(clusters, tensors)})


def read_clusters(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The clusters of a checkpoint.

    Raises `EnsembleError` where they were made of other keys, or do not name every row of a layer once.
    """
    with opened(path) as file:
        digest = (file.metadata() or {}).get("keys")
        clusters = {layer: file.get_tensor(layer) for layer in file.keys()}  # noqa: SIM118
    known = set(split_layers(tensors))
    if not clusters or clusters.keys() - known or digest != _keys_digest(clusters, tensors):
        raise EnsembleError(
            f"{path}: these are the clusters of another checkpoint; make them again with `emoe-audit ensemble emergent`"
        )
    for layer, rows in clusters.items():
        is_table = rows.ndim == 2 and rows.dtype in (torch.int32, torch.int64)
        order = torch.arange(len(key_rows(tensors, layer)))
        if not is_table or not torch.equal(rows.flatten().sort().values.long(), order):
            raise EnsembleError(f"{path}: {layer}: the clusters do not hold every row of the layer once")
    return {layer: rows.long() for layer, rows in clusters.items()}


def split_weights(tensors: Mapping[str, Tensor], clusters: Clusters) -> dict[str, Tensor]:
    """The same weights with the rows of every expert next to each other; what is not split are the same objects."""
    return _reordered(tensors, {layer: rows.flatten() for layer, rows in clusters.items()})


def merge_weights(tensors: Mapping[str, Tensor], clusters: Clusters) -> dict[str, Tensor]:
    """The weights that `split_weights` was given, bit by bit."""
    return _reordered(tensors, {layer: rows.flatten().argsort() for layer, rows in clusters.items()})


def clusters_of(clusters: Clusters, tensors: Mapping[str, Tensor]) -> Clusters:
    """The clusters of the layers that some weights are of."""
    return {
        layer: rows
        for layer, rows in clusters.items()
        if f"{layer}.net.0.proj.weight" in tensors or f"{layer}.fc1.weight" in tensors
    }


def _reordered(tensors: Mapping[str, Tensor], orders: Mapping[str, Int[Tensor, " _row"]]) -> dict[str, Tensor]:
    found = dict(tensors)
    for layer, order in orders.items():
        is_plain = f"{layer}.fc1.weight" in tensors
        first, last = ("fc1", "fc2") if is_plain else ("net.0.proj", "net.2")
        rows = order if is_plain else torch.cat([order, order + len(order)])
        for key in (f"{layer}.{first}.weight", f"{layer}.{first}.bias"):
            if key in tensors:
                found[key] = tensors[key][rows]
        found[f"{layer}.{last}.weight"] = tensors[f"{layer}.{last}.weight"][:, order]
    return found


def _first_centres(points: np.ndarray, n_clusters: int, rng: np.random.Generator) -> np.ndarray:
    """k-means++ (Arthur and Vassilvitskii 2007): each centre is a row, drawn by its distance from those before."""
    chosen = [int(rng.integers(len(points)))]
    nearest = _squared_distances(points, points[chosen])[:, 0]
    while len(chosen) < n_clusters:
        total = nearest.sum()
        weights = nearest / total if total > 0 else None
        chosen.append(int(rng.choice(len(points), p=weights)))
        nearest = np.minimum(nearest, _squared_distances(points, points[chosen[-1:]])[:, 0])
    return points[chosen]


def _squared_distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """`[point, centre]`, float64."""
    squares = np.square(points).sum(axis=1)[:, None] + np.square(centres).sum(axis=1)
    return np.maximum(squares - 2 * points @ centres.T, 0).astype(np.float64)


def _keys_digest(layers: Mapping[str, object], tensors: Mapping[str, Tensor]) -> str:
    return json_digest({layer: tensor_digest(key_rows(tensors, layer)) for layer in sorted(layers)})
