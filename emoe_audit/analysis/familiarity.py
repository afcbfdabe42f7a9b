"""How little a text encoder makes of a prompt, against captions of its own language that are known: for one language.

A layer of a transformer adds to its state what it finds in the text, and the layer norm at the end takes the length of
the sum away. Before it, the state at the end of a text lies the further from the mean of its language the more was
found. Deep features are long on what a model was trained on and short on what is strange to it (Park et al.,
Understanding the Feature Norm for Out-of-Distribution Detection, ICCV 2023); here the same is asked of a text encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emoe_audit.analysis.calibration import rows_of_languages

UNFAMILIARITY = "unfamiliarity"
"""The name of the score."""
SHORTEST = 0.01
"""Length of a state, as a share of that of captions in the best language, that none is taken to be below."""
ROUNDING = 1e-6
"""Length of what is left of a state, as a share of the whole, below which nothing is left."""


@dataclass(frozen=True, kw_only=True)
class Familiarity:
    """Where the states of each language lie, and how long they are."""

    languages: tuple[str, ...]
    means: np.ndarray
    """Mean state before the last layer norm, `[language, state]`."""
    lengths: np.ndarray
    """Mean length of what is left of a caption without it, `[language]`."""

    @classmethod
    def fit(cls, states: np.ndarray, languages: Sequence[str]) -> Familiarity:
        """From captions `[caption, state]` of finite states, in languages that have enough, see `rows_of_languages`.

        No language is known to an encoder that makes the same of every caption of its language.
        """
        finite = np.isfinite(states).all(axis=1)
        states, named = states[finite], np.array(languages, dtype=object)[finite]
        known = rows_of_languages(named.tolist())
        rows = [states[own] for own in known.values()]
        exact = np.reshape([own.mean(axis=0) for own in rows], (len(known), states.shape[1]))
        lengths = np.array([_lengths(own - mean).mean() for own, mean in zip(rows, exact, strict=True)])
        means = exact.astype(np.float32)
        if not (lengths > ROUNDING * _lengths(means)).any():
            return cls(languages=(), means=means[:0], lengths=lengths[:0])
        return cls(languages=tuple(known), means=means, lengths=lengths)

    @property
    def best(self) -> str | None:
        """The language of whose captions most is made, in which states are longest; None where none is known."""
        return self.languages[int(self.lengths.argmax())] if self.languages else None

    def judge(self, states: np.ndarray, languages: Sequence[str]) -> np.ndarray:
        """The score of each prompt, `[prompt]`, from its state before the last layer norm, `[prompt, state]`.

        The mean length of captions in the best language over the prompt's own: 1 where as much is made of it as of
        these, 2 where half as much is, at most 100. A language of a region (`en-US`) is taken for the one that is known
        (`en`). NaN in a language of which no captions are known, and for a state that is not finite. A prompt's number
        depends on no other prompt.
        """
        place = pd.Index(self.languages).get_indexer(pd.Index(map(self._known_as, languages), dtype=object))
        score, known = np.full(len(states), np.nan), (place >= 0) & np.isfinite(states).all(axis=1)
        if not known.any():
            return score
        lengths, longest = _lengths(states[known] - self.means[place[known]]), float(self.lengths.max())
        score[known] = longest / np.maximum(lengths, SHORTEST * longest)
        return score

    def _known_as(self, language: str) -> str:
        while language and language not in self.languages:
            language = language.rpartition("-")[0]
        return language

    def to_frame(self) -> pd.DataFrame:
        """A row per language: `language`, `mean` as bytes of float32, `length`."""
        content = [row.astype(np.float32).tobytes() for row in self.means]
        return pd.DataFrame({"language": list(self.languages), "mean": content, "length": self.lengths})

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Familiarity:
        """From `to_frame`. Raises `ValueError` where the rows do not fit together."""
        means = [np.frombuffer(row, dtype=np.float32) for row in frame["mean"]]
        return cls(
            languages=tuple(frame["language"]),
            means=np.stack(means) if means else np.empty((0, 0), dtype=np.float32),
            lengths=frame["length"].to_numpy(dtype=np.float64),
        )


def _lengths(vectors: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.linalg.norm(vectors.astype(np.float64), axis=1)
    return found
