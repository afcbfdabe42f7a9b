"""Spearman's rank correlation, plain and partial, of one sample or of many at once."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

MIN_POINTS = 3


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rho; NaN for fewer than three points or a constant."""
    keep = ~(np.isnan(x) | np.isnan(y))
    return float(_pearson(rankdata(x[keep]), rankdata(y[keep]))) if keep.sum() >= MIN_POINTS else float("nan")


def partial_spearman(x: np.ndarray, y: np.ndarray, given: np.ndarray) -> float:
    """Spearman's rho of `x` and `y` with the ranks of `given` partialled out of both.

    rho_xy.z = (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2)(1 - r_yz^2)); Kendall and Stuart, vol. 2, chapter 27.
    """
    keep = ~(np.isnan(x) | np.isnan(y) | np.isnan(given))
    x, y, given = x[keep], y[keep], given[keep]
    return float(_partial(np.array(spearman(x, y)), np.array(spearman(x, given)), np.array(spearman(y, given))))


def correlate_rows(x: np.ndarray, y: np.ndarray, given: np.ndarray | None = None) -> np.ndarray:
    """`spearman`, or `partial_spearman` where a third is given, of each row of matrices `[sample, point]`; `[sample]`.

    Samples that lack a point are few, and are looked at one by one.
    """
    columns = [x, y] if given is None else [x, y, given]
    is_whole = ~np.any([np.isnan(own).any(axis=1) for own in columns], axis=0) & (x.shape[1] >= MIN_POINTS)
    found = np.full(len(x), np.nan)
    alone = spearman if given is None else partial_spearman
    found[~is_whole] = [alone(*own) for own in zip(*(own[~is_whole] for own in columns), strict=True)]
    ranks = [rankdata(own[is_whole], axis=1) for own in columns]
    if given is None:
        found[is_whole] = _pearson(*ranks)
    else:
        first, second, third = ranks
        found[is_whole] = _partial(_pearson(first, second), _pearson(first, third), _pearson(second, third))
    return found


def _partial(xy: np.ndarray, xz: np.ndarray, yz: np.ndarray) -> np.ndarray:
    rest = (1 - xz**2) * (1 - yz**2)
    scale = np.sqrt(np.where(rest > 0, rest, np.nan))
    partial: np.ndarray = (xy - xz * yz) / scale
    return partial


def _pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Over the last axis; NaN for a constant."""
    x, y = (own - own.mean(axis=-1, keepdims=True) for own in (x, y))
    scale = np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    correlation: np.ndarray = (x * y).sum(axis=-1) / np.where(scale > 0, scale, np.nan)
    return correlation
