"""Prompts into text states, exactly as the pipeline does it, and how many tokens each prompt took."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import regex
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import CLIPTokenizer

from emoe_audit.experts.text_encoders import TextEncoder

WORD_BREAK = regex.compile(r"(?V1)(?w)\b")
TEXTS = 64
"""Texts that pass a text encoder at once; as many take far less memory in it than in an expert."""
WORD = regex.compile(r"[\p{L}\p{N}\p{Extended_Pictographic}\p{Regional_Indicator}]")


@dataclass(frozen=True, kw_only=True)
class TokenCount:
    """How a tokenizer took a prompt. Token count is a confounder of language, so it stands next to every score."""

    n_tokens: int
    """Without begin, end and padding, before the prompt was cut."""
    tokens_per_word: float
    """NaN for a prompt without words."""
    truncated: bool


@dataclass(frozen=True, kw_only=True)
class TextStates:
    """What the experts are given of some prompts."""

    embeds: Float[Tensor, "batch token state"]
    """Diffusers' `prompt_embeds`."""
    pooled: Float[Tensor, "batch width"] | None = None
    """Diffusers' `pooled_prompt_embeds`, in SDXL."""
    summary: Float[Tensor, "batch width"]
    """The last encoder's state at the end of the text, by which CLIP compares texts; no expert is given it."""
    unnormed: Float[Tensor, "batch hidden"]
    """The same state before the last layer norm, which makes all states alike in length."""
    own: tuple[TextStates, ...] = ()
    """What each expert is given, where experts bring text encoders of their own."""

    def of(self, expert: int) -> TextStates:
        """What an expert is given."""
        return self.own[expert] if self.own else self

    def with_own(self, own: Sequence[TextStates]) -> TextStates:
        """Each expert is given its own; what the prompts are read as is the mean over experts."""
        return replace(
            self,
            own=tuple(own),
            summary=torch.stack([states.summary for states in own]).mean(dim=0),
            unnormed=torch.stack([states.unnormed for states in own]).mean(dim=0),
        )

    def __len__(self) -> int:
        return len(self.embeds)

    def split(self, size: int) -> list[TextStates]:
        """In batches of `size` prompts."""
        return [self._rows(slice(start, start + size)) for start in range(0, len(self), size)]

    def _rows(self, rows: slice) -> TextStates:
        return TextStates(
            embeds=self.embeds[rows],
            pooled=None if self.pooled is None else self.pooled[rows],
            summary=self.summary[rows],
            unnormed=self.unnormed[rows],
            own=tuple(states._rows(rows) for states in self.own),
        )


def encode_prompts(
    prompts: Sequence[str], encoders: Sequence[TextEncoder], batch_size: int = TEXTS, *, clip_skip: int | None = None
) -> TextStates:
    """States as the pipeline makes them, of prompts padded and cut to the encoders' number of tokens.

    One encoder gives its last hidden states, as in `StableDiffusionPipeline`; two give those before the last layer,
    side by side, and the second its pooled state, as in `StableDiffusionXLPipeline`. With `clip_skip` as many layers
    more are left out of what experts are given, as in both; of one encoder the last layer norm follows. The padding is
    not masked unless the encoder's configuration says so.
    """
    is_pair = len(encoders) == 2
    found: list[list[TextStates]] = []
    for index in range(len(encoders)):
        encoder = encoders[index]
        batches = [prompts[start : start + batch_size] for start in range(0, len(prompts), batch_size)]
        found.append([_encode(batch, encoder, clip_skip, is_pair=is_pair) for batch in batches])
        del encoder  # where parts are streamed, this one goes before the next one comes
    summary = torch.cat([part.summary for part in found[-1]])
    return TextStates(
        embeds=torch.cat([torch.cat([part.embeds for part in parts]) for parts in found], dim=-1),
        pooled=summary if is_pair else None,
        summary=summary,
        unnormed=torch.cat([part.unnormed for part in found[-1]]),
    )


@torch.inference_mode()
def _encode(prompts: Sequence[str], encoder: TextEncoder, clip_skip: int | None, *, is_pair: bool) -> TextStates:
    """What one encoder makes of the prompts; the first of a pair has no summary of its own."""
    tokens = encoder.tokenizer(
        list(prompts), padding="max_length", max_length=encoder.max_length, truncation=True, return_tensors="pt"
    ).to(encoder.model.device)
    mask = tokens.attention_mask if getattr(encoder.model.config, "use_attention_mask", False) else None
    with _before_last_norm(encoder.model) as unnormed:
        out: Any = encoder.model(
            tokens.input_ids, attention_mask=mask, output_hidden_states=is_pair or clip_skip is not None
        )
    if is_pair:
        embeds = out.hidden_states[-2 - (clip_skip or 0)]
    elif clip_skip is None:
        embeds = out.last_hidden_state
    else:
        embeds = _last_norm(encoder.model)(out.hidden_states[-1 - clip_skip])
    end = (tokens.input_ids == encoder.tokenizer.eos_token_id).int().argmax(dim=1)
    return TextStates(
        embeds=embeds,
        summary=out.text_embeds if "text_embeds" in out else out.pooler_output,
        unnormed=unnormed[0][torch.arange(len(end), device=end.device), end],
    )


@contextmanager
def _before_last_norm(model: nn.Module) -> Iterator[list[Tensor]]:
    """What a text encoder gives its last layer norm, once it has been run."""
    kept: list[Tensor] = []
    hook = _last_norm(model).register_forward_pre_hook(lambda _module, args: kept.append(args[0]))
    try:
        yield kept
    finally:
        hook.remove()


def _last_norm(model: nn.Module) -> nn.Module:
    return next(module for name, module in model.named_modules() if name.endswith("final_layer_norm"))


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
