"""Cluster bootstrap: whole captions are resampled, because the translations of one caption are not independent.

Percentile intervals (Efron and Tibshirani 1993, chapter 13; clusters as in Cameron, Gelbach and Miller 2008).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from emoe_audit.analysis.rows import small_places

MIN_SOURCES = 2
"""Clusters without which there is no spread to judge by."""
CHUNK_CELLS = 2_000_000
"""Bound on replicates x clusters held at once."""


def cluster_counts(n_clusters: int, n_boot: int, seed: int | Sequence[int]) -> Iterator[np.ndarray]:
    """How often each cluster is drawn in each replicate, in chunks `[replicate, cluster]` of float64."""
    rng = np.random.default_rng(seed)
    chunk = max(1, min(n_boot, CHUNK_CELLS // max(n_clusters, 1)))
    for start in range(0, n_boot, chunk):
        counts = np.empty((min(chunk, n_boot - start), n_clusters))
        for replicate in counts:
            replicate[:] = np.bincount(rng.integers(n_clusters, size=n_clusters), minlength=n_clusters)
        yield counts


def bootstrap_means(
    values: pd.Series, groups: pd.Series, clusters: pd.Series, *, n_boot: int, seed: int
) -> tuple[pd.Index, np.ndarray, np.ndarray]:
    """Replicates of every group's mean and of the overall mean, from the same resampled clusters.

    Args:
        values: Without NaN.
        groups: The group of each value.
        clusters: The cluster of each value.
        n_boot: Number of replicates.
        seed: Of the resampling.

    Returns:
        The groups, their means `[replicate, group]` (NaN where a replicate holds none of a group), the overall means
        `[replicate]`.
    """
    names, sums, counted = cluster_sums(values, groups, clusters)
    sizes = counted.astype(np.float64)
    means, overall = [], []
    with np.errstate(invalid="ignore", divide="ignore"):
        for counts in cluster_counts(len(sums), n_boot, seed):
            total, size = counts @ sums, counts @ sizes
            means.append(total / size)
            overall.append(total.sum(axis=1) / size.sum(axis=1))
    return names, np.concatenate(means), np.concatenate(overall)


def cluster_sums(values: pd.Series, groups: pd.Series, clusters: pd.Series) -> tuple[pd.Index, np.ndarray, np.ndarray]:
    """The groups, and of every cluster in each the sum and the number of values, `[cluster, group]`; without NaN."""
    (group_codes, names), (cluster_codes, cluster_names) = small_places(groups), small_places(clusters)
    shape = (len(cluster_names), len(names))
    cells = cluster_codes.astype(np.int64)
    cells *= shape[1]
    cells += group_codes
    weights = values.to_numpy(dtype=np.float64)
    sums, sizes = (np.bincount(cells, own, minlength=shape[0] * shape[1]).reshape(shape) for own in (weights, None))
    return names, sums.astype(np.float64, copy=False), sizes


def means_of(sums: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The means of `cluster_sums`, `[cluster, group]`, in the place of the sums; NaN for none."""
    with np.errstate(invalid="ignore"):
        return np.divide(sums, sizes, out=sums)


def percentile_interval(replicates: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end along the first axis, replicates that are NaN left out; NaN where all are."""
    tail = 100 * (1 - confidence) / 2
    table = np.atleast_2d(replicates.T).T
    low, high = np.full(table.shape[1], np.nan), np.full(table.shape[1], np.nan)
    defined = ~np.isnan(table).all(axis=0)
    if defined.any():
        low[defined], high[defined] = np.nanpercentile(table[:, defined], [tail, 100 - tail], axis=0)
    return low, high
