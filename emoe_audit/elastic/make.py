"""Puts an ensemble in order and measures every prefix: the order on some captions, what it is worth on others."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emoe_audit.decisions.ranking import RELATIVE_SCORE
from emoe_audit.elastic.manifest import Elastic, Fidelity, Prefix, order_hash
from emoe_audit.elastic.measured import Measured, PartEngine
from emoe_audit.elastic.order import Part, by_lot, greedy
from emoe_audit.elastic.worth import Agreement, Worth
from emoe_audit.errors import EnsembleError
from emoe_audit.experts.coverage import read_coverage
from emoe_audit.experts.ensemble import footprint_of, weights_hash
from emoe_audit.progress import Progress, silent
from emoe_audit.prompts.shipped import shipped_captions
from emoe_audit.scoring.calibration import calibration_captions, plain_captions
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.scoring.flops import gflop
from emoe_audit.scoring.loading import load_engine, settle_dtype
from emoe_audit.steps.checks import find_languages
from emoe_audit.types import EnsembleSpec, Prompt, ScoringConfig
from emoe_audit.validity.check import check_probes, probe
from emoe_audit.validity.outcome import Check

CAPTIONS = 12
"""Captions that the order is chosen on, and as many others that it is measured on, each in every language."""
LOTS = 100
"""Orders that are drawn by lot."""
COUNTED, TIMED = 8, 32
"""Prompts of which operations are counted, and that are timed."""


def make_elastic(
    spec: EnsembleSpec,
    scoring: ScoringConfig | None = None,
    *,
    n_captions: int = CAPTIONS,
    seed: int = 0,
    progress: Progress = silent,
) -> Elastic:
    """Order experts and noises, and measure what every prefix costs and is worth.

    Args:
        spec: The whole.
        scoring: How it is scored, with how many noises.
        n_captions: See `CAPTIONS`.
        seed: Of these captions, and of the orders drawn by lot.
        progress: Called with stage, done, total.

    Raises:
        EnsembleError: it cannot be loaded or put in order, or there are too few captions.
    """
    scoring = scoring or ScoringConfig(n_noise=4)
    if not scoring.n_noise:
        raise EnsembleError(f"{spec.name}: without noises there is nothing to put in order; give at least one")
    engine = load_engine(spec, settle_dtype(scoring))
    languages = find_languages(engine, progress)
    measured = Measured(engine)
    chosen_on, measured_on = (rows_of(own) for own in split_captions(spec, n_captions, seed))
    order = greedy(measured.whole, Agreement(measured, chosen_on["prompt"].to_list(), progress))
    worth = Worth(measured, measured_on, _coverage(spec), lots_of(measured.whole, seed), progress)
    costs = Costs.of(engine, measured_on["prompt"].to_list())
    n_pairs = scoring.check_pairs or ScoringConfig().check_pairs
    captions = calibration_captions(spec)
    probes = probe(engine, captions, languages, n_per_language=n_pairs, progress=progress)
    prefixes = tuple(
        _prefix(engine, part, costs, check_probes(PartEngine(measured, part), probes, progress), worth.of(part))
        for part in order
    )
    return Elastic(
        ensemble=spec.name,
        ensemble_hash=engine.ensemble_hash,
        score=prefixes[-1].default_score or RELATIVE_SCORE,
        order_hash=order_hash([own.experts for own in prefixes], [own.n_noise for own in prefixes]),
        n_captions=measured_on["source_id"].nunique(),
        n_languages=measured_on["language"].nunique(),
        seed=seed,
        dtype=str(engine.config.dtype),
        num_inference_steps=scoring.num_inference_steps,
        both_halves=scoring.both_halves,
        prefixes=prefixes,
    )


def _prefix(engine: ScoringEngine, part: Part, costs: Costs, outcome: Check, scores: Mapping[str, Fidelity]) -> Prefix:
    """What a part of an engine's ensemble is made of, costs and is worth."""
    own = engine.ensemble
    names = [own.experts[place] for place in part.experts]
    whole = Part(experts=tuple(range(len(own.experts))), n_noise=engine.config.n_noise)
    return Prefix(
        experts=tuple(names),
        n_noise=part.n_noise,
        gflop=costs.gflop(part),
        cost=costs.gflop(part) / costs.gflop(whole),
        seconds=costs.seconds(part),
        n_bytes=footprint_of(own.spec, names, engine.config.dtype).weights("all"),
        weights_hash=weights_hash(own.base_hash, [own.expert_hashes[place] for place in part.experts]),
        default_score=outcome.default_score,
        signs={score.name: score.sign for score in outcome.scores},
        scores=scores,
    )


