"""Bias-corrected and accelerated intervals (BCa, Efron 1987) from cluster bootstrap replicates.

The percentiles taken are moved by how far the replicates lie off the estimate (bias z0) and by how the estimate's
spread changes with its value (acceleration a, from leaving out one cluster after the other):
alpha' = Phi(z0 + (z0 + z_alpha) / (1 - a (z0 + z_alpha))); Efron and Tibshirani 1993, chapter 14.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri


def bca_interval(
    replicates: np.ndarray, estimates: np.ndarray, jackknife: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends by group.

    NaN where an estimate or the value without some cluster is undefined, where all values without a cluster are the
    same, and where all replicates lie on one side of the estimate.

    Args:
        replicates: `[replicate, group]`; those that are NaN are left out.
        estimates: `[group]`.
        jackknife: The estimates without each cluster, `[cluster, group]`.
        confidence: Of the interval.
    """
    below = ((replicates < estimates).sum(axis=0) + (replicates <= estimates).sum(axis=0)) / 2
    tails = ndtri(np.array([[1 - confidence], [1 + confidence]]) / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        bias = ndtri(below / (~np.isnan(replicates)).sum(axis=0))
        moved = bias + tails
        shares = ndtr(bias + moved / (1 - acceleration(jackknife) * moved))
    ends = np.full(shares.shape, np.nan)
    for group in np.flatnonzero(np.isfinite(shares).all(axis=0) & np.isfinite(bias) & ~np.isnan(estimates)):
        ends[:, group] = np.nanquantile(replicates[:, group], shares[:, group])
    return ends[0], ends[1]


def acceleration(jackknife: np.ndarray) -> np.ndarray:
    """Skewness of the influence of clusters over 6, by group: sum d^3 / (6 (sum d^2)^1.5), d the mean minus a value."""
    distances = jackknife.mean(axis=0) - jackknife
    with np.errstate(invalid="ignore"):
        skewness: np.ndarray = (distances**3).sum(axis=0) / (6 * (distances**2).sum(axis=0) ** 1.5)
    return skewness


def jackknife_means(values: pd.Series, groups: pd.Series, clusters: pd.Series) -> np.ndarray:
    """Every group's mean without each cluster, `[cluster, group]`, in the order of `bootstrap_means`.

    NaN where a group lies in one cluster. Arguments as in `bootstrap_means`.
    """
    group_codes, names = pd.factorize(groups, sort=True)
    cluster_codes, cluster_names = pd.factorize(clusters, sort=True)
    shape = (len(cluster_names), len(names))
    cells = cluster_codes * shape[1] + group_codes
    sums = np.bincount(cells, weights=values.to_numpy(dtype=np.float64), minlength=shape[0] * shape[1]).reshape(shape)
    sizes = np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)
    rest = sizes.sum(axis=0) - sizes
    return np.divide(sums.sum(axis=0) - sums, rest, out=np.full(shape, np.nan), where=rest > 0)
