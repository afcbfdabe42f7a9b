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
    values, place = np.unique(score, return_inverse=True)
    mean_of_ties = np.bincount(place, weights=loss, minlength=len(values)) / np.bincount(place, minlength=len(values))
    ordered = mean_of_ties[np.sort(place)]
    curve: np.ndarray = np.cumsum(ordered) / np.arange(1, len(ordered) + 1)
    return curve


def area_under_risk_coverage(score: np.ndarray, loss: np.ndarray) -> float:
    """Mean of the risk-coverage curve over all coverages (AURC; Geifman, Uziel and El-Yaniv 2019); NaN if empty."""
    return float(risk_coverage(score, loss).mean()) if len(score) else float("nan")
