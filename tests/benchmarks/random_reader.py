"""A text encoder of random weights with CLIP's own tokens: what knows nothing, and what any score has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from open_clip.tokenizer import SimpleTokenizer
from transformers import CLIPTextConfig, CLIPTextModel

LONGEST = 76
SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}


@dataclass(frozen=True, kw_only=True)
class RandomReader:
    """Stands for a `TextReader`: CLIP's tokens, random weights."""

    seed: int
    tokenizer: SimpleTokenizer
    sizes: Mapping[str, Any]
    """Of a `CLIPTextConfig`."""

    n_tokens = 49_408

    @cached_property
    def model(self) -> CLIPTextModel:
        torch.manual_seed(self.seed)
        ends = {"bos_token_id": 49_406, "eos_token_id": 49_407, "pad_token_id": 49_407}
        return CLIPTextModel(CLIPTextConfig(**self.sizes, **ends)).eval()

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.tokenizer.encode(text)[: LONGEST - 1] for text in texts]

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(own) for own in self.ids(texts)]

    def read(self, texts: Sequence[str]) -> np.ndarray:
        """The state at the end of each text; causal, so that what comes after it changes nothing."""
        return self._read(texts)[0]

    def states(self, texts: Sequence[str]) -> np.ndarray:
        """The same before the last norm."""
        return self._read(texts)[1]

    def _read(self, texts: Sequence[str]) -> np.ndarray:
        ids = self.ids(texts)
        order = np.argsort([len(own) for own in ids], kind="stable")
        rows = np.empty((2, len(texts), self.sizes["hidden_size"]), np.float32)
        with torch.inference_mode():
            for part in np.array_split(order, max(1, len(order) // 128)):
                length = max(len(ids[row]) for row in part) + 2
                padded = [[49_406, *ids[row], *[49_407] * (length - 1 - len(ids[row]))] for row in part]
                out = self.model(torch.tensor(padded), output_hidden_states=True)
                ends = torch.tensor([len(ids[row]) + 1 for row in part])
                rows[0, part] = out.pooler_output.numpy()
                rows[1, part] = out.hidden_states[-1][torch.arange(len(ends)), ends].numpy()
        return rows
