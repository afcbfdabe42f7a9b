"""Ensembles with random weights that never lie on disk: the designs of Stable Diffusion 1.5 and SDXL at any size.

Weights are drawn on the device that is checked, where it takes a moment at true size, and kept on the host, from where
the package loads them as it does what it has read from files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, PreTrainedModel

from emoe_audit.experts.checkpoint import Base
from emoe_audit.experts.ensemble import Ensemble, _Parts, _put_together
from emoe_audit.experts.expert_layers import is_expert_layer
from emoe_audit.experts.models import read_scheduler
from emoe_audit.experts.single_file import CONFIGS, _tokenizer
from emoe_audit.experts.sources import SCORED_PARTS, UNetWeights, read_json
from emoe_audit.experts.text_encoders import PREFIX, TextEncoderWeights
from emoe_audit.types import EnsembleSpec, ExpertSpec
from tests.benchmarks import sd15
from tests.benchmarks.sd15 import EXPERT_NOISE, Normal, normals
from tests.benchmarks.stopwatch import CPU

SDXL = CONFIGS / "sdxl"
TEXT_PARTS = ("text_encoder", "text_encoder_2")


@dataclass(frozen=True, kw_only=True)
class Design:
    """The configurations of an ensemble's parts."""

    name: str
    family: str
    """The folder of `experts/configs` with its scheduler and tokenizers."""
    unet: Mapping[str, Any]
    texts: tuple[Mapping[str, Any], ...]
    n_experts: int

    @property
    def is_sdxl(self) -> bool:
        return len(self.texts) == 2


def sd15_design(size: sd15.Size) -> Design:
    return Design(
        name="sd15",
        family="sd1",
        unet=sd15.unet_config(size),
        texts=(sd15.text_config(size),),
        n_experts=size.n_experts,
    )


def sdxl_design(unet: Mapping[str, Any], texts: Mapping[str, Any], n_experts: int = 2) -> Design:
    """SDXL but for some fields of its UNet and of both its text encoders."""
    return Design(
        name="sdxl",
        family="sdxl",
        unet=read_json(SDXL / "unet" / "config.json") | dict(unet),
        texts=tuple(read_json(SDXL / part / "config.json") | dict(texts) for part in TEXT_PARTS),
        n_experts=n_experts,
    )


TRUE = (sd15_design(sd15.TRUE), sdxl_design({}, {}))
SMALL = (
    sd15_design(sd15.SMALL),
    sdxl_design(
        {
            "attention_head_dim": [1, 2, 4],
            "block_out_channels": [32, 64, 64],
            "cross_attention_dim": 64,
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 32 + 6 * 8,
            "sample_size": 16,
            "transformer_layers_per_block": [1, 1, 2],
        },
        {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 3}
        | {"projection_dim": 32},
    ),
)
"""The same designs in a size for a CPU and a moment."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The weights of an ensemble, on the host."""

    design: Design
    base: UNetWeights
    """The whole UNet."""
    own: tuple[dict[str, Tensor], ...]
    """What each expert has in place of the base's."""
    texts: tuple[TextEncoderWeights, ...]

    def load(self, device: torch.device, dtype: torch.dtype, budget: int | None = None) -> Ensemble:
        """As the package loads a shared trunk, but for the files."""
        names = [f"expert-{index}" for index in range(len(self.own))]
        spec = EnsembleSpec(
            name=self.design.name,
            base=ExpertSpec(name="base", source="drawn"),
            experts=tuple(ExpertSpec(name=name, source="drawn") for name in names),
            assembly="shared_trunk",
        )
        return _put_together(spec, self._parts(device, dtype), budget, 1)

    def _parts(self, device: torch.device, dtype: torch.dtype) -> _Parts:
        base = _scored(self.base, {})
        config, scheduler = read_scheduler(CONFIGS / self.design.family)
        return _Parts(
            base=Base(unet=base, read_texts=lambda: self.texts, scheduler_config=config, scheduler=scheduler),
            members=None,
            texts=self.texts,
            own={},
            loads={place: partial(_scored, base, own) for place, own in enumerate(self.own)},
            place=(device, dtype),
        )


def _scored(base: UNetWeights, own: dict[str, Tensor]) -> UNetWeights:
    tensors = {key: tensor for key, tensor in base.tensors.items() if key.partition(".")[0] in SCORED_PARTS}
    return UNetWeights(where=base.where, config=base.config, tensors=tensors | own)


def draw(design: Design, device: torch.device = CPU, dtype: torch.dtype = torch.float32, *, seed: int = 0) -> Drawn:
    """Base, experts and text encoders; the same seed gives the same weights on a kind of device."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(dict(design.unet))
    weights = normals(unet)
    base = {key: own.draw(seed, "unet", key, device=device) for key, own in weights.items()}

    def changed(key: str, own: Normal, index: int) -> Tensor:
        """As `sd15.write_ensemble` makes an expert."""
        return base[key] + EXPERT_NOISE * (own.draw(seed, index, key, device=device) - own.mean)

    experts = tuple(
        {key: changed(key, own, index).to(CPU, dtype) for key, own in weights.items() if is_expert_layer(key, "all")}
        for index in range(design.n_experts)
    )
    return Drawn(
        design=design,
        base=UNetWeights(
            where=design.name,
            config=dict(unet.config),
            tensors={key: tensor.to(CPU, dtype) for key, tensor in base.items()},
        ),
        own=experts,
        texts=tuple(_texts(design, index, device, dtype, seed) for index in range(len(design.texts))),
    )


def _texts(design: Design, index: int, device: torch.device, dtype: torch.dtype, seed: int) -> TextEncoderWeights:
    config, part = CLIPTextConfig.from_dict(dict(design.texts[index])), TEXT_PARTS[index]
    with torch.device("meta"):
        model = text_model(config, is_second=index == 1)
    return TextEncoderWeights(
        where=f"{design.name}/{part}",
        config=config,
        tensors={
            key.removeprefix(PREFIX): own.draw(seed, part, key, device=device).to(CPU, dtype)
            for key, own in normals(model).items()
        },
        tokenizer=_tokenizer(CONFIGS / design.family / ("tokenizer", "tokenizer_2")[index]),
    )


def text_model(config: CLIPTextConfig, *, is_second: bool) -> PreTrainedModel:
    """SDXL's second text encoder gives a pooled text, which the first ones do not."""
    return CLIPTextModelWithProjection(config) if is_second else CLIPTextModel(config)


def whole_unet(drawn: Drawn, tensors: Mapping[str, Tensor]) -> nn.Module:
    """diffusers' own UNet of that design, up blocks included, with these weights."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(dict(drawn.design.unet))
    unet.load_state_dict(dict(tensors), assign=True)
    return unet.requires_grad_(False).eval()
