"""What a judge may say of itself in `open_clip_config.json`: known keys, none of which fetches or runs anything.

open_clip hands on what stands there: names to transformers, timm and the hub, and `tokenizer_kwargs` as they are to a
tokenizer's loader, which runs Python from the folder when they tell it to. So a folder is read with the keys below and
refused with any other. A judge on the hub was named by the user and may name others there, but no code.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from emoe_audit.errors import QualityError
from emoe_audit.readers.documents import read_json_object

CONFIG, TOKENIZER_CONFIG = "open_clip_config.json", "tokenizer_config.json"
_TOWER = (
    *("width", "layers", "mlp_ratio", "ls_init_value", "block_type", "qk_norm", "scaled_cosine_attn", "scale_heads"),
    *("scale_attn_inner", "scale_attn", "scale_fc", "pool_type", "final_ln_after_pool", "output_tokens"),
    *("act_kwargs", "norm_kwargs"),
)
_TEXT = (
    *_TOWER,
    *("context_length", "vocab_size", "heads", "embed_cls", "pad_id", "eos_id", "no_causal_mask", "proj_bias"),
    "proj_type",
)
KEYS: Mapping[str, tuple[str, ...]] = {
    "model_cfg": (
        *("embed_dim", "vision_cfg", "text_cfg", "multimodal_cfg", "quick_gelu", "custom_text", "init_logit_scale"),
        *("init_logit_bias", "nonscalar_logit_scale"),
    ),
    "vision_cfg": (
        *_TOWER,
        *("head_width", "patch_size", "image_size", "patch_dropout", "attentional_pool", "attn_pooler_queries"),
        *("attn_pooler_heads", "no_ln_pre", "pos_embed_type"),
    ),
    "text_cfg": (*_TEXT, "hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs"),
    "multimodal_cfg": (*_TEXT, "dim_head", "n_queries", "attn_pooler_heads"),
    "tokenizer_kwargs": ("clean", "strip_sep_token", "language", "additional_special_tokens", "reduction_mask"),
    "act_kwargs": ("approximate",),
    "norm_kwargs": ("eps",),
}
"""The keys that are honoured, by the section in which they stand."""
REASONS = {
    "hf_": "would have transformers fetch a text encoder",
    "timm_": "would have timm fetch an image encoder",
    "trust_remote_code": "would run Python that lies in the folder",
}
"""Why a key that begins so is refused; any other is simply not known."""
WAY_OUT = "give the judge as MODEL/FILE.safetensors with a MODEL that open_clip knows, or as hf-hub:ORG/NAME"
TOKENIZERS = (
    *("BertTokenizer", "CLIPTokenizer", "GemmaTokenizer", "MPNetTokenizer", "NllbTokenizer", "RobertaTokenizer"),
    *("SiglipTokenizer", "T5Tokenizer", "XLMRobertaTokenizer", "PreTrainedTokenizer", "TokenizersBackend"),
)
"""Classes that read a vocabulary and nothing else; a name may end in `Fast`."""


def read_judge_config(folder: Path) -> dict[str, Any]:
    """The `model_cfg` of a folder that asks for nothing beyond itself.

    Raises:
        QualityError: there is none, a key is not honoured, or its tokenizer is of no known class; says which and why.
    """
    file = folder / CONFIG
    config = read_json_object(file, QualityError).get("model_cfg")
    if not isinstance(config, dict):
        raise QualityError(f"{file}: no model_cfg, which says what kind of model this is")
    _check_section(config, "model_cfg", file)
    for section in ("vision_cfg", "text_cfg"):
        if not isinstance(config.get(section), dict):
            raise QualityError(f"{file}: model_cfg has no {section}")
    if config["text_cfg"].get("hf_tokenizer_name"):
        _check_tokenizer(folder)
    return config


def check_hub_judge(config: Mapping[str, Any], where: str) -> None:
    """Look through the `model_cfg` of a judge on the hub, and whether what it names there needs code of its own.

    Raises:
        QualityError: a key of `tokenizer_kwargs` is not known.
        ValueError: transformers would run code for its text encoder.
        OSError: that cannot be fetched.
    """
    from transformers import AutoConfig

    text = config.get("text_cfg")
    text = text if isinstance(text, dict) else {}
    if text.get("tokenizer_kwargs"):
        _check_section(text["tokenizer_kwargs"], "tokenizer_kwargs", where)
    if text.get("hf_model_name"):
        AutoConfig.from_pretrained(text["hf_model_name"], trust_remote_code=False)


def _check_section(section: Any, name: str, where: Path | str) -> None:
    """Its keys, and those of the sections inside."""
    if not isinstance(section, dict):
        raise QualityError(f"{where}: {name} is no section of keys")
    for key, value in section.items():
        if key not in KEYS[name]:
            _refuse(f"{where}: {name}.{key}", key, name)
        if key in KEYS and value is not None:
            _check_section(value, key, where)


def _refuse(place: str, key: str, section: str) -> NoReturn:
    reason = next((why for start, why in REASONS.items() if key.startswith(start)), None)
    if reason is not None:
        raise QualityError(f"{place} is refused: it {reason}; {WAY_OUT}")
    raise QualityError(f"{place} is no key that is honoured; there are {', '.join(KEYS[section])}; {WAY_OUT}")


def _check_tokenizer(folder: Path) -> None:
    """The tokenizer lies in the folder, whatever name `hf_tokenizer_name` gives it, and its class is known."""
    file = folder / TOKENIZER_CONFIG
    if not file.is_file():
        raise QualityError(
            f"{folder}: no {TOKENIZER_CONFIG}; hf_tokenizer_name says that the folder brings a tokenizer, and none is "
            "fetched for it; put its files here"
        )
    config = read_json_object(file, QualityError)
    if "auto_map" in config:
        raise QualityError(f"{file}: auto_map is refused: it names Python that would be run as the tokenizer")
    kind = str(config.get("tokenizer_class"))
    if kind.removesuffix("Fast") not in TOKENIZERS:
        raise QualityError(f"{file}: tokenizer_class is {kind!r}, and only {', '.join(TOKENIZERS)} are loaded")
