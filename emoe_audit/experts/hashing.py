"""SHA-256 over everything that takes part in a score, the same for the same content wherever it lies."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from emoe_audit.experts.sharing import OnceForShared

UNET_FIELDS = (
    "act_fn",
    "addition_embed_type",
    "addition_time_embed_dim",
    "attention_head_dim",
    "block_out_channels",
    "conv_in_kernel",
    "cross_attention_dim",
    "down_block_types",
    "downsample_padding",
    "flip_sin_to_cos",
    "freq_shift",
    "in_channels",
    "layers_per_block",
    "mid_block_only_cross_attention",
    "mid_block_scale_factor",
    "norm_eps",
    "norm_num_groups",
    "only_cross_attention",
    "projection_class_embeddings_input_dim",
    "resnet_out_scale_factor",
    "resnet_skip_time_act",
    "resnet_time_scale_shift",
    "time_embedding_act_fn",
    "timestep_post_act",
    "transformer_layers_per_block",
    "upcast_attention",
    "use_linear_projection",
)
TEXT_FIELDS = (
    "eos_token_id",
    "hidden_act",
    "layer_norm_eps",
    "max_position_embeddings",
    "num_attention_heads",
    "use_attention_mask",
)
"""The fields of a configuration that change a number; not the whole configuration, whose defaults grow by release."""


class TensorHasher:
    """Hashes the weights of models; the tensors of `shared`, which several of them hold, each once."""

    def __init__(self, shared: dict[str, Tensor]) -> None:
        self._digest = OnceForShared(tensor_digest, shared)

    def state(self, tensors: dict[str, Tensor]) -> str:
        """SHA-256 of one model's weights, by key; several tensors at a time."""
        with ThreadPoolExecutor() as pool:
            digests = pool.map(self._digest, tensors.values())
            return json_digest(sorted(zip(tensors, digests, strict=True)))


def tensor_digest(tensor: Tensor) -> str:
    """SHA-256 of type, shape and bytes of a CPU tensor, read in place."""
    digest = hashlib.sha256(f"{tensor.dtype}{list(tensor.shape)}".encode())
    digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def json_digest(value: Any) -> str:
    """SHA-256 of a JSON value, keys sorted."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def tokenizer_digest(tokenizer: CLIPTokenizer, max_length: int) -> str:
    """SHA-256 of what turns a text into padded ids: vocabulary, merges, rules, padding; not of the files' layout."""
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    model = {key: rules["model"][key] for key in ("vocab", "merges", "unk_token", "end_of_word_suffix")}
    return json_digest([model, rules["normalizer"], rules["pre_tokenizer"], tokenizer.pad_token_id, max_length])
