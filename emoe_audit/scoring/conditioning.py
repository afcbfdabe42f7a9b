"""Prompts into text states, exactly as the pipeline does it, and how many tokens each prompt took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import regex
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

WORD_BREAK = regex.compile(r"(?V1)(?w)\b")
WORD = regex.compile(r"[\p{L}\p{N}\p{Extended_Pictographic}\p{Regional_Indicator}]")


@dataclass(frozen=True, kw_only=True)
class TokenCount:
    """How a tokenizer took a prompt. Token count is a confounder of language, so it stands next to every score."""

    n_tokens: int
    """Without begin, end and padding, before the prompt was cut."""
    tokens_per_word: float
    """NaN for a prompt without words."""
    truncated: bool


def encode_prompts(
    prompts: Sequence[str], tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, max_length: int
) -> Float[Tensor, "batch token state"]:
    """Diffusers' `prompt_embeds`: last hidden states of the text encoder, padded and cut to `max_length` tokens.

    The padding is not masked unless the text encoder's configuration says so, as in `StableDiffusionPipeline`.
    """
    tokens = tokenizer(
        list(prompts), padding="max_length", max_length=max_length, truncation=True, return_tensors="pt"
    ).to(text_encoder.device)
    mask = tokens.attention_mask if getattr(text_encoder.config, "use_attention_mask", False) else None
    with torch.inference_mode():
        states: Tensor = text_encoder(tokens.input_ids, attention_mask=mask).last_hidden_state
    return states


def count_tokens(prompts: Sequence[str], tokenizer: CLIPTokenizer, max_length: int) -> list[TokenCount]:
    """Tokens, tokens per word, and whether the end was cut off, for each prompt."""
    if not prompts:
        return []
    room = max_length - tokenizer.num_special_tokens_to_add()
    ids = tokenizer(list(prompts), add_special_tokens=False, verbose=False).input_ids
    return [
        TokenCount(
            n_tokens=len(own),
            tokens_per_word=_ratio(len(own), count_words(prompt)),
            truncated=len(own) > room,
        )
        for prompt, own in zip(prompts, ids, strict=True)
    ]


def count_words(text: str) -> int:
    """Words by the default word boundaries of Unicode (UAX #29) that hold a letter, a digit or an emoji.

    UAX #29 uses no dictionary: in scripts that are written without spaces every Han or Hiragana character, and
    every letter with its marks in Thai, Lao, Khmer or Myanmar, is a word. So `tokens_per_word` is tokens per
    character there, and is comparable within such a script, not across.
    """
    return sum(WORD.search(part) is not None for part in WORD_BREAK.split(text))


def _ratio(n_tokens: int, n_words: int) -> float:
    return n_tokens / n_words if n_words else float("nan")
