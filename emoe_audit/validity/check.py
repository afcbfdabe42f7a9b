"""The validity check: does a score rise on strange prompts, on this ensemble, and are its experts comparable at all?

It needs no knowledge of the training set: the known groups are the pairs of `probes`. A score whose sign does not hold
there is not to be trusted on the ensemble, whatever it did elsewhere. The pairs of `assumed` are shown next to them:
they hold for a model trained on the web, and decide nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emoe_audit.analysis.bootstrap import MIN_SOURCES, bootstrap_means, percentile_interval
from emoe_audit.analysis.intervals import Interval, flat, side
from emoe_audit.analysis.translations import TRANSLATION_SCORE
from emoe_audit.errors import EnsembleError
from emoe_audit.progress import Progress, chunks, silent
from emoe_audit.prompts.emoji import IMAGE_COLUMNS, caption_matrix
from emoe_audit.prompts.shipped import shipped_captions
from emoe_audit.scoring.conditioning import count_tokens
from emoe_audit.scoring.disagreement import SCORES
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.types import EnsembleSpec, Prompt
from emoe_audit.validity.assumed import assumed_pairs
from emoe_audit.validity.probes import STRICT, Pair, make_pairs
from emoe_audit.validity.signs import EVEN, SIGN, Sign, oriented_scores
from emoe_audit.validity.translated import translation_scores

CANDIDATES = (TRANSLATION_SCORE, *SCORES)
"""What may rank; everything else that is checked is a baseline."""
COMPARABLE = 0.5
"""Correlation of the experts' features from which they count as comparable."""
N_BOOT, CONFIDENCE = 1000, 0.95
CHUNK = 128
ALIGNED_PROMPTS = 64
"""Enough to see whether experts are aligned, and few enough to hold the features of all of them."""


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """How often the strange half of a pair scores above the known half, ties counting half; clusters resampled.

    A cluster is a language, or in the English probes the pairs that share a word, see `Pair.cluster`.
    """

    probe: str
    n_pairs: int
    n_languages: int
    share: Interval

    @property
    def strict(self) -> bool:
        """Whether nobody can have trained on the strange halves."""
        return self.probe in STRICT

    @property
    def sign(self) -> Sign:
        """Whether the whole interval lies on one side of an even share."""
        return SIGN[side(self.share.low, self.share.high, of=EVEN)]


@dataclass(frozen=True, kw_only=True)
class ScoreCheck:
    """What the probes say of one score."""

    name: str
    probes: tuple[ProbeResult, ...]
    """Strict ones first."""

    @property
    def sign(self) -> Sign:
        """`turned` where any strict probe turns it, `holds` where all strict ones agree that it holds."""
        signs = {probe.sign for probe in self.probes if probe.strict}
        if "turned" in signs:
            return "turned"
        return "holds" if signs == {"holds"} else "unclear"

    @property
    def strength(self) -> float:
        """The lower end of the weakest strict probe."""
        return min((probe.share.low for probe in self.probes if probe.strict), default=float("nan"))


@dataclass(frozen=True, kw_only=True)
class Check:
    """The outcome of the check on one ensemble."""

    ensemble: str
    ensemble_hash: str
    alignment: float
    """Mean correlation between the experts' features, see `alignment`; 1 for equal experts."""
    scores: tuple[ScoreCheck, ...]

    @property
    def comparable(self) -> bool:
        """Whether the experts' features mean the same things element by element."""
        return self.alignment >= COMPARABLE

    def to_json(self) -> dict[str, Any]:
        """Everything, with the conclusions drawn."""
        return {
            "ensemble": self.ensemble,
            "ensemble_hash": self.ensemble_hash,
            "alignment": self.alignment,
            "comparable": self.comparable,
            "default_score": self.default_score,
            "scores": [
                {"name": s.name, "sign": s.sign, "probes": [_published(probe) for probe in s.probes]}
                for s in self.scores
            ],
        }

    def to_frame(self) -> pd.DataFrame:
        """A row per score and probe, as a run keeps it."""
        whole = {"alignment": self.alignment, "comparable": self.comparable, "default_score": self.default_score}
        rows = [
            {"score": s.name, "sign": s.sign, "probe": p.probe, "strict": p.strict}
            | {"n_pairs": p.n_pairs, "n_languages": p.n_languages}
            | {"share": p.share.value, "low": p.share.low, "high": p.share.high}
            | whole
            for s in self.scores
            for p in s.probes
        ]
        return pd.DataFrame(rows)

    def to_text(self) -> str:
        """The outcome for a terminal: the probes that decide, then those that only inform."""
        decide, inform = self._probes(strict=True), self._probes(strict=False)
        lines = [f"{'score':26}{'sign':10}{''.join(f'{probe:28}' for probe in decide)}"]
        lines += [f"{score.name:26}{score.sign:10}{_shares(score, decide)}" for score in self.scores]
        if inform:
            headings = [f"{probe} (assumed)" for probe in inform]
            lines += ["", f"{'score':26}{''.join(f'{heading:28}' for heading in headings)}"]
            lines += [f"{score.name:26}{_shares(score, inform)}" for score in self.scores]
            lines.append("(assumed): holds for a model trained on the web, need not hold for this one, decides nothing")
            lines.append("")
        comparable = "comparable" if self.comparable else "not comparable: no score of theirs means anything"
        lines.append(f"experts: correlation of features {self.alignment:.2f}, {comparable}")
        lines.append(f"default score: {self.default_score or 'none, no score is valid on this ensemble'}")
        return "\n".join(line.rstrip() for line in lines)

    def _probes(self, *, strict: bool) -> list[str]:
        return list(dict.fromkeys(p.probe for score in self.scores for p in score.probes if p.strict == strict))

    @property
    def default_score(self) -> str | None:
        """The registered score whose sign holds most strongly; None where none is valid."""
        valid = [score for score in self.scores if score.name in CANDIDATES and score.sign == "holds"]
        return max(valid, key=lambda score: score.strength).name if valid and self.comparable else None


