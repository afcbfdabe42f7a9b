"""A scoring engine wherever it is: in this process (`emoe_audit.scoring.engine`) or on a cluster's workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import pandas as pd

from emoe_audit.analysis.languages import Languages
from emoe_audit.experts.public_readers import PublicReader
from emoe_audit.progress import Progress, silent
from emoe_audit.types import EnsembleSpec, Prompt, ScoringConfig

T = TypeVar("T")
R = TypeVar("R")


@runtime_checkable
class Described(Protocol):
    """What is to be known of an ensemble without its weights."""

    @property
    def spec(self) -> EnsembleSpec: ...  # noqa: D102

    @property
    def ensemble_hash(self) -> str: ...  # noqa: D102

    @property
    def base_hash(self) -> str: ...  # noqa: D102

    @property
    def expert_hashes(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def tokenizer(self) -> Any: ...  # noqa: D102

    @property
    def max_length(self) -> int: ...  # noqa: D102

    @property
    def public_reader(self) -> PublicReader | None: ...  # noqa: D102


@runtime_checkable
class AnyEngine(Protocol):
    """What is asked of an engine by the steps of an audit; what each does stands in `ScoringEngine`."""

    config: ScoringConfig
    languages: Languages | None

    @property
    def ensemble(self) -> Described: ...  # noqa: D102

    @property
    def ensemble_hash(self) -> str: ...  # noqa: D102

    def score(self, prompts: Sequence[Prompt]) -> pd.DataFrame: ...  # noqa: D102

    def read_texts(self, texts: Sequence[str], progress: Progress = silent) -> np.ndarray: ...  # noqa: D102

    def read_with_states(  # noqa: D102
        self, texts: Sequence[str], progress: Progress = silent
    ) -> tuple[np.ndarray, np.ndarray]: ...

    def have(self, work: Callable[[Any, T, Progress], R], of: T, progress: Progress = silent) -> R: ...  # noqa: D102
