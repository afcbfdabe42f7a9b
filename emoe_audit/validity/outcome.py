"""The outcome of the check: which scores hold on an ensemble, which of them ranks, and its forms for others to read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from emoe_audit.analysis.familiarity import UNFAMILIARITY
from emoe_audit.analysis.intervals import Interval, flat, or_null
from emoe_audit.analysis.translations import TRANSLATION_SCORE
from emoe_audit.scoring.disagreement import SCORES
from emoe_audit.validity.evidence import ProbeResult
from emoe_audit.validity.signs import Sign

CANDIDATES = (TRANSLATION_SCORE, *SCORES)
"""What may rank in all languages together; beside it `UNFAMILIARITY` in one, and all else is a baseline."""
COMPARABLE = 0.5
"""Correlation of the experts' features from which they count as comparable."""
NAME, SIGN_WIDTH, PROBE = 26, 10, 44
"""Widths of the columns of a terminal."""


@dataclass(frozen=True, kw_only=True)
class ScoreCheck:
    """What the probes say of one score."""

    name: str
    probes: tuple[ProbeResult, ...]

    @property
    def sign(self) -> Sign:
        """`turned` where any probe turns it, `holds` where all agree that it holds."""
        signs = {probe.sign for probe in self.probes}
        if "turned" in signs:
            return "turned"
        return "holds" if signs == {"holds"} else "unclear"

    @property
    def language(self) -> str | None:
        """The only one that was asked; None where many were."""
        return next((probe.language for probe in self.probes), None)

    @property
    def strength(self) -> float:
        """The lower end of what the weakest probe shows beyond its placebo; NaN without probes."""
        return min((probe.beyond.low for probe in self.probes), default=math.nan)


@dataclass(frozen=True, kw_only=True)
class Check:
    """The outcome of the check on one ensemble."""

    ensemble: str
    ensemble_hash: str
    alignment: float
    """Mean correlation between the experts' features; 1 for equal experts, NaN where none was asked."""
    scores: tuple[ScoreCheck, ...]

    @property
    def comparable(self) -> bool:
        """Whether the experts' features mean the same things element by element; true where none was asked."""
        return not self.alignment < COMPARABLE

    @property
    def default_score(self) -> str | None:
        """The registered score whose sign holds most strongly; None where none is valid."""
        valid = [score for score in self.scores if score.name in CANDIDATES and score.sign == "holds"]
        return max(valid, key=lambda score: score.strength).name if valid and self.comparable else None

    @property
    def one_language_score(self) -> str | None:
        """The score for prompts without translations, where its sign holds; None where it does not."""
        holds = any(score.name == UNFAMILIARITY and score.sign == "holds" for score in self.scores)
        return UNFAMILIARITY if holds else None

    def to_json(self) -> dict[str, Any]:
        """Everything, with the conclusions drawn."""
        return {
            "ensemble": self.ensemble,
            "ensemble_hash": self.ensemble_hash,
            "alignment": or_null(self.alignment),
            "comparable": self.comparable,
            "default_score": self.default_score,
            "one_language_score": self.one_language_score,
            "scores": [
                {"name": s.name, "sign": s.sign, "probes": [_published(probe) for probe in s.probes]}
                for s in self.scores
            ],
        }

    def to_frame(self) -> pd.DataFrame:
        """A row per score and probe, as a run keeps it."""
        whole = {"alignment": self.alignment, "comparable": self.comparable, "default_score": self.default_score}
        rows = [
            {"score": s.name, "sign": s.sign, "probe": p.probe, "strict": True}
            | {"n_pairs": p.n_pairs, "n_languages": p.n_languages}
            | {"share": p.share.value, "low": p.share.low, "high": p.share.high, "placebo": p.placebo}
            | {"beyond": p.beyond.value, "beyond_low": p.beyond.low, "beyond_high": p.beyond.high}
            | {"language": p.language}
            | whole
            for s in self.scores
            for p in s.probes
        ]
        return pd.DataFrame(rows)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, ensemble: str, ensemble_hash: str) -> Check:
        """The outcome that a frame of `to_frame` holds."""
        return cls(
            ensemble=ensemble,
            ensemble_hash=ensemble_hash,
            alignment=float(frame["alignment"].iloc[0]),
            scores=tuple(
                ScoreCheck(name=str(name), probes=tuple(map(_probe, rows.to_dict("records"))))
                for name, rows in frame.groupby("score", sort=False)
            ),
        )

    def to_text(self) -> str:
        """The outcome for a terminal, each share with that of its placebo."""
        crossed = [score for score in self.scores if score.name != UNFAMILIARITY]
        probes = list(dict.fromkeys(p.probe for score in crossed for p in score.probes))
        comparable = "comparable" if self.comparable else "not comparable: no score of theirs means anything"
        of_experts = f"correlation of features {self.alignment:.2f}, {comparable}"
        lines = [
            f"{'score':{NAME}}{'sign':{SIGN_WIDTH}}{''.join(f'{probe:{PROBE}}' for probe in probes)}",
            *(f"{own.name:{NAME}}{own.sign:{SIGN_WIDTH}}{_shares(own, probes)}" for own in crossed),
            "",
            *(
                text
                for own in self.scores
                if own.name == UNFAMILIARITY and own.probes
                for text in _in_one_language(own)
            ),
            "share of pairs in which the strange half scores higher, that with a readable placebo in its place,",
            "and the difference with its 95% interval; a sign holds where share and difference are clear in all probes",
            f"experts: {'none was asked' if math.isnan(self.alignment) else of_experts}",
            f"default score: {self.default_score or 'none, no score is valid in all languages together'}",
            f"for prompts in one language: {self.one_language_score or 'none'}",
        ]
        return "\n".join(line.rstrip() for line in lines)


def _in_one_language(score: ScoreCheck) -> tuple[str, str]:
    told = (f"{p.probe} {_share(p)}" for p in score.probes)
    asked = f"{score.name}, for prompts in one language, asked in {score.language}"
    return f"{asked}: sign {score.sign}; {', '.join(told)}", ""


def _shares(score: ScoreCheck, probes: Sequence[str]) -> str:
    told = {p.probe: _share(p) for p in score.probes}
    return "".join(f"{told.get(probe, '-'):{PROBE}}" for probe in probes)


def _share(probe: ProbeResult) -> str:
    return f"{probe.share.value:.2f} - {probe.placebo:.2f} = {probe.beyond.value:+.2f} ({_ends(probe.beyond)})"


def _ends(interval: Interval) -> str:
    return "too few" if math.isnan(interval.low) else f"{interval.low:+.2f} to {interval.high:+.2f}"


def _published(probe: ProbeResult) -> dict[str, Any]:
    asked = {"probe": probe.probe, "language": probe.language, "strict": True}
    counts = {"n_pairs": probe.n_pairs, "n_languages": probe.n_languages}
    shares = flat("share", probe.share) | {"placebo": or_null(probe.placebo)} | flat("beyond", probe.beyond)
    return asked | counts | {"sign": probe.sign} | shares


def _probe(row: dict[str, Any]) -> ProbeResult:
    return ProbeResult(
        probe=str(row["probe"]),
        n_pairs=int(row["n_pairs"]),
        n_languages=int(row["n_languages"]),
        share=Interval(value=float(row["share"]), low=float(row["low"]), high=float(row["high"])),
        placebo=float(row["placebo"]),
        beyond=Interval(value=float(row["beyond"]), low=float(row["beyond_low"]), high=float(row["beyond_high"])),
        language=None if pd.isna(row["language"]) else str(row["language"]),
    )
