"""The text encoder of an ensemble, asked alone: no expert sees these texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import CLIPTokenizer

from emoe_audit.experts.text_encoders import TextEncoder
from emoe_audit.progress import Progress, chunks, silent
from emoe_audit.scoring.conditioning import count_tokens, encode_prompts
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.scoring.sketch import sketch

CHUNK = 128


@dataclass(frozen=True, kw_only=True)
class TextReader:
    """Counts tokens of texts and reads them."""

    tokenizer: CLIPTokenizer
    max_length: int
    encoders: Sequence[TextEncoder]
    batch_size: int
    progress: Progress = silent

    @classmethod
    def of(cls, engine: ScoringEngine, progress: Progress = silent) -> TextReader:
        """That of an engine."""
        own = engine.ensemble
        return cls(
            tokenizer=own.tokenizer,
            max_length=own.max_length,
            encoders=own.text_encoders,
            batch_size=engine.batch_size,
            progress=progress,
        )

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        return [count.n_tokens for count in count_tokens(texts, self.tokenizer, self.max_length)]

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, without begin and end."""
        ids: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False, verbose=False).input_ids
        return ids

    def read(self, texts: Sequence[str]) -> np.ndarray:
        """How the encoder reads each text, as sketches `[text, bucket]`; equal texts are read once."""
        distinct = list(dict.fromkeys(texts))
        places, rows = {text: place for place, text in enumerate(distinct)}, []
        for number, part in enumerate(chunks(distinct, CHUNK)):
            self.progress("reading", number * CHUNK, len(distinct))
            rows.append(sketch(encode_prompts(part, self.encoders, self.batch_size).summary).cpu().numpy())
        self.progress("reading", len(distinct), len(distinct))
        read: np.ndarray = np.concatenate(rows)[[places[text] for text in texts]]
        return read
