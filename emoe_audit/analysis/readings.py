"""Readings of prompts: how a text encoder reads each, with its language and its caption."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emoe_audit.progress import Progress, chunks, silent

FEATURES, NOISES = "features", "_noises"
"""Columns that an engine gives beside readings for what a further noise is added to; the second ends their names."""


@dataclass(frozen=True, kw_only=True)
class Readings:
    """States of the text encoder at the end of each prompt, as sketches `[prompt, bucket]`."""

    vectors: np.ndarray
    languages: Sequence[str]
    sources: Sequence[str]
    """Captions: prompts of one source are translations of each other."""

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Readings:
        """From columns `reading` (text state, then mid-block, in a row), `language` and `source_id`."""
        rows = [np.asarray(row, dtype=np.float32)[: len(row) // 2] for row in frame["reading"]]
        return cls(
            vectors=np.stack(rows) if rows else np.empty((0, 0), dtype=np.float32),
            languages=frame["language"].to_list(),
            sources=frame["source_id"].to_list(),
        )

    def take(self, rows: np.ndarray) -> Readings:
        """Some of the prompts, by position."""
        return Readings(
            vectors=self.vectors[rows],
            languages=[self.languages[row] for row in rows],
            sources=[self.sources[row] for row in rows],
        )


def read_once(
    texts: Sequence[str], read: Callable[[list[str]], np.ndarray], size: int, progress: Progress = silent
) -> np.ndarray:
    """The vectors of texts, `[text, state]`, in order; equal texts are read once, `size` at a time."""
    place = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    found: list[np.ndarray] = []
    for part in chunks(list(place), size):
        progress("reading", len(found) * size, len(place))
        found.append(read(part))
    progress("reading", len(place), len(place))
    vectors: np.ndarray = np.concatenate(found)[[place[text] for text in texts]]
    return vectors


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors at length 1 along the last axis; nothing stays nothing."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 1e-6)
