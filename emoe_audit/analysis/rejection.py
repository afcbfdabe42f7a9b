"""Refusing what a score says is uncertain: how well it tells apart, and what risk is left as more is accepted."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata


def auroc(high: np.ndarray, low: np.ndarray) -> float:
    """How often a value of `high` lies above one of `low`, ties counting half; NaN where either is empty.

    The Mann-Whitney U statistic over its maximum (Hanley and McNeil 1982).
    """
    if not len(high) or not len(low):
        return float("nan")
    ranks = rankdata(np.concatenate([high, low]))[: len(high)]
    return float((ranks.sum() - len(high) * (len(high) + 1) / 2) / (len(high) * len(low)))


def risk_coverage(score: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Mean loss of the accepted as the k lowest scores are accepted, for k = 1 to n.

    (El-Yaniv and Wiener 2010.) Equal scores are accepted in random order: what is given is the expected curve.
    """
    curve: np.ndarray = np.cumsum(by_rising_score(score, loss)) / np.arange(1, len(loss) + 1)
    return curve


def by_rising_score(score: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values in the order of their scores; equal scores share their mean, so their order does not matter."""
    levels, place = np.unique(score, return_inverse=True)
    mean = np.bincount(place, weights=values, minlength=len(levels)) / np.bincount(place, minlength=len(levels))
    ordered: np.ndarray = mean[np.sort(place)]
    return ordered


def area_under_risk_coverage(score: np.ndarray, loss: np.ndarray) -> float:
    """Mean of the risk-coverage curve over all coverages (AURC; Geifman, Uziel and El-Yaniv 2019); NaN if empty."""
    return float(risk_coverage(score, loss).mean()) if len(score) else float("nan")
