"""One `.safetensors` file in the original layout of Stable Diffusion 1.x, 2.x or SDXL base, read like a pipeline.

What such a file lacks (configurations, scheduler) ships in `configs/` as it was published for each family, and the
vocabulary of CLIP comes with open_clip, so nothing is fetched. Of the weights only what a score needs is read.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from diffusers import SchedulerMixin
from diffusers.loaders.single_file_utils import (
    SD_2_TEXT_ENCODER_KEYS_TO_IGNORE,
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTokenizer

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.models import read_scheduler
from emoe_audit.experts.sources import UNetWeights, is_scored, opened, read_json, read_tensors, some
from emoe_audit.experts.text_encoders import PREFIX, TextEncoderWeights

CONFIGS = Path(__file__).parent / "configs"
UNET = "model.diffusion_model."
VAE = "first_stage_model."
NO_VAE = f"holds no autoencoder (keys {VAE}*) to draw with; name one with `vae:`"
CONV_IN = f"{UNET}input_blocks.0.0.weight"
UNET_KEY = re.compile(
    re.escape(UNET) + r"(?:(?:input_blocks|output_blocks|middle_block)\.\d{1,2}|time_embed|label_emb|out)\."
)
FAMILIES = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
"""By the width of cross-attention; `sd2` is told apart further."""
TEXT_ENCODERS = {
    "sd1": ("cond_stage_model.transformer.",),
    "sd2-512": ("cond_stage_model.model.",),
    "sd2-768": ("cond_stage_model.model.",),
    "sdxl": ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."),
}
"""What the keys begin with; those in `.model.` have the layout of OpenCLIP."""
OTHERS = {
    "control_model.": "a ControlNet",
    "edm_mean": "a model of another noise process (Playground 2.5)",
    "edm_vpred.": "a model of another noise process (CosXL)",
    "v_pred": "an SDXL fine-tuned to predict velocity",
}
"""Models that hold a UNet of a known shape and yet are none of the families."""
VELOCITY_MARK = f"{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias"
VELOCITY_DEVIATION = 0.09
N_MERGES = 49152 - 256 - 2
START, END = "<|startoftext|>", "<|endoftext|>"
SCOPE = "only text-to-image Stable Diffusion 1.x, 2.x and SDXL base can be scored from a single file"


def is_single_file(path: Path) -> bool:
    """Whether `path` is a `.safetensors` file that holds a UNet in the original layout.

    Raises `EnsembleError` for a file of that name that cannot be read.
    """
    return path.suffix == ".safetensors" and path.is_file() and any(key.startswith(UNET) for key in _shapes(path))


def read_single_file_unet(path: Path, wanted: Callable[[str], bool] = is_scored) -> UNetWeights:
    """The wanted keys of the UNet, under diffusers' names, with the configuration of its family.

    Tensors that are not wanted are not read from disk.
    Raises `EnsembleError` for a file that is torn, or holds anything but Stable Diffusion 1.x, 2.x or SDXL base.
    """
    shapes = _shapes(path)
    config = read_json(CONFIGS / _family(path, shapes) / "unet" / "config.json")
    names = {key: name for key, name in _unet_names(path, shapes, config).items() if wanted(name)}
    tensors = read_tensors([path], names.__contains__)
    return UNetWeights(where=str(path), config=config, tensors={names[key]: tensor for key, tensor in tensors.items()})


def read_single_file_text_encoders(path: Path) -> tuple[TextEncoderWeights, ...]:
    """The text encoders with their tokenizers: one, in SDXL two (CLIP ViT-L, then OpenCLIP ViT-bigG).

    Keys are those of transformers 5 (`encoder.layers...`); SDXL's second has `text_projection.weight` too. Of Stable
    Diffusion 2.x the last of 24 layers is left out, as in diffusers: it is trained on the last but one.
    Raises `EnsembleError`, also for a file that holds a UNet alone.
    """
    family = _family(path, _shapes(path))
    parts = zip(("", "_2"), TEXT_ENCODERS[family], strict=False)
    return tuple(_read_text_encoder(path, CONFIGS / family, suffix, prefix) for suffix, prefix in parts)


def read_single_file_scheduler(path: Path) -> tuple[dict[str, Any], SchedulerMixin]:
    """Configuration and object of the scheduler that was published with the family. Raises `EnsembleError`."""
    return read_scheduler(family_folder(path))


def family_folder(path: Path) -> Path:
    """The configurations that were published with the family of a file. Raises `EnsembleError`."""
    return CONFIGS / _family(path, _shapes(path))


def holds_vae(path: Path) -> bool:
    """Whether there is an autoencoder in a file. Raises `EnsembleError` for one that cannot be read."""
    return any(key.startswith(VAE) for key in _shapes(path))


def read_single_file_vae(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and weights of the autoencoder. Raises `EnsembleError` where the file holds none."""
    config = read_json(family_folder(path) / "vae" / "config.json")
    stored = read_tensors([path], lambda key: key.startswith(VAE))
    if not stored:
        raise EnsembleError(f"{path}: {NO_VAE}")
    try:
        converted = convert_ldm_vae_checkpoint(stored, config)
    except (KeyError, IndexError, RuntimeError) as error:
        raise EnsembleError(f"{path}: {VAE}* is no autoencoder of Stable Diffusion: {error}") from error
    if missing := sorted(key for key, tensor in converted.items() if tensor is None):
        raise EnsembleError(f"{path}: missing keys of the autoencoder: {some(missing)}")
    return config, converted


