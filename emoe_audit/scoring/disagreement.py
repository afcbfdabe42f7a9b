"""Scores: functions of the features of all experts. Another score is one more function, registered under its name.

After Berry et al., arXiv 2505.13273: the score of a prompt is the mean over elements of the variance over experts of
the mid-block features.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from emoe_audit.errors import AuditError, EnsembleError

Score = Callable[[Float[Tensor, "expert batch channel height width"]], Float[Tensor, " batch"]]

SCORES: dict[str, Score] = {}
"""Every score by the name of its column, in the order of registration."""


def register_score(name: str) -> Callable[[Score], Score]:
    """Decorator: add a score, so that the engine computes it next to the others.

    A column `name` (mean over noises) and a column `name_noise_sd` (its noise floor) are added to the scores.
    Raises `AuditError` if the name is taken.
    """

    def add(score: Score) -> Score:
        if name in SCORES:
            raise AuditError(f"a score named {name!r} is registered already; choose another name")
        SCORES[name] = score
        return score

    return add


@register_score("disagreement")
def disagreement(features: Float[Tensor, "expert batch channel height width"]) -> Float[Tensor, " batch"]:
    """Mean over elements e of Var over experts i of m_ie, with n - 1 in the denominator (arXiv 2505.13273).

    n - 1 makes ensembles of different sizes comparable. At least float32 inside, whatever the features come in.
    Raises `EnsembleError` for fewer than two experts, which cannot disagree.
    """
    if len(features) < 2:
        raise EnsembleError(f"disagreement needs at least two experts, got {len(features)}")
    return _wide(features).var(dim=0, correction=1).mean(dim=(1, 2, 3))


@register_score("relative_disagreement")
def relative_disagreement(features: Float[Tensor, "expert batch channel height width"]) -> Float[Tensor, " batch"]:
    """`disagreement` over `feature_power`: no scale; 0 for equal experts, NaN where all features are 0.

    Variance grows with magnitude, and prompts that a model knows well make larger features; this takes that out.
    """
    return disagreement(features) / feature_power(features)


def feature_power(features: Float[Tensor, "expert batch channel height width"]) -> Float[Tensor, " batch"]:
    """Mean over elements e and experts i of m_ie squared: the trivial baseline, and the scale of `disagreement`."""
    return _wide(features).square().mean(dim=(0, 2, 3, 4))


def _wide(features: Tensor) -> Tensor:
    return features.to(torch.promote_types(features.dtype, torch.float32))
