"""What the configuration of a UNet or a text encoder may say: designs of Stable Diffusion, typed and of a sane size.

Whoever builds a model makes as many layers as its configuration asks for before any weight is looked at, and takes what
stands there for a number; so that is read as the types that are meant, and bounded, first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from emoe_audit.errors import EnsembleError
from emoe_audit.readers.typed import typed_fields

SUPPORTED: dict[str, tuple[object, ...]] = {
    "_class_name": ("UNet2DConditionModel",),
    "addition_embed_type": (None, "text_time"),
    "attention_type": ("default",),
    "center_input_sample": (False,),
    "class_embed_type": (None,),
    "dual_cross_attention": (False,),
    "encoder_hid_dim_type": (None,),
    "mid_block_type": ("UNetMidBlock2DCrossAttn",),
    "num_class_embeds": (None,),
    "only_cross_attention": (False,),
    "time_cond_proj_dim": (None,),
    "time_embedding_type": ("positional",),
}
DOWN_BLOCKS = ("CrossAttnDownBlock2D", "DownBlock2D")
OF_BLOCKS = ("attention_head_dim", "cross_attention_dim", "layers_per_block", "sample_size")
OF_LAYERS = ("transformer_layers_per_block", "reverse_transformer_layers_per_block")
N_TIME_IDS = 6
"""Numbers of size and crop that SDXL is told beside the time."""

Width = Annotated[int, Field(ge=1, le=2**16)]
Heads = Annotated[int, Field(ge=1, le=2**10)]
Side = Annotated[int, Field(ge=1, le=2**10)]
Kernel = Annotated[int, Field(ge=1, le=15)]
Padding = Annotated[int, Field(ge=0, le=15)]
Blocks = Annotated[tuple[Width, ...], Field(min_length=1, max_length=6)]
Layers = Annotated[int, Field(ge=1, le=8)]
Transformers = Annotated[int, Field(ge=0, le=20)]
OfLayers = Annotated[tuple[Transformers, ...], Field(max_length=9)]
Factor = Annotated[float, Field(gt=0, le=1e6)]
Small = Annotated[float, Field(ge=0, le=1)]
Depth = Annotated[int, Field(ge=1, le=128)]
Token = Annotated[int, Field(ge=0, le=2**24)]


@dataclass(frozen=True, kw_only=True)
class UNetFields:
    """The fields of a UNet that its size or a score depends on, with what diffusers takes where one is left out.

    What may stand once for all blocks, or once for each, is given as for each.
    """

    act_fn: str = "silu"
    addition_time_embed_dim: Width | None = None
    attention_head_dim: tuple[Heads, ...] = (8,)
    block_out_channels: Blocks = (320, 640, 1280, 1280)
    conv_in_kernel: Kernel = 3
    cross_attention_dim: tuple[Width, ...] = (1280,)
    down_block_types: tuple[str, ...] = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
    downsample_padding: Padding = 1
    flip_sin_to_cos: bool = True
    freq_shift: Small = 0
    in_channels: Width = 4
    layers_per_block: tuple[Layers, ...] = (2,)
    mid_block_only_cross_attention: bool | None = None
    mid_block_scale_factor: Factor = 1
    norm_eps: Small = 1e-5
    norm_num_groups: Width = 32
    out_channels: Width = 4
    projection_class_embeddings_input_dim: Width | None = None
    resnet_out_scale_factor: Factor = 1
    resnet_skip_time_act: bool | None = False
    resnet_time_scale_shift: Literal["default", "scale_shift"] = "default"
    reverse_transformer_layers_per_block: tuple[OfLayers, ...] | None = None
    sample_size: tuple[Side, ...] | None = None
    time_embedding_act_fn: str | None = None
    time_embedding_dim: Width | None = None
    timestep_post_act: str | None = None
    transformer_layers_per_block: tuple[OfLayers, ...] = ((1,),)
    upcast_attention: bool | None = False
    use_linear_projection: bool | None = False


@dataclass(frozen=True, kw_only=True)
class TextFields:
    """The same of a text encoder, as transformers has it."""

    bos_token_id: Token | None = 49406
    eos_token_id: Token | None = 49407
    hidden_act: str = "quick_gelu"
    hidden_size: Width = 512
    intermediate_size: Width = 2048
    layer_norm_eps: Small = 1e-5
    max_position_embeddings: Width = 77
    num_attention_heads: Heads = 8
    num_hidden_layers: Depth = 12
    pad_token_id: Token | None = 1
    projection_dim: Width | None = 512
    use_attention_mask: bool | None = False
    vocab_size: Token = 49408


def check_unet_config(config: dict[str, Any], where: str) -> None:
    """Raise `EnsembleError` unless the configuration is that of a Stable Diffusion 1.x, 2.x or SDXL UNet."""
    for key, allowed in SUPPORTED.items():
        if key in config and config[key] not in allowed:
            raise EnsembleError(
                f"{where}: {key} is {config[key]!r:.200}, expected {allowed[0]!r}; "
                "only Stable Diffusion 1.x, 2.x and SDXL can be scored"
            )
    each = {name: _for_each(name, value) for name, value in config.items()}
    found = typed_fields(each, UNetFields, where, EnsembleError)
    unknown = [name for name in found.down_block_types if name not in DOWN_BLOCKS]
    if unknown:
        raise EnsembleError(f"{where}: down block {unknown[0]!r:.200} is none of {', '.join(DOWN_BLOCKS)}")
    if found.in_channels != found.out_channels:
        raise EnsembleError(
            f"{where}: in_channels and out_channels differ; models that take more than noise and text "
            "(inpainting, depth, image editing) cannot be scored"
        )
    told = found.addition_time_embed_dim, found.projection_class_embeddings_input_dim
    if config.get("addition_embed_type") == "text_time" and None in told:
        raise EnsembleError(
            f"{where}: addition_time_embed_dim and projection_class_embeddings_input_dim are needed with text_time"
        )


def check_text_config(config: dict[str, Any], where: str) -> None:
    """Raise `EnsembleError` for a field of a CLIP text encoder that is of another type or size than any has."""
    typed_fields(config, TextFields, where, EnsembleError)


def _for_each(name: str, value: object) -> object:
    if name in OF_LAYERS and value is not None:
        return [_as_list(own) for own in _as_list(value)]
    return _as_list(value) if name in OF_BLOCKS and value is not None else value


def _as_list(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
