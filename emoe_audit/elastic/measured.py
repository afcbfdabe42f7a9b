"""Every part of an ensemble measured in one pass: each expert sees a prompt once under each noise."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from emoe_audit.analysis.languages import Languages
from emoe_audit.analysis.readings import NOISES
from emoe_audit.elastic.order import Part
from emoe_audit.errors import EnsembleError
from emoe_audit.experts.ensemble import Ensemble
from emoe_audit.progress import Progress, chunks, silent
from emoe_audit.scoring.conditioning import TextStates
from emoe_audit.scoring.disagreement import SCORES, Score, feature_power
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.types import Prompt

MOST_EXPERTS = 8
"""Of which every choice is measured: 247 of them."""
CHUNK = 256
COUNTS = ("n_tokens", "tokens_per_word")
"""What is measured of a text whatever the part."""
T = TypeVar("T")
R = TypeVar("R")


class Measured:
    """What every choice of experts gives of a text under each noise, kept for each text that was asked for."""

    def __init__(self, engine: ScoringEngine) -> None:
        """Of the engine of the whole.

        Raises:
            EnsembleError: it has gated paths, on which an expert's features depend on the others, text encoders of the
                experts' own, or too many experts.
        """
        own = engine.ensemble
        if own.spec.top_k is not None:
            raise EnsembleError(
                f"{own.spec.name}: on gated paths (`top_k`) an expert's features depend on the others, so that a part "
                "of the ensemble is no prefix of it; leave `top_k` out"
            )
        if own.own_texts:
            raise EnsembleError(
                f"{own.spec.name}: with text encoders of the experts' own (`text_encoders: own`) what a prompt is read "
                "as rests on which are asked, so that a part of the ensemble is no prefix of it"
            )
        if len(own.experts) > MOST_EXPERTS:
            raise EnsembleError(f"{own.spec.name}: {len(own.experts)} experts; orders are measured for {MOST_EXPERTS}")
        self.engine = engine
        self.whole = Part(experts=tuple(range(len(own.experts))), n_noise=engine.config.n_noise)
        self.names = (*SCORES, "feature_power")
        scores: dict[str, Score] = {**SCORES, "feature_power": feature_power}
        sizes = range(2, len(own.experts) + 1)
        choices = itertools.chain.from_iterable(itertools.combinations(self.whole.experts, size) for size in sizes)
        measures = {
            _column(name, choice): partial(_of, score, choice) for choice in choices for name, score in scores.items()
        }
        self._engine = ScoringEngine(own, engine.config, measures)
        self._known: dict[str, dict[str, Any]] = {}

    def scores(self, texts: Sequence[str], part: Part, progress: Progress = silent) -> pd.DataFrame:
        """What a part gives of some texts, a row each in order, a column by name; the text alone gives no number."""
        if not part.n_noise:
            return pd.DataFrame(np.nan, index=range(len(texts)), columns=list(self.names))
        self._measure(texts, progress)
        columns = [f"{_column(name, part.experts)}{NOISES}" for name in self.names]
        found = {
            name: [float(self._known[text][column][: part.n_noise].mean(dtype=np.float64)) for text in texts]
            for name, column in zip(self.names, columns, strict=True)
        }
        counted = {name: [self._known[text][name] for text in texts] for name in COUNTS}
        return pd.DataFrame(found | counted)

    def _measure(self, texts: Sequence[str], progress: Progress) -> None:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        for number, part in enumerate(chunks(new, CHUNK)):
            progress("measuring", number * CHUNK, len(new))
            rows = self._engine.score([Prompt(prompt_id=text, prompt=text) for text in part])
            self._known |= dict(zip(part, rows.to_dict("records"), strict=True))
        if new:
            progress("measuring", len(new), len(new))


def _column(name: str, choice: tuple[int, ...]) -> str:
    return f"{name} {choice}"


def _of(
    score: Score, choice: tuple[int, ...], features: Float[Tensor, "expert batch channel height width"]
) -> Float[Tensor, " batch"]:
    return score(features[list(choice)])


class PartEngine:
    """A part of an ensemble where an engine is asked for (`scoring.anywhere.AnyEngine`); nothing is loaded for it."""

    def __init__(self, measured: Measured, part: Part) -> None:
        own = measured.engine
        names = tuple(own.ensemble.experts[place] for place in part.experts)
        self._measured, self._whole, self.part = measured, own, part
        self.config = replace(own.config, experts=names, n_noise=part.n_noise)
        self.languages: Languages | None = own.languages

    @property
    def ensemble(self) -> Ensemble:
        """The whole."""
        return self._whole.ensemble

    @property
    def ensemble_hash(self) -> str:
        """Of the whole."""
        return self._whole.ensemble_hash

    @property
    def batch_size(self) -> int:
        """Prompts that pass an expert at once."""
        return self._whole.batch_size

    def score(self, prompts: Sequence[Prompt]) -> pd.DataFrame:
        """`prompt_id` and the scores that the part gives."""
        rows = self._measured.scores([prompt.prompt for prompt in prompts], self.part)
        return rows.assign(prompt_id=[prompt.prompt_id for prompt in prompts])

    def read_texts(self, texts: Sequence[str], progress: Progress = silent) -> np.ndarray:
        """As the whole reads them."""
        return self._whole.read_texts(texts, progress)

    def read_with_states(self, texts: Sequence[str], progress: Progress = silent) -> tuple[np.ndarray, np.ndarray]:
        """As the whole reads them."""
        return self._whole.read_with_states(texts, progress)

    def text_states(self, texts: Sequence[str]) -> TextStates:
        """What the experts are given of each text."""
        return self._whole.text_states(texts)

    def features(self, states: TextStates, noise_index: int) -> Float[Tensor, "expert batch channel height width"]:
        """Of the experts of the part."""
        return self._whole.features(states, noise_index)[list(self.part.experts)]

    def have(self, work: Callable[[Any, T, Progress], R], of: T, progress: Progress = silent) -> R:
        """What some work on this engine finds."""
        return work(self, of, progress)
