"""Which score ranks a run: the one that the validity check chose on its ensemble, if the run measured it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from emoe_audit.analysis.familiarity import UNFAMILIARITY
from emoe_audit.analysis.intervals import Estimate
from emoe_audit.analysis.rows import records, to_float
from emoe_audit.analysis.summary import QUALITY, SCORES, SOURCE_QUALITY
from emoe_audit.analysis.translations import TRANSLATION_SCORE
from emoe_audit.runs.query import RunReader, known_column
from emoe_audit.runs.sql import Sql, joined, sql

ALONE = "SELECT language, count(*) AS n, count(unfamiliarity) AS n_given FROM results GROUP BY language"
IMAGES = "SELECT count(image) AS n FROM results"
RELATIVE_SCORE = "relative_disagreement"
"""What ranks where a run has measured no score yet."""


@dataclass(frozen=True, kw_only=True)
class ScoreValidity:
    """Whether one score rises on prompts that are strange to every model, beyond what a readable placebo shows."""

    score: str
    sign: Literal["holds", "unclear", "turned"]
    shares: dict[str, Estimate]
    """By probe: how often the strange half of a pair scores higher."""
    beyond: dict[str, Estimate] = field(default_factory=dict)
    """By probe: how much oftener it does so than a placebo; empty for a check that had none."""
    language: str | None = None
    """The only one in which it was asked; None where that were many."""


@dataclass(frozen=True, kw_only=True)
class Validity:
    """The outcome of the validity check on the ensemble of the run."""

    alignment: float
    """Mean correlation between the experts' features."""
    comparable: bool
    default_score: str | None
    """The score whose sign holds most strongly."""
    scores: tuple[ScoreValidity, ...]

    def of(self, score: str) -> ScoreValidity | None:
        """The outcome for one score."""
        return next((own for own in self.scores if own.score == score), None)


def ranking_score(store: RunReader, validity: Validity | None) -> str:
    """The score that the validity check chose, where the run measured it; else the first of `SCORES` that it did.

    Where the check chose none and no prompt has a translation score, that for prompts in one language, if it holds in
    the language that all are in. Where nothing was scored and images were judged, their quality ranks.
    """
    columns = store.columns()
    counts = count_values(store, [known_column(score, columns, store.path) for score in SCORES])
    measured = [score for score, n in zip(SCORES, counts, strict=True) if n]
    chosen = validity.default_score if validity else None
    if chosen in measured:
        return chosen
    if validity and TRANSLATION_SCORE not in measured and _ranks_alone(store, validity.of(UNFAMILIARITY)):
        return UNFAMILIARITY
    if not measured and store.query(IMAGES)["n"].iloc[0]:
        return quality_measure(store)
    return next(iter(measured), RELATIVE_SCORE)


def ranks_by_images(ranking: str) -> bool:
    """Whether what ranks is a measure of images, of which less is worse, and no score."""
    return ranking not in SCORES


def quality_measure(store: RunReader) -> str:
    """The first measure that was imported, else the first that there is of those of images.

    By the source caption, by the prompt, by the images of its translations.
    """
    columns = store.columns()
    own = [name for name in (SOURCE_QUALITY, *QUALITY) if name in columns]
    counts = count_values(store, [known_column(name, columns, store.path) for name in own])
    given = [name for name, n in zip(own, counts, strict=True) if n]
    return next(iter((*store.ratings(), *given)), QUALITY[0])


def _ranks_alone(store: RunReader, alone: ScoreValidity | None) -> bool:
    """Whether all prompts are in the language in which the sign of the score was found to hold, and most have it."""
    if alone is None or alone.sign != "holds" or alone.language is None:
        return False
    found = store.query(ALONE)
    in_it = [str(tag) == alone.language or str(tag).startswith(f"{alone.language}-") for tag in found["language"]]
    return all(in_it) and 2 * found["n_given"].sum() > found["n"].sum()


def count_values(store: RunReader, columns: Sequence[Sql]) -> list[int]:
    """How many prompts have a value in each of some columns of `results`."""
    counted = joined(sql("count({c})", c=column) for column in columns)
    return [int(n) for n in store.query(sql("SELECT {counted} FROM results", counted=counted)).iloc[0]]


def read_validity(store: RunReader) -> Validity | None:
    """What the validity check found; None where it was left out."""
    if not store.has_analysis("validity"):
        return None
    frame = store.query("SELECT * FROM validity")
    if frame.empty:
        return None
    frame["strict"] = frame.get("strict", True)
    if "beyond" not in frame:  # of an earlier version: what holds without a placebo may hold for nothing
        frame = frame.assign(sign=frame["sign"].replace("holds", "unclear"), default_score=None)
    first = frame.iloc[0]
    return Validity(
        alignment=float(first.alignment),
        comparable=bool(first.comparable),
        default_score=None if pd.isna(first.default_score) else str(first.default_score),
        scores=tuple(_score_validity(str(name), part) for name, part in frame.groupby("score", sort=False)),
    )


def _score_validity(score: str, part: pd.DataFrame) -> ScoreValidity:
    rows = list(records(part[part["strict"]]))
    shares = {r.probe: _estimate(r.share, r.low, r.high, r.n_pairs) for r in rows}
    beyond = {r.probe: _estimate(r.beyond, r.beyond_low, r.beyond_high, r.n_pairs) for r in rows if "beyond" in part}
    language = part["language"].iloc[0] if "language" in part else None
    return ScoreValidity(
        score=score,
        sign=part["sign"].iloc[0],
        shares=shares,
        beyond=beyond,
        language=None if pd.isna(language) else str(language),
    )


def _estimate(mean: Any, low: Any, high: Any, n_pairs: Any) -> Estimate:
    return Estimate(mean=to_float(mean), low=to_float(low), high=to_float(high), n_prompts=int(n_pairs))
