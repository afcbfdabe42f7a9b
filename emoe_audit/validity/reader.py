"""The text encoder of an ensemble, asked alone: no expert sees these texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emoe_audit.progress import Progress, silent
from emoe_audit.scoring.anywhere import AnyEngine
from emoe_audit.scoring.conditioning import count_tokens


@dataclass(frozen=True, kw_only=True)
class TextReader:
    """Counts and names the tokens of texts, and reads them."""

    engine: AnyEngine
    progress: Progress = silent

    @property
    def n_tokens(self) -> int:
        """Size of the vocabulary."""
        return len(self.engine.ensemble.tokenizer)

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        own = self.engine.ensemble
        return [count.n_tokens for count in count_tokens(texts, own.tokenizer, own.max_length)]

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, without begin and end."""
        tokenizer = self.engine.ensemble.tokenizer
        ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, verbose=False).input_ids
        return ids

    def read(self, texts: Sequence[str]) -> np.ndarray:
        """How the encoder reads each text, as sketches `[text, bucket]`."""
        return self.engine.read_texts(texts, self.progress)

    def states(self, texts: Sequence[str]) -> np.ndarray:
        """The states before the last norm, `[text, state]`."""
        return self.engine.read_with_states(texts, self.progress)[1]
