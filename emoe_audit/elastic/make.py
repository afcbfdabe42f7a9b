"""Puts an ensemble in order and measures every prefix: the order on some captions, what it is worth on others."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from emoe_audit.analysis.contrasts import correlate_groups, correlate_prompts
from emoe_audit.analysis.crossed import half_width
from emoe_audit.analysis.familiarity import UNFAMILIARITY
from emoe_audit.analysis.rank_correlation import spearman
from emoe_audit.analysis.readings import Readings
from emoe_audit.analysis.translations import TRANSLATION_SCORE, Readers
from emoe_audit.decisions.ranking import RELATIVE_SCORE
from emoe_audit.elastic.manifest import Elastic, Fidelity, Prefix, Rho, order_hash
from emoe_audit.elastic.measured import Measured, PartEngine
from emoe_audit.elastic.order import Part, at_cost, by_lot, greedy
from emoe_audit.errors import EnsembleError
from emoe_audit.experts.coverage import read_coverage
from emoe_audit.experts.ensemble import footprint_of, weights_hash
from emoe_audit.progress import Progress, silent
from emoe_audit.prompts.emoji import GROUP_COLUMNS, IMAGE_COLUMNS, caption_matrix, is_plain
from emoe_audit.prompts.shipped import shipped_captions
from emoe_audit.scoring.calibration import calibration_captions
from emoe_audit.scoring.disagreement import SCORES
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.scoring.flops import gflop
from emoe_audit.scoring.loading import load_engine, settle_dtype
from emoe_audit.steps.checks import find_languages
from emoe_audit.types import EnsembleSpec, Prompt, ScoringConfig
from emoe_audit.validity.check import check_probes, probe

CAPTIONS = 12
"""Captions that the order is chosen on, and as many others that it is measured on, each in every language."""
LEVEL = 0.95
"""Of intervals."""
LOTS = 100
"""Orders that are drawn by lot."""
COUNTED, TIMED = 8, 32
"""Prompts of which operations are counted, and that are timed."""
EXACT = Rho(rho=1.0, low=1.0, high=1.0)
OF_TEXT = (TRANSLATION_SCORE, UNFAMILIARITY)
"""Scores of the text encoder alone, which every prefix has as the whole has them."""


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
    prefixes = []
    for part in order:
        outcome = check_probes(PartEngine(measured, part), probes, progress)
        names = [engine.ensemble.experts[place] for place in part.experts]
        prefixes.append(
            Prefix(
                experts=tuple(names),
                n_noise=part.n_noise,
                gflop=costs.gflop(part),
                cost=costs.gflop(part) / costs.gflop(measured.whole),
                seconds=costs.seconds(part),
                n_bytes=footprint_of(spec, names, engine.config.dtype).weights("all"),
                weights_hash=weights_hash(
                    engine.ensemble.base_hash, [engine.ensemble.expert_hashes[place] for place in part.experts]
                ),
                default_score=outcome.default_score,
                signs={score.name: score.sign for score in outcome.scores},
                scores=worth.of(part),
            )
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
        prefixes=tuple(prefixes),
    )


def split_captions(spec: EnsembleSpec, n_captions: int, seed: int, n_parts: int = 2) -> list[pd.DataFrame]:
    """Disjoint sets of captions by lot, a row a caption and a column a language; the ensemble's, or those that ship.

    Raises:
        EnsembleError: there are not so many.
    """
    own = caption_matrix(spec) if spec.captions else pd.DataFrame(columns=list(IMAGE_COLUMNS))
    plain = own[is_plain(own)].set_index("source_id").drop(columns=list(GROUP_COLUMNS))
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


class Agreement:
    """How well all scores of a part go with those of the whole, over some texts: the least of their correlations."""

    def __init__(self, measured: Measured, texts: Sequence[str], progress: Progress = silent) -> None:
        self._measured, self._texts = measured, texts
        self._whole = measured.scores(texts, measured.whole, progress)
        self._known: dict[Part, dict[str, float]] = {}

    def __call__(self, part: Part) -> float:
        """Of the part; NaN where one of its scores is the same for all texts."""
        return float(np.min(list(self.by_score(part).values())))

    def by_score(self, part: Part) -> dict[str, float]:
        """Spearman of each registered score, by name; NaN for the text alone."""
        if part not in self._known:
            own = self._measured.scores(self._texts, part)
            self._known[part] = {name: spearman(own[name].to_numpy(), self._whole[name].to_numpy()) for name in SCORES}
        return self._known[part]


class Worth:
    """What a part is worth on prompts that the order was not chosen on."""

    def __init__(
        self,
        measured: Measured,
        rows: pd.DataFrame,
        coverage: pd.Series | None,
        lots: Sequence[Sequence[Part]],
        progress: Progress = silent,
    ) -> None:
        """Of prompts `source_id, language, prompt`; `lots` are the orders that were drawn."""
        self._measured, self._rows, self._coverage, self._lots = measured, rows, coverage, lots
        self._texts = rows["prompt"].to_list()
        self._agreement = Agreement(measured, self._texts, progress)
        self._whole = measured.scores(self._texts, measured.whole)

    def of(self, part: Part) -> dict[str, Fidelity]:
        """By score; those of the experts are left out where none is asked."""
        found = {
            name: Fidelity(
                fidelity=EXACT, within_language=EXACT, by_language=EXACT, by_lot=None, coverage=self._covered(values)
            )
            for name, values in self._of_text.items()
        }
        if not part.n_noise:
            return found
        own = self._measured.scores(self._texts, part)
        return found | {name: self._of_score(name, own[name].to_numpy(), part) for name in SCORES}

    def _of_score(self, name: str, values: np.ndarray, part: Part) -> Fidelity:
        is_whole = part == self._measured.whole
        frame = self._rows.assign(own=values, whole=self._whole[name].to_numpy())
        return Fidelity(
            fidelity=EXACT if is_whole else _rho(correlate_prompts(frame, "own", "whole")),
            within_language=EXACT if is_whole else self._within(frame),
            by_language=EXACT if is_whole else _rho(correlate_groups(frame, "own", "whole", by="language")),
            by_lot=None if is_whole else self._by_lot(name, part),
            coverage=self._covered(values),
        )

    def _by_lot(self, name: str, part: Part) -> float | None:
        at_that = [own for lot in self._lots if (own := at_cost(lot, part)) is not None]
        found = [self._agreement.by_score(own)[name] for own in at_that]
        return float(np.mean(found)) if found and np.isfinite(found).all() else None

    def _within(self, frame: pd.DataFrame) -> Rho:
        """The mean of the correlations within languages, and Student's t over these."""
        rhos = [spearman(own["own"].to_numpy(), own["whole"].to_numpy()) for _, own in frame.groupby("language")]
        known = np.array([rho for rho in rhos if np.isfinite(rho)])
        if len(known) < 2:
            return Rho(rho=None, low=None, high=None)
        half = half_width(float(known.std(ddof=1) / np.sqrt(len(known))), len(known) - 1, LEVEL)
        mean = float(known.mean())
        return (
            Rho(rho=mean, low=mean - half, high=mean + half)
            if np.isfinite(half)
            else Rho(rho=mean, low=mean, high=mean)
        )

    def _covered(self, values: np.ndarray) -> Rho | None:
        if self._coverage is None:
            return None
        frame = self._rows.assign(own=values)
        return _rho(correlate_groups(frame, "own", "coverage", by="language", known=self._coverage))

    @cached_property
    def _of_text(self) -> Mapping[str, np.ndarray]:
        engine = self._measured.engine
        languages = find_languages(engine)
        vectors, states = engine.read_with_states(self._texts)
        tags = self._rows["language"].to_list()
        readings = Readings(vectors=vectors, languages=tags, sources=self._rows["source_id"].to_list())
        judged = Readers.fit(readings, languages.calibration).judge(readings)
        return {
            TRANSLATION_SCORE: judged[TRANSLATION_SCORE].to_numpy(),
            UNFAMILIARITY: languages.familiarity.judge(states, tags),
        }


def _rho(row: pd.DataFrame) -> Rho:
    rho, low, high = (None if np.isnan(own) else float(own) for own in row.iloc[0][["rho", "low", "high"]])
    return EXACT if rho == 1 else Rho(rho=rho, low=low, high=high)


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
