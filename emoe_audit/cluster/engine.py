"""The scoring engine of an audit whose ensemble only the workers have: what is asked of it goes to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import pandas as pd

from emoe_audit.analysis.languages import Languages
from emoe_audit.errors import EnsembleError
from emoe_audit.experts.public_readers import PublicReader
from emoe_audit.progress import Progress, silent
from emoe_audit.runs.store import RunStore
from emoe_audit.scoring.loading import load_engine, settle_dtype
from emoe_audit.steps.hands import Row
from emoe_audit.steps.scores import Engine, Scoring, score_by
from emoe_audit.types import Dtype, EnsembleSpec, Prompt, ScoringConfig, Stage

if TYPE_CHECKING:
    from emoe_audit.cluster.crew import Crew
    from emoe_audit.scoring.engine import ScoringEngine

T = TypeVar("T")
R = TypeVar("R")
READ_CHUNK, ASK_CHUNK = 512, 64
"""Texts that a worker reads, and prompts of the check that it scores, at a time."""


@dataclass(frozen=True, kw_only=True)
class EngineLoader:
    """Loads the engine of an ensemble, wherever it is called."""

    spec: EnsembleSpec
    scoring: ScoringConfig

    def __call__(self) -> ScoringEngine:
        """The engine. Raises `EnsembleError`."""
        return load_engine(self.spec, self.scoring)


@dataclass(frozen=True, kw_only=True)
class Settling:
    """A worker settles the number type, on the device that will score."""

    scoring: ScoringConfig
    stage: Stage = "score"

    def load(self) -> None:
        """Nothing."""

    def work(self, _loaded: None, _own: RunStore, _rows: Sequence[Any]) -> ScoringConfig:
        """The same settings with a number type."""
        return settle_dtype(self.scoring)


def settle_there(crew: Crew, scoring: ScoringConfig, stored: Dtype | None) -> ScoringConfig:
    """`dtype="auto"` settled: the type that a run is stored with, else the fastest on the device of a worker."""
    if scoring.dtype != "auto" or stored is not None:
        return settle_dtype(scoring, stored)
    (settled,) = crew.ask(Settling(scoring=scoring), [None], 1)
    return cast(ScoringConfig, settled)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of an ensemble without its weights."""

    spec: EnsembleSpec
    ensemble_hash: str
    base_hash: str
    expert_hashes: tuple[str, ...]
    tokenizer: Any
    max_length: int
    public_reader: PublicReader | None

    @classmethod
    def of(cls, engine: ScoringEngine, _of: None, _progress: Progress) -> Facts:
        """Those of the ensemble of an engine."""
        own = engine.ensemble
        return cls(
            spec=own.spec,
            ensemble_hash=own.ensemble_hash,
            base_hash=own.base_hash,
            expert_hashes=own.expert_hashes,
            tokenizer=own.tokenizer,
            max_length=own.max_length,
            public_reader=own.public_reader,
        )


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Something is asked of the engines of the workers."""

    load: Callable[[], Any]
    ask: Callable[[Any, Sequence[Any]], Any]
    """Called with an engine and what is asked of it."""
    languages: Languages | None = None
    stage: Stage = "score"

    def work(self, loaded: Any, _own: RunStore, rows: Sequence[tuple[int, Any]]) -> Any:
        """The answer; what is asked comes numbered."""
        loaded.languages = self.languages
        return self.ask(loaded, [row for _, row in rows])


@dataclass(frozen=True, kw_only=True)
class ScoringThere(Scoring):
    """Prompts are scored by workers, each with the engine that it has loaded."""

    ensemble_hash: str
    languages: Languages | None = None

    def work(self, loaded: Engine, own: RunStore, rows: Sequence[Row]) -> None:
        """Add a shard of scores. Raises `EnsembleError` where the weights of this machine are others."""
        if loaded.ensemble_hash != self.ensemble_hash:
            raise EnsembleError(
                "the machines of the cluster do not hold the same weights of this ensemble, so their scores cannot "
                "stand beside each other; name a folder that all see, or a --revision"
            )
        loaded.languages = self.languages  # type: ignore[attr-defined]  # which an engine of somebody's own may not have
        super().work(loaded, own, rows)


class ClusterEngine:
    """Answers as `ScoringEngine` does, from the workers' own; no weight is loaded in this process."""

    def __init__(self, crew: Crew, load: Callable[[], Any], config: ScoringConfig) -> None:
        """Of what the workers load by calling `load`, with settings whose number type is settled."""
        self.config = config
        self.languages: Languages | None = None
        self._crew, self._load = crew, load

    @classmethod
    def of(cls, crew: Crew, spec: EnsembleSpec, scoring: ScoringConfig) -> ClusterEngine:
        """That of an ensemble, under settings whose number type is settled."""
        return cls(crew, EngineLoader(spec=spec, scoring=scoring), scoring)

    @cached_property
    def ensemble(self) -> Facts:
        """What a worker says of the ensemble."""
        facts: Facts = self.have(Facts.of, None)
        return facts

    @cached_property
    def ensemble_hash(self) -> str:
        """SHA-256 over what takes part in a score."""
        return self.have(_hash_of, None)

    def score_pending(self, store: RunStore, progress: Progress) -> None:
        """Have the workers score every prompt of a run that has no score yet, with what is known of its languages."""
        job = ScoringThere(load=self._load, ensemble_hash=self.ensemble_hash, languages=self.languages)
        score_by(self._crew, job, store, progress, parts=self._crew.parts)

    def score(self, prompts: Sequence[Prompt]) -> pd.DataFrame:
        """A row per prompt, in order, each scored by one of the workers."""
        asked = Asked(load=self._load, ask=_score, languages=self.languages)
        return pd.concat(self._crew.ask(asked, prompts, ASK_CHUNK), ignore_index=True)

    def read_texts(self, texts: Sequence[str], progress: Progress = silent) -> np.ndarray:
        """The first part of the readings, for which no expert is asked; equal texts are read once."""
        return self.read_with_states(texts, progress)[0]

    def read_with_states(self, texts: Sequence[str], progress: Progress = silent) -> tuple[np.ndarray, np.ndarray]:
        """The same, and beside it the state of each text before the last norm."""
        place = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        progress("reading", 0, len(place))
        parts = self._crew.ask(Asked(load=self._load, ask=_read), list(place), READ_CHUNK)
        progress("reading", len(place), len(place))
        rows = [place[text] for text in texts]
        vectors, states = (np.concatenate([part[half] for part in parts])[rows] for half in range(2))
        return vectors, states

    def have(self, work: Callable[[Any, T, Progress], R], of: T, progress: Progress = silent) -> R:
        """What some work on the engine of one worker finds."""
        (found,) = self._crew.ask(Asked(load=self._load, ask=_Have(work=work)), [of], 1, is_timed=False)
        return found


@dataclass(frozen=True, kw_only=True)
class _Have:
    work: Callable[[Any, Any, Progress], Any]

    def __call__(self, engine: ScoringEngine, asked: Sequence[Any]) -> Any:
        return self.work(engine, asked[0], silent)


def _hash_of(engine: Engine, _of: None, _progress: Progress) -> str:
    return engine.ensemble_hash


def _score(engine: ScoringEngine, prompts: Sequence[Prompt]) -> pd.DataFrame:
    return engine.score(prompts)


def _read(engine: ScoringEngine, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    return engine.read_with_states(texts)
