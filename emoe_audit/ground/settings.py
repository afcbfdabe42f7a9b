"""The settings of every ablation: the features that a score is made of when one choice is made differently.

Everything else is as in the ensemble's own score from one noise. Another ablation is one more function of a `Study`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from emoe_audit.ground.readouts import MID_BLOCK, readable
from emoe_audit.ground.study import Features, Study, assembled, from_block, nothing
from emoe_audit.scoring.disagreement import Score, disagreement, feature_power, relative_disagreement
from emoe_audit.types import MoeLayers

SCORED: dict[str, Score] = {
    "disagreement": disagreement,
    "relative_disagreement": relative_disagreement,
    "feature_power": lambda features: -feature_power(features),
}
"""High means uncertain: well-known prompts make large features, so their power is turned."""
VARIANCES = ("disagreement", "relative_disagreement")
N_NOISES = (1, 2, 4)
STEPS = (0, 1, 5, 10, 20)
MOE_LAYERS: tuple[MoeLayers, ...] = ("attn", "ff", "all")
DIRECTIONS = 64
ALL_SUBSETS = 6
"""Up to so many of a kind every subset is taken, above it those that follow one another in a circle."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One choice, and the features under it."""

    name: str
    draws: Sequence[Sequence[Features]]
    """Scores are averaged within a draw (over its noises); figures are averaged over draws.

    Not scores over subsets of experts: the mean variance of all subsets of one size is that of all experts.
    """
    scores: tuple[str, ...] = tuple(SCORED)


def experts(study: Study) -> Iterator[Setting]:
    """Every number of experts, and the base as one more."""
    n_experts = len(study.features)
    for size in range(2, n_experts + 1):
        yield Setting(name=str(size), draws=[[study.features[own]] for own in subsets(n_experts, size)])
    base = study.mid_block(study.members(nothing)[:1])
    yield Setting(name=f"{n_experts} + base", draws=[[torch.cat([study.features, base])]])


def noises(study: Study) -> Iterator[Setting]:
    """The score averaged over more noises."""
    drawn = [study.features, *(study.mid_block(study.unets, noise=number) for number in range(1, max(N_NOISES)))]
    for size in N_NOISES:
        yield Setting(name=str(size), draws=[[drawn[i] for i in own] for own in subsets(len(drawn), size)])


def step(study: Study) -> Iterator[Setting]:
    """The step at which it is read, of the scheduler's 50, every expert on its own path."""
    found = study.walked([(number, MID_BLOCK) for number in STEPS])
    yield from (Setting(name=str(number), draws=[[features]]) for (number, _), features in found.items())


def readout(study: Study) -> Iterator[Setting]:
    """Where it is read in the first step."""
    found = study.walked([(0, name) for name in readable(study.base)])
    yield from (Setting(name=name, draws=[[features]]) for (_, name), features in found.items())


def assembly(study: Study) -> Iterator[Setting]:
    """Which layers are the experts' own."""
    own = {f"shared trunk, {layers}": assembled(study.base, "shared_trunk", layers) for layers in MOE_LAYERS}
    for name, is_own in (own | {"independent": assembled(study.base, "independent")}).items():
        yield Setting(name=name, draws=[[study.mid_block(study.members(is_own))]])


def split(study: Study) -> Iterator[Setting]:
    """Where the paths of independent experts leave the base's."""
    n_blocks = len(study.base.down_blocks)
    for first in range(n_blocks + 1):
        features = study.mid_block(study.members(from_block(study.base, first)))
        yield Setting(name=f"down block {first}" if first < n_blocks else MID_BLOCK, draws=[[features]])


def path(study: Study) -> Iterator[Setting]:
    """An expert used throughout its path against the mixture after the first attention, on a shared trunk."""
    is_own = assembled(study.base, "shared_trunk", study.spec.moe_layers)
    yield Setting(name="pure", draws=[[study.mid_block(study.members(is_own))]])
    yield Setting(name="gated", draws=[[study.mid_block(study.gated())]])


def elements(study: Study) -> Iterator[Setting]:
    """What counts how much among the elements of the features.

    Relative disagreement of features of length 1 is the cosine disagreement: 1 - mean cosine over pairs of experts.
    """
    own = study.features
    yield Setting(name="plain", draws=[[own]])
    yield Setting(name="whitened per element", draws=[[whitened(own)]])
    yield Setting(name="whitened", draws=[[whitened(in_principal_directions(own))]])
    length = own.flatten(2).norm(dim=2)[..., None, None, None]
    yield Setting(name="cosine", draws=[[own / length]], scores=VARIANCES)


def normalisation(study: Study) -> Iterator[Setting]:
    """What is taken off the features first."""
    own = study.features
    yield Setting(name="none", draws=[[own]])
    yield Setting(name="minus empty prompt", draws=[[own - study.empty()]])
    yield Setting(name="minus expert's mean", draws=[[own - own.mean(dim=1, keepdim=True)]])


ABLATIONS: dict[str, Callable[[Study], Iterator[Setting]]] = {
    ablation.__name__: ablation
    for ablation in (experts, noises, step, readout, assembly, split, path, elements, normalisation)
}


def subsets(n: int, size: int) -> list[list[int]]:
    """Subsets of one size among `n`."""
    if n <= ALL_SUBSETS:
        return [list(own) for own in combinations(range(n), size)]
    starts = range(n if size < n else 1)
    return [[(start + place) % n for place in range(size)] for start in starts]


def whitened(features: Features) -> Features:
    """Every element in units of its standard deviation over prompts, all of it from its mean; constant ones left out.

    Mean and deviation are those of the mean over experts, so disagreement becomes variance over experts by variance
    over prompts, and power the squared distance from the mean prompt (Mahalanobis, where elements are uncorrelated).
    """
    flat = features.flatten(2)
    over_experts = flat.mean(dim=0)
    scale = over_experts.std(dim=0)
    varying = scale > 0
    whole: Tensor = (flat - over_experts.mean(dim=0))[..., varying] / scale[varying]
    return whole[..., None, None]


def in_principal_directions(features: Features) -> Features:
    """Features along the leading principal directions of the prompts' mean features over experts, 64 at most."""
    flat = features.flatten(2)
    over_experts = flat.mean(dim=0)
    _, lengths, directions = torch.linalg.svd(over_experts - over_experts.mean(dim=0), full_matrices=False)
    rank = int((lengths > 1e-5 * lengths[0]).sum())
    return (flat @ directions[: min(rank, DIRECTIONS)].T)[..., None, None]