def check_captions(spec: EnsembleSpec) -> pd.DataFrame:
    """Real captions, a column per language: the ensemble's own, else those that ship."""
    if spec.captions is None:
        return shipped_captions()
    return caption_matrix(spec).drop(columns=[*IMAGE_COLUMNS])


def check(
    engine: ScoringEngine, captions: pd.DataFrame, *, n_per_language: int = 5, progress: Progress = silent
) -> Check:
    """Score the pairs and compare their halves.

    Args:
        engine: Of the ensemble.
        captions: Real captions to make the pairs from, a column per language.
        n_per_language: Pairs of each probe in each language; English words are all taken.
        progress: Called with stage, done, total.

    Raises:
        EnsembleError: the captions yield no pair of a strict probe.
    """
    own = engine.ensemble

    def n_tokens(texts: Sequence[str]) -> list[int]:
        return [count.n_tokens for count in count_tokens(texts, own.tokenizer, own.max_length)]

    strict = make_pairs(captions, n_tokens, n_per_language=n_per_language)
    if not strict:
        raise EnsembleError(
            f"{own.spec.name}: no pair of real and strange prompts could be matched; give more captions"
        )
    pairs = [*strict, *assumed_pairs(captions, n_tokens, n_per_language=n_per_language)]

    def score(texts: Sequence[str]) -> pd.DataFrame:
        return _score(engine, texts, progress)

    halves = [score([getattr(pair, half) for pair in pairs]) for half in ("known", "strange")]
    translated = translation_scores(score, captions, pairs, halves)
    known, strange = (half.assign(**{TRANSLATION_SCORE: own}) for half, own in zip(halves, translated, strict=True))
    sample = strict[:: max(1, len(strict) // ALIGNED_PROMPTS)]
    return Check(
        ensemble=own.spec.name,
        ensemble_hash=own.ensemble_hash,
        alignment=alignment(_features(engine, [pair.known for pair in sample])),
        scores=tuple(
            ScoreCheck(name=name, probes=compare(pairs, sign * known[column], sign * strange[column]))
            for name, (column, sign) in oriented_scores().items()
        ),
    )


def compare(pairs: Sequence[Pair], known: pd.Series, strange: pd.Series) -> tuple[ProbeResult, ...]:
    """One result per probe, from the scores of both halves of every pair; pairs without a score are left out."""
    a, b = known.to_numpy(dtype=np.float64), strange.to_numpy(dtype=np.float64)
    higher = np.where(np.isnan(a) | np.isnan(b), np.nan, (b > a) + 0.5 * (b == a))
    named = [(pair.probe, pair.language, pair.cluster) for pair in pairs]
    frame = pd.DataFrame(named, columns=["probe", "language", "cluster"]).assign(higher=higher).dropna()
    results = []
    for probe, rows in frame.groupby("probe", sort=False):
        _, _, replicates = bootstrap_means(rows["higher"], rows["probe"], rows["cluster"], n_boot=N_BOOT, seed=0)
        low, high = percentile_interval(replicates, CONFIDENCE)
        if rows["cluster"].nunique() < MIN_SOURCES:
            low = high = np.array([np.nan])
        share = Interval(value=float(rows["higher"].mean()), low=float(low[0]), high=float(high[0]))
        results.append(
            ProbeResult(probe=str(probe), n_pairs=len(rows), n_languages=rows["language"].nunique(), share=share)
        )
    return tuple(results)


def _shares(score: ScoreCheck, probes: Sequence[str]) -> str:
    shares = {p.probe: f"{p.share.value:.2f} ({p.share.low:.2f} to {p.share.high:.2f})" for p in score.probes}
    return "".join(f"{shares.get(probe, '-'):28}" for probe in probes)


def _published(probe: ProbeResult) -> dict[str, Any]:
    counts = {"probe": probe.probe, "strict": probe.strict, "n_pairs": probe.n_pairs, "n_languages": probe.n_languages}
    return counts | {"sign": probe.sign} | flat("share", probe.share)


def alignment(features: Float[Tensor, "expert batch element"]) -> float:
    """Mean over pairs of experts of the correlation of their features over prompts and elements.

    Each expert's mean over the prompts is taken out first: what is left is what the prompt does.
    """
    effects = (features - features.mean(dim=1, keepdim=True)).flatten(1).double()
    effects = torch.nn.functional.normalize(effects, dim=1)
    pairs = [float(a @ b) for a, b in itertools.combinations(effects, 2)]
    return float(np.mean(pairs))


def _score(engine: ScoringEngine, texts: Sequence[str], progress: Progress) -> pd.DataFrame:
    frames = []
    for start in range(0, len(texts), CHUNK):
        progress("checking", start, len(texts))
        chunk = texts[start : start + CHUNK]
        frames.append(engine.score([Prompt(prompt_id=str(place), prompt=text) for place, text in enumerate(chunk)]))
    progress("checking", len(texts), len(texts))
    return pd.concat(frames, ignore_index=True)


def _features(engine: ScoringEngine, texts: Sequence[str]) -> Float[Tensor, "expert batch element"]:
    states = [engine.text_states(part) for part in chunks(texts, engine.batch_size)]
    return torch.cat([engine.features(own, 0).float().flatten(2).cpu() for own in states], dim=1)
