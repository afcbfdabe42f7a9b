"""The bench's table: a row per score, every figure with its interval, and the differences that matter."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emoe_audit.analysis.bootstrap import percentile_interval
from emoe_audit.analysis.familiarity import UNFAMILIARITY
from emoe_audit.analysis.intervals import Interval, flat, or_null, side
from emoe_audit.ground.figures import FIGURES, Ground, quality_quartiles, replicates
from emoe_audit.validity.signs import EVEN, SIGN

COMPARED = ("auroc_starved", "aurc")
COMPARED_ALONE = ("concept_auroc", "concept_rho", "within_language_quality_rho")
CONFIDENCE = 0.95
HEADINGS = {
    "language_rho": "language rho",
    "language_partial_rho": "given tokens",
    "readability_rho": "readability rho",
    "region_rho": "region rho",
    "tone_rho": "tone rho",
    "auroc_starved": "AUROC starved",
    "auroc_related": "AUROC related",
    "auroc_shared_words": "AUROC shared words",
    "quality_rho_within_language": "quality rho",
    "aurc": "AURC",
    "language_quality_r": "quality r",
    "concept_auroc": "AUROC concepts",
    "concept_rho": "concept rho",
    "concept_aurc": "AURC one language",
    "within_language_quality_rho": "quality rho one language",
}


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """One score or baseline."""

    name: str
    gflop: float
    """Billions of operations a prompt."""
    figures: dict[str, Interval]
    quality_quartiles: tuple[float, ...]
    """Mean image quality by rising score."""
    sign: str
    """What the validity check, which knows nothing of the training, says of it; empty where it is not tested."""

    @property
    def sign_by_coverage(self) -> str:
        """The same from what is known: whether starved languages clearly score higher than covered ones, or lower."""
        starved = self.figures["auroc_starved"]
        return SIGN[side(starved.low, starved.high, of=EVEN)]


@dataclass(frozen=True, kw_only=True)
class LanguagePoint:
    """One language: what it was given in training, and what came out."""

    language: str
    coverage: float
    related: bool
    """Never seen, but of a vocabulary that was."""
    score: float
    """Mean of the default score."""
    quality: float
    """Mean image quality."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A figure of a score minus that of another, on the same resamples."""

    score: str
    against: str
    figure: str
    difference: Interval


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What the bench found on one ensemble."""

    ensemble: str
    default_score: str
    one_language_score: str
    """That for prompts without translations."""
    n_languages: int
    n_concepts: int
    n_images: int
    languages: tuple[LanguagePoint, ...]
    scores: tuple[ScoreRow, ...]
    differences: tuple[Difference, ...]

    @property
    def headings(self) -> dict[str, str]:
        """`HEADINGS` of the figures that any score has: those of concepts need a world in which some are planted."""
        return {f: h for f, h in HEADINGS.items() if any(not math.isnan(row.figures[f].value) for row in self.scores)}

    def to_json(self) -> dict[str, Any]:
        """The published form: a flat row per score, intervals as `NAME_low` and `NAME_high`, undefined as null."""
        return {
            "ensemble": self.ensemble,
            "default_score": self.default_score,
            "one_language_score": self.one_language_score,
            "n_languages": self.n_languages,
            "n_concepts": self.n_concepts,
            "n_images": self.n_images,
            "scores": [_flat_row(row) for row in self.scores],
            "differences": [
                {"score": d.score, "against": d.against, "figure": d.figure} | flat("difference", d.difference)
                for d in self.differences
            ],
        }

    def to_text(self) -> str:
        """The table for a terminal, the best ranking of languages first."""
        rows = sorted(self.scores, key=lambda row: _last(row.figures["language_rho"].value))
        lines = [["score", *self.headings.values(), "quality by quarter", "GFLOP", "sign by check", "by coverage"]]
        for row in rows:
            quarters = " ".join(f"{value:.2f}" for value in row.quality_quartiles)
            figures = [_short(row.figures[name].value) for name in self.headings]
            lines.append([row.name, *figures, quarters, f"{row.gflop:.2f}", row.sign or "-", row.sign_by_coverage])
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
        return "\n".join("  ".join(line).rstrip() for line in padded)


def tabulate(
    ensemble: str,
    ground: Ground,
    scores: Mapping[str, np.ndarray],
    gflop: Mapping[str, float],
    *,
    default_score: str,
    signs: Mapping[str, str],
    n_boot: int,
    seed: int = 0,
) -> Verification:
    """Every figure of every score, with intervals over resampled languages and concepts.

    Args:
        ensemble: Its name.
        ground: What is known.
        scores: By name, `[language, concept]`; the prompts for which a score is undefined get its mean.
        gflop: Cost of each a prompt.
        default_score: The one that the others are compared with.
        signs: What the validity check says of the sign of each, where it tests it.
        n_boot: Number of resamples.
        seed: Of the resampling.
    """
    whole = {name: np.where(np.isnan(score), np.nanmean(score), score) for name, score in scores.items()}
    drawn = replicates(ground, whole, n_boot=n_boot, seed=seed)
    values = {name: {f: compute(ground, score) for f, compute in FIGURES.items()} for name, score in whole.items()}
    own = values.get(UNFAMILIARITY, {})
    alone = [f for f in COMPARED_ALONE if not math.isnan(own.get(f, math.nan))]
    return Verification(
        ensemble=ensemble,
        default_score=default_score,
        one_language_score=UNFAMILIARITY,
        n_languages=len(ground.languages),
        n_concepts=len(ground.regions),
        n_images=int((~np.isnan(ground.quality)).sum()),
        languages=_languages(ground, whole[default_score]),
        scores=tuple(
            ScoreRow(
                name=name,
                gflop=gflop[name],
                figures={f: _interval(values[name][f], drawn[name][f]) for f in FIGURES},
                quality_quartiles=tuple(quality_quartiles(ground, score)),
                sign=signs.get(name, ""),
            )
            for name, score in whole.items()
        ),
        differences=(
            *_differences(values, drawn, default_score, COMPARED),
            *_differences(values, drawn, UNFAMILIARITY, alone),
        ),
    )


def _differences(
    values: Mapping[str, Mapping[str, float]],
    drawn: Mapping[str, Mapping[str, np.ndarray]],
    score: str,
    figures: Sequence[str],
) -> Iterator[Difference]:
    """Figures of a score minus those of every other, from values and replicates by score."""
    for other, f in itertools.product((name for name in values if name != score), figures):
        difference = _interval(values[score][f] - values[other][f], drawn[score][f] - drawn[other][f])
        yield Difference(score=score, against=other, figure=f, difference=difference)


def _languages(ground: Ground, score: np.ndarray) -> tuple[LanguagePoint, ...]:
    plain = ground.plain
    drawn = ground.drawn
    quality = ground.quality[:, drawn].mean(axis=1) if drawn.any() else np.full(len(score), np.nan)
    points = zip(ground.languages, ground.coverage, ground.related, score[:, plain].mean(axis=1), quality, strict=True)
    return tuple(
        LanguagePoint(language=str(name), coverage=float(c), related=bool(r), score=float(s), quality=float(q))
        for name, c, r, s, q in points
    )


def _interval(value: float, replicates: np.ndarray) -> Interval:
    low, high = percentile_interval(replicates, CONFIDENCE)
    return Interval(value=value, low=float(low[0]), high=float(high[0]))


def _flat_row(row: ScoreRow) -> dict[str, Any]:
    published: dict[str, Any] = {"name": row.name}
    for name, interval in row.figures.items():
        published |= flat(name, interval)
    quartiles = [or_null(q) for q in row.quality_quartiles]
    signs = {"sign": row.sign or None, "sign_by_coverage": row.sign_by_coverage}
    return published | {"quality_quartiles": quartiles, "gflop": row.gflop} | signs


def _short(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _last(value: float) -> float:
    return math.inf if math.isnan(value) else value
