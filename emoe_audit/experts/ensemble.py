"""An ensemble ready to be scored: one UNet path per expert, the shared parts held once in memory."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import SchedulerMixin, UNet2DConditionModel
from torch import Tensor

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.devices import resolve_device, resolve_dtype
from emoe_audit.experts.hashing import TEXT_FIELDS, UNET_FIELDS, TensorHasher, json_digest, tokenizer_digest
from emoe_audit.experts.models import build_unet, empty_unet, read_scheduler
from emoe_audit.experts.sources import UNetWeights, fetch_base, fetch_expert, read_unet, some
from emoe_audit.experts.spec import load_spec
from emoe_audit.experts.text_encoders import (
    PROJECTION,
    TextEncoder,
    TextEncoderWeights,
    build_text_encoder,
    read_text_encoders,
)
from emoe_audit.types import EnsembleSpec, ExpertSpec, MoeLayers

EXPERT_LAYERS: dict[MoeLayers, str] = {"attn": r"attn[12]\.to_[qkv]", "ff": "ff", "all": r"(?:attn[12]\.to_[qkv]|ff)"}
FEATURE_FIELDS = ("in_channels", "block_out_channels", "cross_attention_dim")
"""What experts must have in common for their features to be of one shape."""


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Experts, and what of the base they are scored with."""

    spec: EnsembleSpec
    experts: tuple[str, ...]
    """Names, in the order of `unets`."""
    text_encoders: tuple[TextEncoder, ...]
    """The base's, whose states all experts are given: one, or the two of SDXL."""
    scheduler: SchedulerMixin
    unets: tuple[UNet2DConditionModel, ...]
    """One per expert, ending after the mid-block; tensors that are the same share memory."""
    ensemble_hash: str
    """SHA-256 over what takes part in a score; the order of the experts does not matter to it."""
    latent_shape: tuple[int, int, int]
    """Channels, height and width of a latent."""
    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True, kw_only=True)
class _Base:
    """What was read of the base, as it is stored."""

    unet: UNetWeights
    texts: tuple[TextEncoderWeights, ...]
    scheduler_config: dict[str, Any]
    scheduler: SchedulerMixin


def load_ensemble(name_or_spec: str | Path | EnsembleSpec, *, device: str = "auto", dtype: str = "float32") -> Ensemble:
    """Load the parts of an ensemble that a score needs, and hash them.

    `independent` gives every expert its whole UNet. `shared_trunk` is SegMoE's way (segmind/segmoe): attention
    projections and feed-forwards (`moe_layers`) of the down blocks are each expert's own, everything else, the
    mid-block too, is the base's. Text encoder, tokenizer and scheduler are the base's in both.

    Raises `EnsembleError` for weights that are not there, do not fit, or belong to another kind of model.
    """
    spec = name_or_spec if isinstance(name_or_spec, EnsembleSpec) else load_spec(name_or_spec)
    place = resolve_device(device), resolve_dtype(dtype)
    base = _read_base(spec.base)
    paths = [_path_weights(spec, expert, base.unet) for expert in spec.experts]
    _check_widths(paths, base.texts)
    placed = place_tensors([*(text.tensors for text in base.texts), *(path.tensors for path in paths)], *place)
    texts, own = placed[: len(base.texts)], placed[len(base.texts) :]
    return Ensemble(
        spec=spec,
        experts=tuple(expert.name for expert in spec.experts),
        text_encoders=tuple(build_text_encoder(*pair) for pair in zip(base.texts, texts, strict=True)),
        scheduler=base.scheduler,
        unets=tuple(build_unet(path.config, part, path.where) for path, part in zip(paths, own, strict=True)),
        ensemble_hash=_ensemble_hash(base, paths),
        latent_shape=_latent_shape(base.unet),
        device=place[0],
        dtype=place[1],
    )


def is_expert_layer(key: str, moe_layers: MoeLayers) -> bool:
    """Whether a UNet key belongs to the experts in SegMoE's layout of Stable Diffusion 1.x and 2.x.

    The down blocks 0 to 2 where they have attention; `attn` is `to_q`, `to_k` and `to_v` (not `to_out`) of both
    attentions, `ff` the whole feed-forward. Up blocks do not matter to a score; the mid-block stays dense.
    """
    layers = EXPERT_LAYERS[moe_layers]
    return bool(re.match(rf"down_blocks\.[0-2]\.attentions\.\d+\.transformer_blocks\.\d+\.{layers}\.", key))


