"""Features to directions: standardised, the sketches reduced to principal components, the scores on axes of their own.

Every direction has mean 0 and variance 1 over the prompts it was learned from, so the square of a point's length over
the number of directions, its squared `distance`, is 1 on average: the Mahalanobis distance where scores and components
do not correlate (Lee et al. 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag

COMPONENTS = 32
"""Principal components that are kept of each sketch, at the most."""
LEAST_SHARE = 1e-3
"""Of the first component's standard deviation; components below it are rounding."""
FARTHEST = 1e10
"""What lies further from 0 along a direction is taken for this; no prompt that can be read does."""


@dataclass(frozen=True, kw_only=True)
class Projection:
    """An affine map from features to directions."""

    mean: np.ndarray
    """`[feature]`."""
    weights: np.ndarray
    """`[feature, direction]`."""

    @classmethod
    def fit(cls, x: np.ndarray, blocks: Sequence[int]) -> Projection:
        """Learn the map from `[row, feature]`.

        Args:
            x: At least two rows, without NaN.
            blocks: Numbers of features of the sketches that `x` begins with; the features behind them keep their axes.
        """
        mean, scale = x.mean(axis=0), x.std(axis=0)
        unit = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
        ends = np.cumsum(blocks)
        parts = np.split((x - mean) * unit, ends, axis=1)[:-1]
        alone = np.eye(x.shape[1] - ends[-1])
        return cls(mean=mean, weights=unit[:, None] * block_diag(*map(_components, parts), alone))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """`[row, direction]`, every one a number up to `FARTHEST`, whatever features and weights are."""
        with np.errstate(over="ignore", invalid="ignore"):
            directions: np.ndarray = (x - self.mean) @ self.weights
        return np.clip(np.nan_to_num(directions, nan=FARTHEST), -FARTHEST, FARTHEST)


def distance(z: np.ndarray) -> np.ndarray:
    """Root mean square of a point's directions, `[row]`."""
    length: np.ndarray = np.sqrt(np.square(z).mean(axis=1))
    return length


def _components(standardised: np.ndarray) -> np.ndarray:
    """Directions of the largest variance, scaled to variance 1, `[feature, component]`."""
    _, singular, right = np.linalg.svd(standardised, full_matrices=False)
    kept = min(COMPONENTS, int((singular > LEAST_SHARE * singular.max(initial=0)).sum()))
    components: np.ndarray = right[:kept].T * np.sqrt(len(standardised)) / singular[:kept]
    return components
