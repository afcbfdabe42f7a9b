"""Before an ensemble is read from disk: whether its parts fit together, and what they take of memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.designs import N_TIME_IDS
from emoe_audit.experts.residency import Footprint, Survey
from emoe_audit.experts.sources import UNetWeights
from emoe_audit.experts.text_encoders import PROJECTION, TextEncoderWeights

FEATURE_FIELDS = (
    "in_channels",
    "block_out_channels",
    "cross_attention_dim",
    "addition_embed_type",
    "addition_time_embed_dim",
    "projection_class_embeddings_input_dim",
)
"""What experts must have in common to be given the same, and for their features to be of one shape."""


def survey_of(
    loads: Sequence[Callable[[], UNetWeights]],
    texts: Sequence[TextEncoderWeights],
    base: UNetWeights,
    itemsize: int,
    n_noise: int,
    n_states: int,
) -> Footprint:
    """Bytes in memory, before anything has been read from disk. All paths take the same latents and text states.

    Raises `EnsembleError` for experts whose features differ in shape, and for a base whose parts do not fit together.
    """
    survey, first = Survey(base.tensors, itemsize), None
    for load in loads:
        path = load()
        survey.add(path.tensors)
        first = first or UNetWeights(where=path.where, config=path.config, tensors={})
        for field in FEATURE_FIELDS:
            if path.config[field] != first.config[field]:
                raise EnsembleError(
                    f"{path.where}: {field} is {path.config[field]!r}, {first.where} has {first.config[field]!r}; "
                    "such experts cannot be compared"
                )
        del path
    config = first.config if first else base.config
    width = sum(text.config.hidden_size for text in texts)
    if config["cross_attention_dim"] != width:
        raise EnsembleError(
            f"{base.where}: cross_attention_dim is {config['cross_attention_dim']}, "
            f"but the base's text encoders give {width}"
        )
    if config["addition_embed_type"] is not None:
        _check_pooled(config, texts, base.where)
    _, height, breadth = latent_shape(base)
    return survey.footprint(
        [text.tensors for text in texts],
        states=n_states * width * texts[0].max_length,
        channels=config["block_out_channels"],
        n_latent=height * breadth,
        n_noise=n_noise,
    )


def _check_pooled(config: dict[str, Any], texts: Sequence[TextEncoderWeights], where: str) -> None:
    """Raise `EnsembleError` unless the text encoders give what an SDXL UNet is told beside the time."""
    last = texts[-1]
    if len(texts) != 2 or not last.has_projection:
        raise EnsembleError(f"{last.where}: no {PROJECTION}, from which an SDXL UNet takes the pooled text")
    expected = config["projection_class_embeddings_input_dim"]
    width = (last.config.projection_dim or 0) + N_TIME_IDS * config["addition_time_embed_dim"]
    if width != expected:
        raise EnsembleError(
            f"{where}: projection_class_embeddings_input_dim is {expected}, but pooled text, size and crop give {width}"
        )


def latent_shape(unet: UNetWeights) -> tuple[int, int, int]:
    """Channels, height and width of a latent. Raises `EnsembleError`."""
    size = unet.config["sample_size"]
    sides = [size, size] if isinstance(size, int) else size
    match sides:
        case [int(height), int(width)]:
            return unet.config["in_channels"], height, width
    raise EnsembleError(f"{unet.where}: sample_size is {size!r}, expected one or two numbers")
