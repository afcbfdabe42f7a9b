"""SegMoE the naive way, from its definition: a folder with its key names, and a UNet that loads and routes them.

Ranges of blocks are SegMoE's for Stable Diffusion: down blocks without the last one, up blocks without the first.
"""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from emoe_audit.types import EnsembleSpec

ATTN = ["attn1.to_q", "attn1.to_k", "attn1.to_v", "attn2.to_q", "attn2.to_k", "attn2.to_v"]
LAYERS = {"attn": ATTN, "ff": ["ff"], "all": [*ATTN, "ff"]}
WEIGHTS = "diffusion_pytorch_model.safetensors"
RANGES = {"down_idx_start": 0, "down_idx_end": 2, "up_idx_start": 1, "up_idx_end": 3}
N_ATTENTIONS = {"down": 1, "up": 2}


def expert_layers(moe_layers: str = "all") -> list[str]:
    """The expert layers of the tiny UNet."""
    return [
        f"{side}_blocks.{block}.attentions.{attention}.transformer_blocks.0.{layer}"
        for side in ("down", "up")
        for block in range(RANGES[f"{side}_idx_start"], RANGES[f"{side}_idx_end"])
        for attention in range(N_ATTENTIONS[side])
        for layer in LAYERS[moe_layers]
    ]


def base_state(spec: EnsembleSpec) -> dict[str, Tensor]:
    return load_file(Path(spec.base.source) / "unet" / WEIGHTS)


def expert_states(spec: EnsembleSpec) -> list[dict[str, Tensor]]:
    """Whole UNets of the experts."""
    return [base_state(spec) | load_file(Path(expert.source) / "unet_delta.safetensors") for expert in spec.experts]


def random_gates(base: dict[str, Tensor], layers: list[str], n_experts: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    widths = {layer: base.get(f"{layer}.weight", base.get(f"{layer}.net.0.proj.weight")) for layer in layers}
    return {
        layer: torch.randn(n_experts, weight.shape[1], generator=generator)
        for layer, weight in widths.items()
        if weight is not None
    }


def write_by_hand(spec: EnsembleSpec, folder: Path, *, moe_layers: str = "all", top_k: int = 2) -> Path:
    """The folder that SegMoE would save for an ensemble, with random gates."""
    shutil.copytree(spec.base.source, folder)
    base, experts = base_state(spec), expert_states(spec)
    layers = expert_layers(moe_layers)
    stored = {f"{layer}.gate.weight": gate for layer, gate in random_gates(base, layers, len(experts)).items()}
    for key, tensor in base.items():
        owner = [layer for layer in layers if key.startswith(f"{layer}.")]
        if owner:
            for index, expert in enumerate(experts):
                stored[key.replace(owner[0], f"{owner[0]}.experts.{index}")] = expert[key]
        else:
            stored[key] = tensor
    save_file(stored, folder / "unet" / WEIGHTS)
    entry = {"num_experts": len(experts), "num_experts_per_tok": top_k, "moe_layers": moe_layers, "type": "sd"}
    edit_config(folder, entry | RANGES)
    return folder


def edit_config(folder: Path, changes: dict[str, Any]) -> None:
    """Change `segmoe_config`; None takes a key out."""
    path = folder / "unet" / "config.json"
    config = json.loads(path.read_text())
    segmoe = config.get("segmoe_config", {}) | changes
    config["segmoe_config"] = {key: value for key, value in segmoe.items() if value is not None}
    path.write_text(json.dumps(config))


class NaiveBlock(nn.Module):
    """SegMoE's routed layer: the experts are chosen for the whole batch at once."""

    def __init__(self, layer: nn.Module, n_experts: int, top_k: int) -> None:
        super().__init__()
        self.gate = nn.Linear(next(layer.parameters()).shape[-1], n_experts, bias=False)
        self.experts = nn.ModuleList(copy.deepcopy(layer) for _ in range(n_experts))
        self.top_k = top_k

    def forward(self, hidden: Tensor) -> Tensor:
        rows = hidden.flatten(0, 1)
        logits = self.gate(rows)
        totals = logits.sum(dim=0).tolist()
        best = sorted(range(len(totals)), key=lambda expert: totals[expert], reverse=True)[: self.top_k]
        powers = logits[:, best].exp()
        mixture = torch.tensor(0.0)
        for place, expert in enumerate(best):
            share = powers[:, place] / powers.sum(dim=1)
            mixture = mixture + share[:, None] * self.experts[expert](rows)
        return mixture.unflatten(0, hidden.shape[:2])


def naive_unet(folder: Path) -> UNet2DConditionModel:
    """A whole UNet that takes every key of the folder's file, none missing and none left over."""
    config = json.loads((folder / "unet" / "config.json").read_text())
    segmoe = config.pop("segmoe_config")
    unet = UNet2DConditionModel.from_config(config)
    for side in ("down", "up"):
        blocks = getattr(unet, f"{side}_blocks")[segmoe[f"{side}_idx_start"] : segmoe[f"{side}_idx_end"]]
        for transformer in [t for block in blocks for a in block.attentions for t in a.transformer_blocks]:
            for name in LAYERS[segmoe["moe_layers"]]:
                parent = transformer.get_submodule(name.rpartition(".")[0])
                child = name.rpartition(".")[2]
                block = NaiveBlock(getattr(parent, child), segmoe["num_experts"], segmoe["num_experts_per_tok"])
                setattr(parent, child, block)
    unet.load_state_dict(load_file(folder / "unet" / WEIGHTS), strict=True)
    return unet.eval()
