"""Accept or refuse: up to which predicted risk, and how far from what was learned.

There are two limits, and each makes a promise of its own kind. For languages that the model has learned from: with
probability `1 - delta` over the captions learned from, the share of misread prompts among the accepted is at most the
target for further captions in these languages, all taken together; captions are the draws (`controlled_threshold`). In
one of them it may be higher. For a language that it has never seen: with probability `1 - delta` over languages, it is
at most the target among as many prompts as each held-out language had; languages are the draws
(`threshold_for_a_new_group`). Captions would promise too much there: what makes a whole language worse than predicted
is the same for all its captions. Where too little is known nothing is promised, and the limit is one that kept the
target on the held-out prompts.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BeforeValidator

from emoe_audit.analysis.new_groups import threshold_for_a_new_group
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
Promise = Literal["further captions in all these languages together", "one further language", "nothing"]
FOR_CAPTIONS: Promise = "further captions in all these languages together"
FOR_A_LANGUAGE: Promise = "one further language"
NOTHING: Promise = "nothing"
OrNan = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
OrInfinite = Annotated[float, BeforeValidator(lambda value: math.inf if value is None else value)]


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The largest predicted risk that is accepted, and what it did to the held-out prompts it was learned from."""

    threshold: OrNan
    """Of 1 - p_good; NaN accepts nothing."""
    promise: Promise
    """For what the target is promised, see the module; if for nothing, the risk kept to it on the held-out prompts."""
    accepted_share: OrNan
    risk: OrNan
    """Share of the accepted that were misread."""
    n_captions: int
    n_languages: int
    languages_above: int
    """Those in which more of the accepted were misread than the target."""

    @classmethod
    def for_captions(cls, held_out: pd.DataFrame, *, target: float, delta: float, seed: int = 0) -> Limit:
        """From `p_good, bad, source_id, language` in languages that were learned from."""
        risk = 1 - held_out["p_good"]
        found = controlled_threshold(
            risk, held_out["bad"], held_out["source_id"], target=target, delta=delta, seed=seed
        )
        return cls._of(held_out, found.threshold, FOR_CAPTIONS, target)

    @classmethod
    def for_a_language(cls, held_out: pd.DataFrame, *, target: float, delta: float) -> Limit:
        """From the same in languages that were not."""
        risk = 1 - held_out["p_good"]
        found = threshold_for_a_new_group(risk, held_out["bad"], held_out["language"], target=target, delta=delta)
        return cls._of(held_out, found, FOR_A_LANGUAGE, target)

    @classmethod
    def _of(cls, held_out: pd.DataFrame, threshold: float, promise: Promise, target: float) -> Limit:
        """What a threshold does to the held-out prompts; where it is NaN, the one that kept the target on them."""
        risk = 1 - held_out["p_good"]
        if math.isnan(threshold):
            threshold, promise = hindsight_threshold(risk, held_out["bad"], target), NOTHING
        accepted = risk <= threshold
        by_language = held_out[accepted].groupby("language")["bad"].mean()
        return cls(
            threshold=threshold,
            promise=promise,
            accepted_share=float(accepted.mean()),
            risk=float(held_out["bad"][accepted].mean()),
            n_captions=held_out["source_id"].nunique(),
            n_languages=held_out["language"].nunique(),
            languages_above=int((by_language > target).sum()),
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
    """Probability of a broken promise, of each limit over its own draws."""

    @classmethod
    def learn(cls, held_out: pd.DataFrame, *, target: float, delta: float, seed: int = 0) -> Limits:
        """From the table of `calibration.held_out_predictions`."""
        seen, unseen = held_out[~held_out["unseen"]], held_out[held_out["unseen"]]
        return cls(
            seen=Limit.for_captions(seen, target=target, delta=delta, seed=seed),
            unseen=Limit.for_a_language(unseen, target=target, delta=delta),
            farthest=_conformal(seen["distance"].to_numpy(), FAR_SHARE),
            target=target,
            delta=delta,
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON can write it: None in place of what is not finite."""
        values: dict[str, Any] = _finite(asdict(self))
        return values

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


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(own) for name, own in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
