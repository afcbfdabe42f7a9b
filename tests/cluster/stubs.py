"""Engines that workers can be told to load: they answer at once, and fail or die over some texts."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emoe_audit.types import Prompt


@dataclass(frozen=True, kw_only=True)
class Load:
    """Loads an engine that scores a prompt by its length."""

    fails: frozenset[str] = frozenset()
    """Texts that it cannot score."""
    kills: frozenset[str] = frozenset()
    """Texts that end its process."""
    seconds: float = 0.0
    """That a prompt takes."""
    weights: str = "e" * 64

    def __call__(self) -> Length:
        return Length(self)


class Length:
    """Such an engine."""

    def __init__(self, asked: Load) -> None:
        self.asked, self.ensemble_hash = asked, asked.weights
        self.scored: list[str] = []

    def score(self, prompts: Sequence[Prompt]) -> pd.DataFrame:
        texts = [prompt.prompt for prompt in prompts]
        time.sleep(self.asked.seconds * len(texts))
        if self.asked.kills.intersection(texts):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.asked.fails.intersection(texts):
            raise ValueError("no")
        self.scored += texts
        lengths = [float(len(text)) for text in texts]
        columns = {"disagreement": lengths, "relative_disagreement": lengths, "reading": [np.ones(8)] * len(texts)}
        return pd.DataFrame({"prompt_id": [prompt.prompt_id for prompt in prompts], **columns})