def place_tensors(
    states: Sequence[dict[str, Tensor]], device: torch.device, dtype: torch.dtype
) -> list[dict[str, Tensor]]:
    """The same states on a device in a number type; a tensor that several states share is moved once, and shared."""
    moved: dict[int, Tensor] = {}
    for state in states:
        for tensor in state.values():
            if id(tensor) not in moved:
                moved[id(tensor)] = tensor.to(device=device, dtype=dtype)
    return [{key: moved[id(tensor)] for key, tensor in state.items()} for state in states]


def _read_base(spec: ExpertSpec) -> _Base:
    root = fetch_base(spec)
    scheduler_config, scheduler = read_scheduler(root)
    return _Base(
        unet=_completed(read_unet(root)),
        texts=read_text_encoders(root),
        scheduler_config=scheduler_config,
        scheduler=scheduler,
    )


def _path_weights(spec: EnsembleSpec, expert: ExpertSpec, base: UNetWeights) -> UNetWeights:
    """The weights of one expert's whole path, those it shares with the base included."""
    folder = fetch_expert(expert)
    if spec.assembly == "independent":
        return _completed(read_unet(folder, base=base))
    layers = {key for key in base.tensors if is_expert_layer(key, spec.moe_layers)}
    own = read_unet(folder, base=base, wanted=lambda key: is_expert_layer(key, spec.moe_layers))
    _check_same_design(own, base)
    if not layers:
        raise EnsembleError(
            f"{base.where}: no down block has attention, so a shared trunk leaves no layer to the experts"
        )
    missing = layers - own.tensors.keys()
    if missing:
        raise EnsembleError(f"{own.where}: missing keys: {some(sorted(missing))}")
    return UNetWeights(where=own.where, config=base.config, tensors={**base.tensors, **own.tensors})


def _completed(unet: UNetWeights) -> UNetWeights:
    """The same, its keys checked, with every field of the configuration filled in as diffusers does."""
    config = dict(build_unet(unet.config, unet.tensors, unet.where).config)
    return UNetWeights(where=unet.where, config=config, tensors=unet.tensors)


def _check_same_design(expert: UNetWeights, base: UNetWeights) -> None:
    config = empty_unet(expert.config, expert.where).config
    for field in UNET_FIELDS:
        if config[field] != base.config[field]:
            raise EnsembleError(
                f"{expert.where}: {field} is {config[field]!r}, the base has {base.config[field]!r}; "
                "a shared trunk needs experts of the base's design; use the assembly 'independent'"
            )


def _check_widths(paths: Sequence[UNetWeights], texts: Sequence[TextEncoderWeights]) -> None:
    """All paths take the same latents and text states, and end in features of one shape."""
    first = paths[0]
    for path in paths:
        for field in FEATURE_FIELDS:
            if path.config[field] != first.config[field]:
                raise EnsembleError(
                    f"{path.where}: {field} is {path.config[field]!r}, {first.where} has {first.config[field]!r}; "
                    "such experts cannot be compared"
                )
    width = sum(text.config.hidden_size for text in texts)
    if first.config["cross_attention_dim"] != width:
        raise EnsembleError(
            f"{first.where}: cross_attention_dim is {first.config['cross_attention_dim']}, "
            f"but the base's text encoders give {width}"
        )
    if first.config["addition_embed_type"] == "text_time" and not texts[-1].has_projection:
        raise EnsembleError(f"{texts[-1].where}: no {PROJECTION}, from which an SDXL UNet takes the pooled text")


def _ensemble_hash(base: _Base, paths: Sequence[UNetWeights]) -> str:
    """The hash is of effective paths: the same experts assembled or stored in another way give the same hash."""
    hasher = TensorHasher([*(text.tensors for text in base.texts), *(path.tensors for path in paths)])
    scheduler = {key: value for key, value in base.scheduler_config.items() if key != "_diffusers_version"}
    experts = [[hasher.state(path.tensors), {field: path.config[field] for field in UNET_FIELDS}] for path in paths]
    return json_digest(
        {
            "experts": sorted(json_digest(expert) for expert in experts),
            "texts": [
                [
                    hasher.state(text.tensors),
                    {field: getattr(text.config, field, None) for field in TEXT_FIELDS},
                    tokenizer_digest(text.tokenizer, text.max_length),
                ]
                for text in base.texts
            ],
            "scheduler": scheduler,
            "latent_shape": _latent_shape(base.unet),
        }
    )


def _latent_shape(unet: UNetWeights) -> tuple[int, int, int]:
    size = unet.config["sample_size"]
    sides = [size, size] if isinstance(size, int) else size
    match sides:
        case [int(height), int(width)]:
            return unet.config["in_channels"], height, width
    raise EnsembleError(f"{unet.where}: sample_size is {size!r}, expected one or two numbers")
