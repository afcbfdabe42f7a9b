"""How many texts the experts of an ensemble are asked for, counted where they are asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest

from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.types import Prompt


def texts_asked_for(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by the texts of every call."""
    asked: list[int] = []
    score, features = ScoringEngine.score, ScoringEngine.features

    def counted_score(own: ScoringEngine, prompts: Sequence[Prompt]) -> pd.DataFrame:
        asked.append(len(prompts))
        return score(own, prompts)

    def counted_features(own: ScoringEngine, states: Any, noise_index: int) -> Any:
        asked.append(len(states))
        return features(own, states, noise_index)

    monkeypatch.setattr(ScoringEngine, "score", counted_score)
    monkeypatch.setattr(ScoringEngine, "features", counted_features)
    return asked
