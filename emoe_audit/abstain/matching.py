"""Labellers and student together: what they predict for a prompt, and how far they can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from emoe_audit.abstain.expansion import expand
from emoe_audit.abstain.labellers import N_LABELLERS, Labellers
from emoe_audit.abstain.projection import Projection, distance

if TYPE_CHECKING:
    from emoe_audit.abstain.student import Student


@dataclass(frozen=True, kw_only=True)
class Matching:
    """A model of which prompts are good."""

    projection: Projection
    labellers: Labellers
    student: Student

    @classmethod
    def fit(
        cls, x: np.ndarray, good: np.ndarray, blocks: Sequence[int], *, n_labellers: int = N_LABELLERS, seed: int = 0
    ) -> Matching:
        """Learn from features `[row, feature]`, without NaN, and what prompts are, 0 or 1.

        For `blocks` see `Projection`. The same seed gives the same model on the same machine.
        """
        projection = Projection.fit(x, blocks)
        z = projection(x)
        labellers = Labellers.fit(z, good, n_labellers=n_labellers, seed=seed)
        return cls(projection=projection, labellers=labellers, student=match(z, labellers, seed=seed))

    def predict(self, x: np.ndarray) -> pd.DataFrame:
        """A row for each of `[row, feature]`, in order; NaN where a feature is.

        - `p_good`: the mean of labellers and heads.
        - `confidence`: the share of them on the side that most are on, from a half to 1.
        - `distance`: from what was learned, see `projection`.
        """
        table = np.full((len(x), 3), np.nan)
        whole = np.isfinite(x).all(axis=1)
        z = self.projection(x[whole])
        given = np.hstack([self.labellers(z), self.student.probabilities(z)])
        votes = (given > 0.5).mean(axis=1)
        table[whole] = np.stack([given.mean(axis=1), np.maximum(votes, 1 - votes), distance(z)], axis=1)
        return pd.DataFrame(table, columns=["p_good", "confidence", "distance"])


def match(
    z: np.ndarray, labellers: Labellers, *, expansion: bool = True, own_labels: bool = True, seed: int = 0
) -> Student:
    """A student of labellers at points `[row, direction]`.

    Without `expansion` it learns at these points only, without `own_labels` every head learns the mean of all
    labellers: what `evaluate` holds the method against.
    """
    from emoe_audit.abstain.student import train_student

    labels = labellers(z)
    far, far_labels = expand(z, labellers, seed=seed) if expansion else (z[:0], labels[:0])
    tables = (labels, far_labels) if own_labels else (_mean_of_all(labels), _mean_of_all(far_labels))
    return train_student(z, tables[0], far, tables[1], seed=seed)


def _mean_of_all(labels: np.ndarray) -> np.ndarray:
    return np.repeat(labels.mean(axis=1, keepdims=True), labels.shape[1], axis=1)
