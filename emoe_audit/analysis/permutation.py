"""p-values of mean paired differences by flipping signs, the differences of one caption together.

The null hypothesis: for no caption does it matter which of the two sides is subtracted from which, so its differences
are as likely as their negatives. The statistic of a group, its mean difference minus the mean over all rows, is set
against its values under random signs, one sign for each caption; the translations of a caption, which are not
independent, keep their signs relative to each other. It asks no more of the differences than that, neither a normal
distribution nor one spread for all.

So what is tested is a group's place among the others, not whether anything changed: where all groups move alike, p is
1. Differences of ranks sum to 0, and their mean over all rows is 0; under random signs it is not, and taking it away
keeps the two alike. (Left in, it would make the test of a group that is half of the rows too cautious by a factor of
the square root of 2.) A group whose own values stay as they are falls where others rise past it, which is a change of
place. The tests of the groups of one run depend on each other for the same reason.

p = (1 + count) / (1 + n), which is never 0: Phipson and Smyth 2010. `scipy.stats.permutation_test` gives the same for
captions of one row; here all groups share each draw of signs, which makes it one matrix product.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

N_PERMUTATIONS = 9999
CHUNK_CELLS = 20_000_000
"""Bound on permutations x clusters held at once."""
ROUNDING = 1e-12
"""Means that differ by less than this share of all that is summed are the same: signs change how sums are rounded."""


def sign_flip_p(
    differences: pd.Series, groups: pd.Series, clusters: pd.Series, *, n_permutations: int = N_PERMUTATIONS, seed: int
) -> pd.Series:
    """Two-sided p-value of every group's mean difference from the mean over all rows.

    Args:
        differences: Without NaN.
        groups: The group of each difference.
        clusters: The cluster of each difference; its signs are flipped together, in all groups.
        n_permutations: Draws of signs, `n` above.
        seed: Of the draws.

    Returns:
        p-values by group, sorted by group.
    """
    group_codes, names = pd.factorize(groups, sort=True)
    cluster_codes, cluster_names = pd.factorize(clusters, sort=True)
    sums = np.zeros((len(cluster_names), len(names)))
    np.add.at(sums, (cluster_codes, group_codes), differences.to_numpy(dtype=np.float64))
    parts = sums / np.bincount(group_codes, minlength=len(names)) - sums.sum(axis=1, keepdims=True) / len(differences)
    observed = np.abs(parts.sum(axis=0)) - ROUNDING * np.abs(sums).sum()
    count = np.zeros(len(names), dtype=np.int64)
    for signs in _signs(len(cluster_names), n_permutations, seed):
        count += (np.abs(signs @ parts) >= observed).sum(axis=0)
    return pd.Series((1 + count) / (1 + n_permutations), index=pd.Index(names))


def _signs(n_clusters: int, n_permutations: int, seed: int) -> Iterator[np.ndarray]:
    """Random signs in chunks `[permutation, cluster]` of float64."""
    rng = np.random.default_rng(seed)
    chunk = max(1, min(n_permutations, CHUNK_CELLS // max(n_clusters, 1)))
    for start in range(0, n_permutations, chunk):
        size = min(chunk, n_permutations - start)
        yield 2.0 * rng.integers(2, size=(size, n_clusters), dtype=np.int8) - 1
