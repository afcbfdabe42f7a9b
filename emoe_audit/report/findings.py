"""What the statistics of a run found beyond means: frozen dataclasses, part of `ReportData`, one a row of a table.

Fields carry the names of the columns of the analysis tables. Undefined numbers are NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Gap:
    """How far a group lies from its reference in one measure, see `analysis.gaps`."""

    group: str
    label: str
    reference: str
    design: str
    """`paired`: within captions; `between`: a caption belongs to one group."""
    n_sources: int
    difference: float
    low: float
    high: float
    effect_size: float
    p: float
    p_bh: float
    p_by: float
    margin: float
    """The smallest gap that matters."""
    detectable: float
    """The smallest true gap that these captions find with a power of 80%."""
    n_tests: int
    verdict: str
    """`different`, `equivalent` or `unclear`."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How unequal the groups are, in one figure, see `analysis.disparity`."""

    figure: str
    group: str | None
    """The worst group, where the figure is its mean."""
    estimate: float
    bias_corrected: float
    low: float
    high: float
    n_groups: int
    n_suppressed: int
    """Groups of too few captions, left out."""


@dataclass(frozen=True, kw_only=True)
class GapTable:
    """All groups of a column in one measure, the largest gap to the worse first."""

    by: str
    title: str
    measure: str
    gaps: tuple[Gap, ...]
    spread: tuple[Spread, ...]

    @property
    def detectable(self) -> list[float]:
        """The smallest gaps that could be seen, where that is known; NaN where it is of none."""
        return [gap.detectable for gap in self.gaps if math.isfinite(gap.detectable)] or [math.nan]

    def with_verdict(self, verdict: str) -> list[Gap]:
        """The gaps of this verdict, in the table's order."""
        return [gap for gap in self.gaps if gap.verdict == verdict]


@dataclass(frozen=True, kw_only=True)
class Confounder:
    """What a covariate explains of a measure beside the others, see `analysis.regression`."""

    measure: str
    covariate: str
    level: str | None
    """The script, where scripts are compared."""
    coefficient: float
    """In standard deviations of the measure."""
    low: float
    high: float
    p: float
    partial_r2: float
    reason: str | None
    """Why there is no coefficient or interval."""


@dataclass(frozen=True, kw_only=True)
class Adjusted:
    """A language's difference from the others within captions, as it is and at equal numbers of tokens."""

    group: str
    label: str
    measure: str
    raw_difference: float
    difference: float
    low: float
    high: float
    p_bh: float
    given: str
    """The covariates that are held equal."""


@dataclass(frozen=True, kw_only=True)
class RiskPoint:
    """The risk of what is accepted at one coverage."""

    coverage: float
    risk: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What refusing by the ranking score does to one group, or to all prompts, see `analysis.refusal`."""

    group: str
    """Empty for all prompts."""
    label: str
    n_prompts: int
    n_sources: int
    risk_all: float
    aurc: float
    aurc_low: float
    aurc_high: float
    prr: float
    auroc: float
    auroc_low: float
    auroc_high: float
    threshold: float
    """Its own, up to which the risk is bounded; NaN where none can be certified."""
    own_accepted: float
    """Share accepted at its own threshold."""
    accepted: float
    """Share accepted at the threshold of all prompts."""
    difference: float
    """AUROC minus that of all groups pooled."""
    p_bh: float
    verdict: str
    """Whether a threshold of its own is certified, in words."""
    curve: tuple[RiskPoint, ...]


@dataclass(frozen=True, kw_only=True)
class RefusalTable:
    """All prompts and the groups of one column, those with the largest risk first."""

    by: str
    title: str
    score: str
    target: float
    delta: float
    overall: Refusal
    groups: tuple[Refusal, ...]
    trust: str
    """Whether the score tells failures apart as well in every group: `equal`, `unequal` or `unclear`."""
    pooled_auroc: float
    selection_ratio: float
    """The smallest share of a group accepted at the threshold of all, over the largest."""

    @property
    def shown(self) -> list[Refusal]:
        """The groups of enough captions to say anything of."""
        return [group for group in self.groups if math.isfinite(group.risk_all)]


@dataclass(frozen=True, kw_only=True)
class ExpertUse:
    """Which experts inside one checkpoint the languages use, in one layer, see `analysis.expert_use`."""

    layer: str
    divergence: float
    """Jensen-Shannon, between languages, in bits."""
    expected: float
    """The same where languages are dealt out at random within captions."""
    p: float
    p_by: float
    languages: tuple[str, ...] = ()
    """Labels, in the order of `shares`; empty but for the layer in which languages differ most."""
    shares: tuple[tuple[float, ...], ...] = ()
    """Share of a language's tokens that use each expert, `[language][expert]`."""


@dataclass(frozen=True, kw_only=True)
class Abstention:
    """How often the abstaining model refuses the prompts of a group, see `emoe_audit.abstain`."""

    by: str
    group: str
    label: str
    n_prompts: int
    abstained: float
    low: float
    high: float
    low_quality: float
    """Share refused because they will be drawn wrong."""
    outside: float
    """Share refused because nothing like them was learned from."""


@dataclass(frozen=True, kw_only=True)
class ImageAgreement:
    """Whether the images of a language show what those of the same captions in other languages do."""

    language: str
    label: str
    n_prompts: int
    agreement: float
    """1 where they do, 0 where they have nothing to do with them, see `analysis.image_agreement`."""
    ceiling: float
    """What a model that draws all languages alike would reach; NaN where prompts have one image each."""
    floor: float
    """The same measure against other captions."""


@dataclass(frozen=True, kw_only=True)
class AgainstReal:
    """A group's images, and the judge, against real images of what the prompts say."""

    by: str
    group: str
    label: str
    n_prompts: int
    reference_cosine: float
    """The judge's cosine of the real image with the prompt."""
    reference_rank: float
    chance_rank: float
    """The mean rank of a judge that reads nothing."""
    clip_cosine_minus_reference: float
    kid: float
    """Kernel distance of drawn from real images, in the judge's features."""
    kid_sd: float


@dataclass(frozen=True, kw_only=True)
class Depicted:
    """How often the images of a group show one class of an attribute that their prompts do not name."""

    attribute: str
    by: str
    group: str
    label: str
    class_: str
    n_images: int
    n_drawn: int
    share_seen: float
    share_corrected: float
    """Without the errors that the judge makes on labelled images."""
    low: float
    high: float
    reference: float
    difference_low: float
    difference_high: float
    p_bh: float
    verdict: str
