"""A complete ensemble of random weights, a few hundred kilobytes, made in seconds on a CPU: for tests only.

It has every part of a real one (pipeline, experts, judge, captions) in the layout of published checkpoints, and its
scores mean nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from emoe_audit.experts.models import STABLE_DIFFUSION_NOISE
from emoe_audit.experts.sources import DELTA_FILE
from emoe_audit.experts.spec import load_spec, save_spec
from emoe_audit.experts.writing import writing
from emoe_audit.types import EnsembleSpec, ExpertSpec

START, END = "<|startoftext|>", "<|endoftext|>"
MAX_LENGTH = 32
WIDTH = 16
EXPERT_NOISE = 0.3
"""Standard deviation of what an expert adds to its attention blocks, in units of each weight's own."""
CONCEPTS = {
    "en": ["dog", "cat", "tree", "house", "fish", "sun", "red apple", "sleeping face"],
    "de": ["Hund", "Katze", "Baum", "Haus", "Fisch", "Sonne", "roter Apfel", "schlafendes Gesicht"],
    "hi": ["कुत्ता", "बिल्ली", "पेड़", "घर", "मछली", "सूरज", "लाल सेब", "सोता चेहरा"],
    "ja": ["犬", "猫", "木", "家", "魚", "太陽", "赤いりんご", "寝ている顔"],
}


def make_tiny_ensemble(folder: Path, *, n_experts: int = 3, seed: int = 0) -> EnsembleSpec:
    """Write a tiny ensemble to `folder` and return its specification; `load_spec(folder)` reads it again.

    A whole diffusers pipeline (8 x 8 x 4 latents, 64 x 64 images), `n_experts` experts that store only what differs
    from it, an open_clip judge, and COCO captions of 8 concepts in 4 languages. The same seed gives the same weights.
    """
    with writing(folder), torch.random.fork_rng(devices=[]):
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed)
        unet = _write_pipeline(folder / "base")
        for index in range(n_experts):
            _write_expert(unet, folder / "experts" / f"expert-{index}")
        _write_judge(folder / "judge")
        (folder / "captions.json").write_text(json.dumps(_coco(), ensure_ascii=False), encoding="utf-8")
    names = [f"expert-{index}" for index in range(n_experts)]
    save_spec(
        EnsembleSpec(
            name="tiny",
            base=ExpertSpec(name="base", source="base"),
            experts=tuple(ExpertSpec(name=name, source=f"experts/{name}") for name in names),
            assembly="shared_trunk",
            judge="judge",
            captions="captions.json",
        ),
        folder,
    )
    return load_spec(folder)


def write_text_encoder(model: CLIPTextModel, folder: Path) -> None:
    """Save a text encoder as published checkpoints do: keys begin with `text_model.`; transformers 5 omits it."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    weights = {f"text_model.{key}": tensor.contiguous() for key, tensor in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def write_byte_tokenizer(folder: Path) -> int:
    """Write a CLIP tokenizer without merges, a token per byte, and return the size of its vocabulary.

    It holds all 256 bytes and their word-final forms, so that nothing is unknown (CLIP would read that as the end);
    the special tokens come last, because pooling looks for the end at the largest id.
    """
    folder.mkdir(parents=True, exist_ok=True)
    symbols = sorted(ByteLevel.alphabet())
    pieces = [*symbols, *(f"{symbol}</w>" for symbol in symbols), START, END]
    _write_json(folder / "vocab.json", {piece: index for index, piece in enumerate(pieces)})
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    _write_json(folder / "special_tokens_map.json", special)
    _write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "CLIPTokenizer", "model_max_length": MAX_LENGTH, **special},
    )
    return len(pieces)


def _write_pipeline(folder: Path) -> UNet2DConditionModel:
    vocab_size = write_byte_tokenizer(folder / "tokenizer")
    write_text_encoder(CLIPTextModel(text_config(vocab_size)), folder / "text_encoder")
    unet = _unet()
    unet.save_pretrained(folder / "unet")
    _vae().save_pretrained(folder / "vae")
    DDIMScheduler(**STABLE_DIFFUSION_NOISE).save_pretrained(folder / "scheduler")
    _write_json(
        folder / "model_index.json",
        {
            "_class_name": "StableDiffusionPipeline",
            "feature_extractor": [None, None],
            "image_encoder": [None, None],
            "requires_safety_checker": False,
            "safety_checker": [None, None],
            "scheduler": ["diffusers", "DDIMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        },
    )
    return unet


def text_config(vocab_size: int, *, width: int = WIDTH, pooled: int = WIDTH, n_layers: int = 2) -> CLIPTextConfig:
    """Of a tiny CLIP text encoder on the vocabulary of `write_byte_tokenizer`, whose special tokens come last."""
    return CLIPTextConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=pooled,
        num_hidden_layers=n_layers,
        num_attention_heads=2,
        max_position_embeddings=MAX_LENGTH,
        bos_token_id=vocab_size - 2,
        eos_token_id=vocab_size - 1,
        pad_token_id=vocab_size - 1,
    )


def _unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16, 16),
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
        norm_num_groups=4,
    )


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        sample_size=64,
    )


def _write_expert(base: nn.Module, folder: Path) -> None:
    """Stored is what differs: the attention blocks, the mid-block's too, as fine-tuning would leave them."""
    folder.mkdir(parents=True, exist_ok=True)
    delta = {key: _shifted(weight) for key, weight in base.state_dict().items() if ".attentions." in key}
    save_file(delta, folder / DELTA_FILE, metadata={"format": "pt"})


def _shifted(weight: Tensor) -> Tensor:
    return weight + EXPERT_NOISE * weight.abs().mean() * torch.randn_like(weight)


def _write_judge(folder: Path) -> None:
    vocab_size = write_byte_tokenizer(folder)
    text = {"context_length": MAX_LENGTH, "vocab_size": vocab_size, "width": WIDTH, "heads": 2, "layers": 2}
    vision = {"image_size": 64, "patch_size": 16, "width": WIDTH, "head_width": 8, "layers": 2}
    config: dict[str, Any] = {
        "embed_dim": WIDTH,
        "vision_cfg": vision,
        "text_cfg": text | {"hf_tokenizer_name": "tiny"},
    }
    preprocess = {"mean": list(open_clip.OPENAI_DATASET_MEAN), "std": list(open_clip.OPENAI_DATASET_STD)}
    _write_json(folder / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": preprocess})
    model = open_clip.CLIP(embed_dim=WIDTH, vision_cfg=vision, text_cfg=text)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors", metadata={"format": "pt"})


def _coco() -> dict[str, Any]:
    """Image i is concept i; every language captions every concept."""
    n_concepts = len(CONCEPTS["en"])
    captions = [(image, language, CONCEPTS[language][image]) for image in range(n_concepts) for language in CONCEPTS]
    return {
        "info": {"description": "captions of the tiny ensemble, for tests"},
        "images": [
            {"id": image, "file_name": f"{image}.png", "width": 64, "height": 64} for image in range(n_concepts)
        ],
        "annotations": [
            {"id": index, "image_id": image, "language": language, "caption": caption}
            for index, (image, language, caption) in enumerate(captions)
        ],
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2), encoding="utf-8")
