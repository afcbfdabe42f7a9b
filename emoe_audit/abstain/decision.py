"""Accept or refuse: up to which predicted risk, and how far from what was learned.

A language that the model has never seen has a limit of its own, learned from held-out prompts in held-out languages, so
the promise of each limit is about prompts of its kind.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import BeforeValidator

from emoe_audit.analysis.risk_control import controlled_threshold, hindsight_threshold
from emoe_audit.errors import AuditError
from emoe_audit.readers.typed import typed

ACCEPT, REFUSE = "accept", "refuse"
LOW_QUALITY = "low predicted quality"
OUTSIDE = "outside of what was learned"
NOT_MEASURED = "not measured"
TARGET = 0.2
"""Share of accepted prompts that may be misread."""
FAR_SHARE = 0.01
"""Share of held-out prompts, in languages seen, that may lie too far from what was learned."""
COLUMNS = ["p_good", "confidence", "decision", "reason"]
OrNan = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
OrInfinite = Annotated[float, BeforeValidator(lambda value: math.inf if value is None else value)]


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The largest predicted risk that is accepted, and what it did to the held-out prompts it was learned from."""

    threshold: OrNan
    """Of 1 - p_good; NaN accepts nothing."""
    certified: bool
    """Whether the promise holds; if not, the risk kept to the target on the held-out prompts, and that is all."""
    accepted_share: OrNan
    risk: OrNan
    """Share of the accepted that were misread."""
    n_captions: int

    @classmethod
    def learn(cls, held_out: pd.DataFrame, *, target: float, delta: float, seed: int = 0) -> Limit:
        """From `p_good, bad, source_id`; see `controlled_threshold`."""
        risk = 1 - held_out["p_good"]
        found = controlled_threshold(
            risk, held_out["bad"], held_out["source_id"], target=target, delta=delta, seed=seed
        )
        certified = math.isfinite(found.threshold)
        threshold = found.threshold if certified else hindsight_threshold(risk, held_out["bad"], target)
        accepted = risk <= threshold
        return cls(
            threshold=threshold,
            certified=certified,
            accepted_share=float(accepted.mean()),
            risk=float(held_out["bad"][accepted].mean()),
            n_captions=found.n_clusters,
        )


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Up to where prompts are accepted."""

    seen: Limit
    """For languages that the model has learned from."""
    unseen: Limit
    """For all others."""
    farthest: OrInfinite
    """Distance from what was learned."""
    target: float
    """Share of accepted prompts that may be misread."""
    delta: float
    """Probability of each limit that breaks its promise."""

    @classmethod
    def learn(cls, held_out: pd.DataFrame, *, target: float, delta: float, seed: int = 0) -> Limits:
        """From the table of `calibration.held_out_predictions`."""
        seen, unseen = held_out[~held_out["unseen"]], held_out[held_out["unseen"]]
        return cls(
            seen=Limit.learn(seen, target=target, delta=delta, seed=seed),
            unseen=Limit.learn(unseen, target=target, delta=delta, seed=seed),
            farthest=_conformal(seen["distance"].to_numpy(), FAR_SHARE),
            target=target,
            delta=delta,
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON can write it: None in place of what is not finite."""
        return _finite(asdict(self))

    @classmethod
    def from_json(cls, values: Any, where: str) -> Limits:
        """What `to_json` gave. Raises `AuditError` with `where` and the field that is wrong."""
        return typed(values, cls, where, AuditError)


def decide(predicted: pd.DataFrame, unseen: np.ndarray, limits: Limits) -> pd.DataFrame:
    """A row for each prompt, in order: see `COLUMNS`.

    Reasons of a refusal: `NOT_MEASURED`, where there is no prediction; `OUTSIDE`, where the prompt is too far from what
    was learned, or would have been accepted if its language had been seen; else `LOW_QUALITY`. The reason of an
    acceptance is empty.

    Args:
        predicted: `p_good, confidence, distance`.
        unseen: Whether the model has not learned from a prompt's language, `[row]`.
        limits: Of the model.
    """
    risk, distance = 1 - predicted["p_good"].to_numpy(), predicted["distance"].to_numpy()
    near = distance <= limits.farthest
    as_seen = risk <= limits.seen.threshold
    accepted = near & np.where(unseen, risk <= limits.unseen.threshold, as_seen)
    reasons = [accepted, np.isnan(risk), ~near | (unseen & as_seen)]
    return predicted[["p_good", "confidence"]].assign(
        decision=np.where(accepted, ACCEPT, REFUSE),
        reason=np.select(reasons, ["", NOT_MEASURED, OUTSIDE], LOW_QUALITY),
    )


def _conformal(values: np.ndarray, share: float) -> float:
    """The limit that a further value of the same kind exceeds with probability `share` at most.

    (Split conformal prediction, Vovk et al. 2005.) Infinite where there are too few values to say.
    """
    place = math.ceil((1 - share) * (len(values) + 1))
    return float(np.sort(values)[place - 1]) if place <= len(values) else float("inf")


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _finite(own) if isinstance(own, dict) else own if math.isfinite(own) else None
        for name, own in values.items()
    }
