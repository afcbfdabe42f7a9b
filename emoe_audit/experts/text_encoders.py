"""The text encoders of a checkpoint with their tokenizers: one for Stable Diffusion 1.x and 2.x, two for SDXL."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.designs import check_text_config
from emoe_audit.experts.folders import is_here
from emoe_audit.experts.models import assign_tensors
from emoe_audit.experts.part_files import check_config
from emoe_audit.experts.sources import TEXT_ENCODER_STEM, read_json, read_tensors, weight_files
from emoe_audit.readers.paths import unbroken

MODEL_TYPES = ("clip_text_model", "clip_text_model_with_projection")
TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
CONFIG_KEYS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "projection_dim",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "hidden_act",
    "layer_norm_eps",
    "attention_dropout",
    "initializer_range",
    "initializer_factor",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "use_attention_mask",
)
"""What transformers is told of a configuration; whatever else stands there does not reach it."""
PROJECTION = "text_projection.weight"
PREFIX = "text_model."


@dataclass(frozen=True, kw_only=True)
class TextEncoderWeights:
    """One text encoder as read from disk, keyed without the published `text_model.` prefix."""

    where: str
    config: CLIPTextConfig
    tensors: dict[str, Tensor]
    tokenizer: CLIPTokenizer

    @property
    def max_length(self) -> int:
        """Tokens of a prompt, begin and end included."""
        return int(min(self.tokenizer.model_max_length, self.config.max_position_embeddings))

    @property
    def has_projection(self) -> bool:
        """Whether it gives a pooled text state, as SDXL's second one does."""
        return PROJECTION in self.tensors


@dataclass(frozen=True, kw_only=True)
class TextEncoder:
    """A text encoder ready to be run."""

    tokenizer: CLIPTokenizer
    model: CLIPTextModel | CLIPTextModelWithProjection
    max_length: int


def read_text_encoders(folder: Path) -> tuple[TextEncoderWeights, ...]:
    """The encoders of a pipeline folder: `text_encoder` and `tokenizer`, in SDXL those with `_2` too.

    Both layouts are read: the published one (`text_model.encoder...`) and that of transformers 5 (`encoder...`).
    Raises `EnsembleError`.
    """
    return tuple(_read(folder / f"text_encoder{suffix}", folder / f"tokenizer{suffix}") for suffix in _suffixes(folder))


def read_text_tensors(folder: Path) -> list[dict[str, Tensor]]:
    """The weights alone of each encoder of a pipeline folder, keyed as in `TextEncoderWeights`.

    Raises `EnsembleError`.
    """
    return [_stored(folder / f"text_encoder{suffix}") for suffix in _suffixes(folder)]


def build_text_encoder(weights: TextEncoderWeights, tensors: dict[str, Tensor]) -> TextEncoder:
    """The encoder in evaluation mode, sharing memory with `tensors`. Raises `EnsembleError`."""
    model_class = CLIPTextModelWithProjection if weights.has_projection else CLIPTextModel
    try:
        with torch.device("meta"):
            model = model_class(weights.config)
    except Exception as error:  # what a constructor raises for fields that do not fit each other is not documented
        raise EnsembleError(f"{weights.where}: transformers cannot build this text encoder: {error}") from error
    prefix = PREFIX if weights.has_projection else ""
    assign_tensors(model, {_key(key, prefix): tensor for key, tensor in tensors.items()}, weights.where)
    inner = model.text_model if weights.has_projection else model
    device = next(iter(tensors.values())).device
    inner.embeddings.position_ids = torch.arange(weights.config.max_position_embeddings, device=device)[None]
    return TextEncoder(
        tokenizer=weights.tokenizer, model=model.requires_grad_(False).eval(), max_length=weights.max_length
    )


def _read(where: Path, tokenizer: Path) -> TextEncoderWeights:
    config = read_json(where / "config.json")
    if config.get("model_type") not in MODEL_TYPES:
        raise EnsembleError(f"{where}: model_type is {config.get('model_type')!r:.60}, expected {MODEL_TYPES[0]!r}")
    check_text_config(config, str(where))
    weights = TextEncoderWeights(
        where=str(where),
        config=_text_config(config, str(where)),
        tensors=_stored(where),
        tokenizer=_read_tokenizer(tokenizer),
    )
    _check_tokens(weights, str(tokenizer))
    return weights


def _check_tokens(weights: TextEncoderWeights, where: str) -> None:
    """Raise `EnsembleError` where the tokenizer gives what the encoder does not know, or no length."""
    largest, known = max(weights.tokenizer.get_vocab().values(), default=0), weights.config.vocab_size
    if largest >= known:
        raise EnsembleError(
            f"{where}: gives ids up to {largest}, but {weights.where} knows {known}; are they of one model?"
        )
    length = weights.tokenizer.model_max_length
    if not isinstance(length, int | float) or not length > 2:
        raise EnsembleError(f"{where}: model_max_length is {length!r:.60}, expected a number of tokens, ends included")


def _stored(where: Path) -> dict[str, Tensor]:
    stored = read_tensors(weight_files(where, TEXT_ENCODER_STEM), lambda key: "position_ids" not in key)
    return {key.removeprefix(PREFIX): tensor for key, tensor in stored.items()}


def _suffixes(folder: Path) -> tuple[str, ...]:
    """Of the parts: SDXL has a second of each."""
    return ("", "_2") if unbroken(folder / "text_encoder_2", EnsembleError).is_dir() else ("",)


def _text_config(config: dict[str, Any], where: str) -> CLIPTextConfig:
    check_config(config, where)
    try:
        return CLIPTextConfig.from_dict({key: config[key] for key in CONFIG_KEYS if key in config})
    except (TypeError, ValueError, StrictDataclassError) as error:
        raise EnsembleError(f"{where}: not a readable CLIP text configuration: {error}") from error


def _read_tokenizer(where: Path) -> CLIPTokenizer:
    """Published layout or that of transformers 5."""
    found = [name for name in TOKENIZER_FILES if is_here(where / name)]
    if not {"tokenizer.json", "vocab.json"} & set(found):
        raise EnsembleError(f"{where}: no tokenizer here; expected vocab.json and merges.txt, or tokenizer.json")
    try:
        return CLIPTokenizer.from_pretrained(where, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raises plain Exception for a broken file
        raise EnsembleError(f"{where}: not a readable CLIP tokenizer: {error}") from error


def _key(key: str, prefix: str) -> str:
    return key if key == PROJECTION else prefix + key
