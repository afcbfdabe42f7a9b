"""What a report says, as frozen dataclasses: everything in `report.html` and `report.json` comes from one `ReportData`.

Undefined numbers are NaN here, `null` in JSON and a dash on the page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from emoe_audit.analysis.intervals import Estimate, Side, side
from emoe_audit.analysis.summary import NATIVE_QUALITY, SCORES
from emoe_audit.decisions.evidence import Standing
from emoe_audit.decisions.judged import Judge
from emoe_audit.decisions.ranking import RELATIVE_SCORE, Validity, ranks_by_images
from emoe_audit.report.findings import (
    Abstention,
    Adjusted,
    AgainstReal,
    Confounder,
    Depicted,
    ExpertUse,
    GapTable,
    ImageAgreement,
    RefusalTable,
)
from emoe_audit.report.gallery import Gallery
from emoe_audit.types import RunManifest

PLAIN_SCORE = "disagreement"
"""The published score, shown next to the ranking score."""
NOISY_SCORES = (RELATIVE_SCORE, PLAIN_SCORE)
"""The scores that average over noises, so that the noise in one is known."""


LEVEL = 0.05
"""The share of false ones to be expected among the groups that are called clearly above or below."""


def scores_from(ranking: str) -> tuple[str, ...]:
    """All scores of a run, the one that ranks first."""
    return tuple(dict.fromkeys((ranking, *SCORES)))


def side_by_side(ranking: str) -> tuple[str, ...]:
    """The score that ranks and the published one, once where they are the same."""
    return tuple(dict.fromkeys((ranking, PLAIN_SCORE)))


@dataclass(frozen=True, kw_only=True)
class GroupRow:
    """One group: its means by measure, and how far its ranking score lies from the overall mean."""

    group: str
    label: str
    n_prompts: int
    n_sources: int
    estimates: dict[str, Estimate]
    gap: Estimate
    p: float
    """Of the test against the other groups, adjusted for the number of groups (Benjamini-Hochberg)."""

    @property
    def side(self) -> Side:
        """The side of the gap, where it is clear by itself and among all groups tested at once."""
        return self.gap.side if self.p <= LEVEL else "unclear"

    def mean(self, measure: str) -> float:
        """The group's mean of a measure, NaN where it was not measured."""
        estimate = self.estimates.get(measure)
        return estimate.mean if estimate else math.nan


def measured(rows: Iterable[GroupRow], measures: Iterable[str]) -> list[str]:
    """Those of the measures of which some group has a mean."""
    own = list(rows)
    return [measure for measure in measures if any(math.isfinite(row.mean(measure)) for row in own)]


@dataclass(frozen=True, kw_only=True)
class GroupTable:
    """All groups of one column, those the ensemble is most unsure about first."""

    by: str
    title: str
    score: str
    """The score that ranks."""
    quality: str = NATIVE_QUALITY
    """The measure of quality that stands next to it."""
    overall: dict[str, float]
    """The mean over all prompts, by measure."""
    rows: tuple[GroupRow, ...]

    @property
    def worse(self) -> Side:
        """The side of the average on which groups are that fare worse: high scores and low quality are bad."""
        return "below" if ranks_by_images(self.score) else "above"

    @property
    def better(self) -> Side:
        """The other side."""
        return "above" if self.worse == "below" else "below"

    @property
    def ranked(self) -> tuple[GroupRow, ...]:
        """The groups in which the score that ranks is defined; the others come after them."""
        return tuple(row for row in self.rows if math.isfinite(row.mean(self.score)))

    def on_side(self, side: Side) -> list[GroupRow]:
        """The groups that lie clearly in that direction from the overall mean, in the table's order."""
        return [row for row in self.rows if row.side == side]


@dataclass(frozen=True, kw_only=True)
class Quartile:
    """A quarter of the prompts, cut by rising score, and the mean of a quality measure in it."""

    quartile: int
    score_mean: float
    quality: Estimate


@dataclass(frozen=True, kw_only=True)
class QuartileTable:
    """How a quality measure changes over the four quarters of a score."""

    score: str
    measure: str
    quartiles: tuple[Quartile, ...]


@dataclass(frozen=True, kw_only=True)
class CloudPoint:
    """One prompt, or one cell of a grid that `n` prompts fall into."""

    x: float
    y: float
    n: int
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """A score against a quality measure: prompt by prompt where they are few, else counted on a grid."""

    score: str
    measure: str
    kind: Literal["prompts", "grid"]
    n_prompts: int
    points: tuple[CloudPoint, ...]


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """A rank correlation with its interval; `given` names what was partialled out, None for the plain one."""

    x: str
    y: str
    level: str
    given: str | None
    n: int
    rho: float
    low: float
    high: float

    @property
    def side(self) -> Side:
        """Where the whole interval lies as seen from zero."""
        return side(self.low, self.high)


@dataclass(frozen=True, kw_only=True)
class Faults:
    """The rows that were left out: how many per stage, and the first of them in words."""

    total: int
    by_stage: dict[str, int]
    examples: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Company:
    """What the languages of a table could say of each other's prompts."""

    n_unjudged: int
    """Prompts with translations for which these could not say enough, see `analysis.translations`."""
    missing: tuple[str, ...]
    """The languages in which their captions would help most."""
    n_read_as: int
    """Prompts that are read well, but as another caption: faults of the table, or misread."""
    read_as: tuple[str, ...]
    """Some of them in words."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What was audited."""

    n_prompts: int
    n_scored: int
    n_ranked: int
    """Scored prompts for which the score that ranks is defined."""
    n_sources: int
    n_languages: int
    n_regions: int
    n_judged: int
    """Prompts with judged images."""
    n_images: int
    n_truncated: int
    noise_share: float
    """Median noise of one ranking score, as a share of the standard deviation of these scores between prompts.

    NaN for a score that is not one of `NOISY_SCORES`.
    """
    company: Company
    faults: Faults


@dataclass(frozen=True, kw_only=True)
class Extremes:
    """Prompts at both ends of the ranking, the outermost first."""

    unsure: tuple[str, ...]
    sure: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The report in four sentences."""

    where: str
    quality: str
    validity: str
    trust: str


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """Everything that a report says about one run."""

    schema: Literal["emoe-audit/report/1"] = "emoe-audit/report/1"
    """The form of `report.json`, published as `reports/report.schema.json`."""
    run: str
    complete: bool
    manifest: RunManifest
    ranking: str
    """The score by which groups and prompts are ranked, see `decisions.ranking`; a measure of images where nothing was
    scored."""
    quality: str
    """What the verdict says of images: a measure that was imported, else the judge's, by the source caption if there is
    one."""
    verdict: Verdict
    standing: Standing
    """What the ranking rests on."""
    judge: Judge | None
    """Who judged the images, and which languages that one reads; None where none was judged."""
    agreement: tuple[ImageAgreement, ...]
    """Languages whose images show least of what those of other languages do first."""
    validity: Validity | None
    """None where the check was left out."""
    scope: Scope
    groups: tuple[GroupTable, ...]
    gaps: tuple[GapTable, ...]
    refusals: tuple[RefusalTable, ...]
    confounders: tuple[Confounder, ...]
    adjusted: tuple[Adjusted, ...]
    against_real: tuple[AgainstReal, ...]
    depicted: tuple[Depicted, ...]
    expert_use: tuple[ExpertUse, ...]
    abstention: tuple[Abstention, ...]
    clouds: tuple[Cloud, ...]
    quartiles: tuple[QuartileTable, ...]
    correlations: tuple[Correlation, ...]
    gallery: Gallery
    limits: tuple[str, ...]
