"""A model that predicts which prompts are good and says where it must not be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from emoe_audit.abstain.calibration import held_out_predictions
from emoe_audit.abstain.decision import TARGET, Limits, decide
from emoe_audit.abstain.features import Features
from emoe_audit.abstain.labellers import N_LABELLERS
from emoe_audit.abstain.matching import Matching
from emoe_audit.errors import AuditError

MIN_CAPTIONS = 20
MIN_OF_EACH = 20
"""Good prompts, and bad ones, without which nothing is learned."""
DELTA = 0.1


@dataclass(frozen=True, kw_only=True)
class Abstainer:
    """The model, what it predicts from, and up to where it accepts."""

    matching: Matching
    scores: tuple[str, ...]
    """The scores among its features."""
    languages: tuple[str, ...]
    """Those that it has learned from."""
    fitted_on: frozenset[str]
    """Keys of the prompts that it has learned from."""
    limits: Limits
    ensemble_hash: str
    """Of the ensemble whose readings it understands."""

    @classmethod
    def fit(
        cls,
        features: Features,
        *,
        target: float = TARGET,
        delta: float = DELTA,
        n_labellers: int = N_LABELLERS,
        ensemble_hash: str = "",
        seed: int = 0,
    ) -> Abstainer:
        """Learn from judged prompts. Prompts that lack a feature are left out.

        Args:
            features: Of `judged_features`.
            target: Share of accepted prompts that may be misread.
            delta: Probability of a broken promise, see `decision`.
            n_labellers: K of the paper.
            ensemble_hash: Of the run.
            seed: Of everything drawn.

        Raises:
            AuditError: there are too few captions, good or bad prompts, or a share is not between 0 and 1.
        """
        whole = features.where(np.isfinite(features.x).all(axis=1))
        _check(whole)
        held_out = held_out_predictions(whole, n_labellers=n_labellers, seed=seed)
        return cls(
            limits=Limits.learn(held_out, target=target, delta=delta, seed=seed),
            matching=Matching.fit(whole.x, whole.good, whole.blocks, n_labellers=n_labellers, seed=seed),
            scores=whole.scores,
            languages=tuple(sorted(whole.rows["language"].unique())),
            fitted_on=frozenset(whole.rows["key"]),
            ensemble_hash=ensemble_hash,
        )

    def decide(self, features: Features) -> pd.DataFrame:
        """A row for each prompt, in order: `p_good, confidence, decision, reason`, see `decision.decide`.

        Raises:
            AuditError: the prompts have more features than the model knows, or fewer.
        """
        n_features, n_known = features.x.shape[1], len(self.matching.projection.mean)
        if n_features != n_known:
            raise AuditError(f"the prompts have {n_features} features, the model knows {n_known}; fit it again")
        unseen = ~features.rows["language"].isin(self.languages).to_numpy()
        return decide(self.matching.predict(features.x), unseen, self.limits)


def _check(features: Features) -> None:
    n_captions, n_good = features.rows["source_id"].nunique(), int(features.good.sum())
    n_bad = len(features.rows) - n_good
    if n_captions < MIN_CAPTIONS or min(n_good, n_bad) < MIN_OF_EACH:
        raise AuditError(
            f"{n_captions} captions with images, {n_good} prompts drawn right and {n_bad} drawn wrong, are too few to "
            f"learn from: it takes {MIN_CAPTIONS} captions and {MIN_OF_EACH} prompts of each kind; raise --n-images"
        )
