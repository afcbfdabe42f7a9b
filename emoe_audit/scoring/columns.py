"""From what every measure gives under every noise to the columns of a table of scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from emoe_audit.analysis.readings import FEATURES, NOISES
from emoe_audit.scoring.disagreement import SCORES


def score_columns(
    names: Sequence[str], values: np.ndarray, readings: np.ndarray, features: np.ndarray
) -> dict[str, Any]:
    """The columns by name, as `ScoringEngine.score` describes them.

    Args:
        names: Of the measures.
        values: What each gave, `[measure, noise, text]`; what is not finite becomes NaN.
        readings: Sketches of the text states, `[text, bucket]`.
        features: Sketches of the features, averaged over experts and noises, `[text, bucket]`.
    """
    values = np.where(np.isfinite(values), values, np.nan)
    columns: dict[str, Any] = {}
    for name, per_noise in zip(names, values, strict=True):
        columns[name] = _mean(per_noise)
        if name in SCORES:
            columns[f"{name}_noise_sd"] = _noise_sd(per_noise)
        columns[f"{name}{NOISES}"] = _objects(per_noise.T.astype(np.float32))
    columns["n_noise"] = np.full(len(readings), values.shape[1])
    columns[FEATURES] = _objects(features)
    columns["reading"] = _objects(np.concatenate([readings, features], axis=1))
    return columns


def as_numbers(of_noises: list[Tensor], none: tuple[int, int, int]) -> np.ndarray:
    """`[measure, noise, text]`, of the shape `none` where there is no noise."""
    return torch.stack(of_noises, dim=1).cpu().double().numpy() if of_noises else np.empty(none)


def _objects(rows: np.ndarray) -> pd.Series:
    """A column whose cells are the rows of an array."""
    return pd.Series(list(rows), dtype=object)


def _mean(per_noise: np.ndarray) -> np.ndarray:
    """Over the noises of `[noise, text]`; NaN for none."""
    found: np.ndarray = per_noise.mean(axis=0) if len(per_noise) else np.full(per_noise.shape[1], np.nan)
    return found


def _noise_sd(per_noise: np.ndarray) -> np.ndarray:
    """Sample standard deviation over noises of `[noise, text]`; NaN for one noise, where it is undefined."""
    if len(per_noise) < 2:
        return np.full(per_noise.shape[1], np.nan)
    spread: np.ndarray = per_noise.std(axis=0, ddof=1)
    return spread