def _shapes(path: Path) -> dict[str, list[int]]:
    """The shape of every tensor, from the file's header alone."""
    with opened(path) as file:
        return {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118


def _family(path: Path, shapes: dict[str, list[int]]) -> str:
    """The folder in `configs/` that describes the file."""
    if not any(key.startswith(UNET) for key in shapes):
        raise EnsembleError(
            f"{path}: no keys {UNET}*, found: {some(sorted(shapes))}; a LoRA, a VAE or a ControlNet alone cannot be "
            "scored: name a whole checkpoint; a UNet in diffusers' layout is read from a folder with its config.json"
        )
    for mark, kind in OTHERS.items():
        if any(key.startswith(mark) for key in shapes):
            raise EnsembleError(f"{path}: {kind}; {SCOPE}")
    width = _cross_attention_width(shapes)
    if width == 1280:
        raise EnsembleError(f"{path}: the refiner of SDXL, which no prompt starts from; {SCOPE}: name the base")
    if width not in FAMILIES or CONV_IN not in shapes:
        raise EnsembleError(f"{path}: a UNet of unknown architecture (cross-attention of width {width}); {SCOPE}")
    if shapes[CONV_IN][1:2] != [4]:
        raise EnsembleError(
            f"{path}: {CONV_IN} has shape {shapes[CONV_IN]}, expected 4 input channels; models that take more than "
            f"noise and text (inpainting, depth, image editing) cannot be scored; {SCOPE}"
        )
    return FAMILIES[width] if width != 1024 else _stable_diffusion_2(path)


def _cross_attention_width(shapes: dict[str, list[int]]) -> int | None:
    widths = (
        shape[1]
        for key, shape in shapes.items()
        if key.startswith(f"{UNET}input_blocks.") and key.endswith(".attn2.to_k.weight") and len(shape) == 2
    )
    return next(widths, None)


def _stable_diffusion_2(path: Path) -> str:
    """Whether a 2.x model is that of 512 pixels, which predicts noise, or that of 768, which predicts velocity.

    Shapes do not tell, and diffusers takes every file for 768. One bias does: its values spread wider in the models
    that predict velocity (the statistic and its threshold are those of ComfyUI, `supported_models.SD20`).
    """
    marks = read_tensors([path], lambda key: key == VELOCITY_MARK)
    if not marks:
        raise EnsembleError(
            f"{path}: Stable Diffusion 2.x without {VELOCITY_MARK}, so it cannot be told whether it predicts noise "
            "or velocity; name a whole checkpoint"
        )
    deviation = marks[VELOCITY_MARK].float().std(correction=0).item()
    return "sd2-768" if deviation > VELOCITY_DEVIATION else "sd2-512"


def _unet_names(path: Path, shapes: dict[str, list[int]], config: dict[str, Any]) -> dict[str, str]:
    """Diffusers' name of every key of the UNet, up blocks included."""
    keys = {key: key for key in shapes if key.startswith(UNET)}
    if astray := [key for key in keys if not UNET_KEY.match(key)]:
        raise EnsembleError(f"{path}: unexpected keys: {some(sorted(astray))}; {SCOPE}")
    try:
        converted = convert_ldm_unet_checkpoint(keys, config)
    except KeyError as error:
        raise EnsembleError(f"{path}: missing keys: {UNET}{error.args[0]}; {SCOPE}") from error
    names = {key: name for name, key in converted.items()}
    if foreign := keys.keys() - names.keys():
        raise EnsembleError(f"{path}: unexpected keys: {some(sorted(foreign))}; {SCOPE}")
    return names


def _read_text_encoder(path: Path, family: Path, suffix: str, prefix: str) -> TextEncoderWeights:
    config = CLIPTextConfig.from_dict(read_json(family / f"text_encoder{suffix}" / "config.json"))
    unused = {f"{prefix}logit_scale", *SD_2_TEXT_ENCODER_KEYS_TO_IGNORE}
    stored = read_tensors(
        [path], lambda key: key.startswith(prefix) and key not in unused and not key.endswith("position_ids")
    )
    if not stored:
        raise EnsembleError(
            f"{path}: no text encoder (keys {prefix}*); such a file can be an expert, but not the base: "
            "name a whole checkpoint as base"
        )
    try:
        if prefix.endswith(".model."):
            converted = convert_open_clip_checkpoint(SimpleNamespace(config=config), stored, prefix=prefix)
        else:
            converted = convert_ldm_clip_checkpoint(stored)
    except (IndexError, RuntimeError) as error:
        raise EnsembleError(f"{path}: {prefix}* is no text encoder that OpenCLIP makes: {error}") from error
    return TextEncoderWeights(
        where=str(path),
        config=config,
        tensors={key.removeprefix(PREFIX): tensor for key, tensor in converted.items()},
        tokenizer=_tokenizer(family / f"tokenizer{suffix}"),
    )


def _tokenizer(folder: Path) -> CLIPTokenizer:
    vocabulary, merges = _clip_vocabulary()
    return CLIPTokenizer(vocab=vocabulary, merges=merges, **read_json(folder / "tokenizer_config.json"))


@cache
def _clip_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Ids of CLIP's 49,408 pieces, and its merges: bytes, bytes that end a word, merged pieces, begin and end."""
    packed = Path(str(distribution("open_clip_torch").locate_file("open_clip/bpe_simple_vocab_16e6.txt.gz")))
    lines = gzip.decompress(packed.read_bytes()).decode().split("\n")[1 : N_MERGES + 1]
    merges = [(left, right) for left, right in map(str.split, lines)]
    symbols = sorted(ByteLevel.alphabet())
    pieces = [*symbols, *(f"{symbol}</w>" for symbol in symbols), *map("".join, merges), START, END]
    return {piece: index for index, piece in enumerate(pieces)}, merges
