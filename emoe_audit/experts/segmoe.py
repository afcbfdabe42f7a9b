"""SegMoE's folders (segmind/segmoe 0.0.4), read and written.

A SegMoE folder is a diffusers pipeline whose `unet/config.json` carries `segmoe_config`. In its UNet an expert layer
`LAYER` is stored once per expert, `LAYER.experts.{i}.*`, next to `LAYER.gate.weight` `[expert, width]`, which routes
between them; all other keys are plain and belong to the base.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.expert_layers import EXPERT_LAYERS
from emoe_audit.experts.segmoe_recipe import CONFIG_KEY, UNET_CONFIG, ModelType, SegmoeRecipe, read_segmoe_fields
from emoe_audit.experts.sources import (
    PICKLE_SUFFIXES,
    UNET_STEM,
    UNetWeights,
    is_scored,
    read_json,
    read_tensors,
    read_unet,
    some,
    weight_files,
)
from emoe_audit.experts.writing import writing
from emoe_audit.types import MoeLayers

GATE = ".gate.weight"
EXPERT = re.compile(r"\.experts\.(\d{1,4})(?=\.)")


@dataclass(frozen=True, kw_only=True)
class SegmoeLayout:
    """`segmoe_config` of a folder: how many experts there are, and which layers are theirs."""

    type: ModelType
    n_experts: int
    top_k: int
    moe_layers: MoeLayers
    down: range
    up: range

    def layer_of(self, key: str) -> str | None:
        """The expert layer that a plain UNet key belongs to; None for a key of the base."""
        block = r"(down|up)_blocks\.(\d{1,4})\.attentions\.\d+\.transformer_blocks\.\d+"
        match = re.match(rf"({block}\.{EXPERT_LAYERS[self.moe_layers]})\.", key)
        if match is None:
            return None
        blocks = self.down if match[2] == "down" else self.up
        return match[1] if int(match[3]) in blocks else None


def read_segmoe_layout(folder: Path) -> SegmoeLayout:
    """What `segmoe_config` says. Raises `EnsembleError` where it says too little or contradicts the UNet."""
    segmoe = read_segmoe_fields(folder)
    if segmoe is None:
        raise EnsembleError(f"{folder / UNET_CONFIG}: no segmoe_config, so this is no SegMoE folder")
    _check_type(segmoe.type, read_json(folder / UNET_CONFIG), f"{folder / UNET_CONFIG}: segmoe_config.type")
    return SegmoeLayout(
        type=segmoe.type,
        n_experts=segmoe.num_experts,
        top_k=segmoe.num_experts_per_tok,
        moe_layers=segmoe.moe_layers,
        down=range(segmoe.down_idx_start, segmoe.down_idx_end),
        up=range(segmoe.up_idx_start, segmoe.up_idx_end),
    )


def read_segmoe_unets(folder: Path, wanted: Callable[[str], bool] = is_scored) -> list[UNetWeights]:
    """One UNet per expert, the wanted ones of plain diffusers keys.

    What experts share are the same tensor objects. Raises `EnsembleError` where
    experts or their keys are missing; a layer stored once where every expert should have its own counts as missing.
    """
    layout = read_segmoe_layout(folder)
    stored = read_unet(folder, wanted=lambda key: not key.endswith(GATE) and wanted(EXPERT.sub("", key)))
    shared: dict[str, Tensor] = {}
    own: dict[int, dict[str, Tensor]] = {index: {} for index in range(layout.n_experts)}
    for key, tensor in stored.tensors.items():
        match = EXPERT.search(key)
        part = own.setdefault(int(match[1]), {}) if match else shared
        part[EXPERT.sub("", key)] = tensor
    n_stored = sum(1 for part in own.values() if part)
    if n_stored not in (0, layout.n_experts):
        raise EnsembleError(f"{stored.where}: holds {n_stored} experts, segmoe_config says {layout.n_experts}")
    missing = [
        _expert_key(key, layer, index)
        for key in sorted(shared.keys() | set().union(*own.values()))
        for index in own
        if (layer := layout.layer_of(key)) and key not in own[index]
    ]
    if missing:
        raise EnsembleError(f"{stored.where}: missing keys: {some(missing)}")
    config = {key: value for key, value in stored.config.items() if key != CONFIG_KEY}
    return [
        UNetWeights(where=f"{stored.where} (expert {index})", config=config, tensors=shared | own[index])
        for index in range(layout.n_experts)
    ]


def read_segmoe_gates(folder: Path) -> dict[str, Tensor]:
    """The gate `[expert, width of the input]` of every expert layer, up blocks included, by the layer's name.

    Raises `EnsembleError` where a gate has not one row per expert, or there is none.
    """
    n_experts = read_segmoe_layout(folder).n_experts
    stored = read_tensors(weight_files(folder / "unet", UNET_STEM), lambda key: key.endswith(GATE))
    gates = {key.removesuffix(GATE): gate for key, gate in stored.items()}
    _check_gates(gates, n_experts, str(folder / "unet"))
    return gates


def write_segmoe_folder(
    recipe: SegmoeRecipe,
    pipeline: Path,
    base: Mapping[str, Tensor],
    experts: Sequence[Mapping[str, Tensor]],
    gates: Mapping[str, Tensor],
    folder: Path,
) -> None:
    """Write a folder that SegMoE loads: `pipeline` with its UNet replaced by the mixture.

    `base` and `experts` are the state dicts of whole UNets, in the order of the recipe's experts. The layers that
    `gates` names become the experts', all others are the base's.

    Raises `EnsembleError` for states and gates that do not fit, an incomplete pipeline, and a folder that exists.
    """
    name, config = recipe.spec.name, read_json(pipeline / "unet" / "config.json")
    _check_type(recipe.type, config, f"{name}: type")
    if len(experts) != len(recipe.spec.experts):
        raise EnsembleError(f"{name}: {len(experts)} UNets for {len(recipe.spec.experts)} experts")
    _check_gates(gates, len(experts), name)
    layout = _layout(recipe, gates)
    layers = {key: layer for key in base if (layer := layout.layer_of(key))}
    astray = sorted(gates.keys() ^ set(layers.values()))
    if astray:
        raise EnsembleError(f"{name}: gates and expert layers ({layout.moe_layers}) differ in: {some(astray)}")
    for expert, state in zip(recipe.spec.experts, experts, strict=True):
        unfit = [key for key in layers if key not in state or state[key].shape != base[key].shape]
        if unfit:
            raise EnsembleError(f"{expert.source}: keys missing or of another shape than the base's: {some(unfit)}")
    tensors = {key: tensor.contiguous() for key, tensor in base.items() if key not in layers}
    tensors |= {layer + GATE: gate.contiguous() for layer, gate in gates.items()}
    for index, state in enumerate(experts):  # cloned: safetensors refuses tensors that share memory
        tensors |= {_expert_key(key, layer, index): state[key].clone() for key, layer in layers.items()}
    text = json.dumps(config | {CONFIG_KEY: _segmoe_config(recipe, layout)}, indent=2)
    with writing(folder):
        _copy_pipeline(pipeline, folder)
        (folder / "unet" / "config.json").write_text(text, encoding="utf-8")
        save_file(tensors, folder / "unet" / f"{UNET_STEM}.safetensors", metadata={"format": "pt"})


def _expert_key(key: str, layer: str, index: int) -> str:
    return f"{layer}.experts.{index}{key.removeprefix(layer)}"


def _check_type(given: object, config: dict[str, Any], where: str) -> None:
    actual = "sdxl" if config.get("addition_embed_type") == "text_time" else "sd"
    if given != actual:
        raise EnsembleError(f"{where} is {given!r}, but the UNet is of the type {actual!r}")


def _check_gates(gates: Mapping[str, Tensor], n_experts: int, where: str) -> None:
    if not gates:
        raise EnsembleError(f"{where}: no gates; expected keys that end in {GATE}")
    for layer, gate in gates.items():
        if gate.ndim != 2 or len(gate) != n_experts:
            raise EnsembleError(
                f"{where}: {layer}{GATE} has shape {list(gate.shape)}, expected a row for each of {n_experts} experts"
            )


def _copy_pipeline(pipeline: Path, folder: Path) -> None:
    """Copy all but the UNet, and pickled weights."""
    parts = {part: kind for part, kind in read_json(pipeline / "model_index.json").items() if isinstance(kind, list)}
    lacking = [part for part, kind in parts.items() if kind[0] and not (pipeline / part).is_dir()]
    if lacking:
        raise EnsembleError(f"{pipeline}: lacks {some(lacking)}, which SegMoE loads too; give a whole pipeline")
    if folder.exists():
        raise EnsembleError(f"{folder}: exists already; give a new folder")
    pickled = (f"*{suffix}" for suffix in PICKLE_SUFFIXES)
    shutil.copytree(pipeline, folder, ignore=shutil.ignore_patterns("unet", *pickled))
    (folder / "unet").mkdir()


def _layout(recipe: SegmoeRecipe, gates: Iterable[str]) -> SegmoeLayout:
    return SegmoeLayout(
        type=recipe.type,
        n_experts=len(recipe.spec.experts),
        top_k=recipe.top_k,
        moe_layers=recipe.spec.moe_layers,
        down=_blocks(gates, "down_blocks."),
        up=_blocks(gates, "up_blocks."),
    )


def _blocks(layers: Iterable[str], side: str) -> range:
    found = [int(layer.split(".")[1]) for layer in layers if layer.startswith(side)]
    return range(min(found), max(found) + 1) if found else range(0)


def _segmoe_config(recipe: SegmoeRecipe, layout: SegmoeLayout) -> dict[str, Any]:
    parts = zip(recipe.spec.experts, recipe.prompts, strict=True)
    return {
        "base_model": recipe.spec.base.source,
        "num_experts": layout.n_experts,
        "moe_layers": layout.moe_layers,
        "num_experts_per_tok": layout.top_k,
        "type": layout.type,
        "init": recipe.init,
        "experts": [
            {
                "source_model": expert.source,
                "positive_prompt": prompts.positive,
                "negative_prompt": prompts.negative,
                "loras": [{"source_model": lora} for lora in expert.loras],
            }
            for expert, prompts in parts
        ],
        "down_idx_start": layout.down.start,
        "down_idx_end": layout.down.stop,
        "up_idx_start": layout.up.start,
        "up_idx_end": layout.up.stop,
    }