def split_captions(spec: EnsembleSpec, n_captions: int, seed: int, n_parts: int = 2) -> list[pd.DataFrame]:
    """Disjoint sets of captions by lot, a row a caption and a column a language; the ensemble's, or those that ship.

    Raises:
        EnsembleError: there are not so many.
    """
    plain = plain_captions(spec)
    captions = plain if len(plain) >= n_parts * n_captions else shipped_captions()
    if len(captions) < n_parts * n_captions:
        raise EnsembleError(
            f"{spec.name}: {n_parts} x {n_captions} captions are asked for, there are {len(captions)}; ask for fewer"
        )
    places = np.random.default_rng([seed, 1]).permutation(len(captions))  # others than calibration draws
    parts = [places[number * n_captions : (number + 1) * n_captions] for number in range(n_parts)]
    return [captions.iloc[np.sort(part)] for part in parts]


def rows_of(captions: pd.DataFrame) -> pd.DataFrame:
    """A row per prompt: `source_id, language, prompt`."""
    long = captions.astype(str).melt(ignore_index=False, var_name="language", value_name="prompt")
    return long.rename_axis("source_id").reset_index().astype(str)


def _coverage(spec: EnsembleSpec) -> pd.Series | None:
    """The share of each language in training, where that is known."""
    if spec.training_coverage is None:
        return None
    table = read_coverage(spec.training_coverage)
    return table[table["by"] == "language"].set_index("group")["coverage"]


def lots_of(whole: Part, seed: int) -> list[list[Part]]:
    """Orders drawn by lot."""
    rng = np.random.default_rng(seed)
    return [by_lot(whole, rng) for _ in range(LOTS)]


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a prompt costs: once in the text encoder, and once on each path."""

    text_gflop: float
    path_gflop: float
    text_seconds: float
    path_seconds: float

    @classmethod
    def of(cls, engine: ScoringEngine, texts: Sequence[str]) -> Costs:
        """Counted and timed on some texts."""
        engine.starts  # noqa: B018  which are made once, and belong to no prompt
        few, some = texts[:COUNTED], texts[:TIMED]
        n_paths = len(engine.ensemble.experts) * engine.config.n_noise
        text, whole = (
            gflop(work) / len(few) for work in (lambda: engine.text_states(few), lambda: engine.score(_prompts(few)))
        )
        text_seconds, whole_seconds = (
            _seconds(work) / len(some)
            for work in (lambda: engine.text_states(some), lambda: engine.score(_prompts(some)))
        )
        return cls(
            text_gflop=text,
            path_gflop=(whole - text) / n_paths,
            text_seconds=text_seconds,
            path_seconds=max(0.0, whole_seconds - text_seconds) / n_paths,
        )

    def gflop(self, part: Part) -> float:
        """Billions of operations of a prompt."""
        return self.text_gflop + part.n_paths * self.path_gflop

    def seconds(self, part: Part) -> float:
        """Of a prompt."""
        return self.text_seconds + part.n_paths * self.path_seconds


def _prompts(texts: Sequence[str]) -> list[Prompt]:
    return [Prompt(prompt_id=str(number), prompt=text) for number, text in enumerate(texts)]


def _seconds(work: Callable[[], object]) -> float:
    work()  # once before, so that what is done once is not timed
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
