"""Small files in the original layout of Stable Diffusion, and what they are made of."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from open_clip.transformer import TextTransformer
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from emoe_audit.experts import single_file

FAMILIES = ("sd1", "sd2-512", "sd2-768", "sdxl")
SHIPPED = Path(single_file.__file__).parent / "configs"
UNET = "model.diffusion_model."
MARK = f"{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias"
SPREAD = {"sd2-512": 0.05, "sd2-768": 0.3}
SMALL_UNETS: dict[str, dict[str, Any]] = {
    "sd1": {"block_out_channels": [8, 16, 16, 16]},
    "sd2-512": {"block_out_channels": [8, 16, 16, 16], "attention_head_dim": [1, 2, 2, 2]},
    "sd2-768": {"block_out_channels": [8, 16, 16, 16], "attention_head_dim": [1, 2, 2, 2]},
    "sdxl": {
        "block_out_channels": [8, 16, 16],
        "attention_head_dim": [1, 2, 2],
        "transformer_layers_per_block": [1, 2, 3],
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 72,
    },
}
SMALL_TEXT: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 64, "num_attention_heads": 2, "vocab_size": 50}
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
OUTER = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}

VAE_NAMES = (
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
    (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"),
    (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
    (r"down_blocks\.(\d)\.resnets", r"down.\1.block"),
    (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
    (r"conv_norm_out", "norm_out"),
)
"""What diffusers calls a weight of an autoencoder, and what the original code does."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A small file in the original layout, and what it was made of."""

    path: Path
    unet: dict[str, Tensor]
    clip: dict[str, Tensor]
    open_clip: TextTransformer


def small_configs(folder: Path) -> Path:
    """The shipped configurations, of narrow and shallow models."""
    shutil.copytree(SHIPPED, folder)
    for family in FAMILIES:
        change_json(folder / family / "unet" / "config.json", norm_num_groups=4, **SMALL_UNETS[family])
        for config in (folder / family).glob("text_encoder*/config.json"):
            change_json(config, **SMALL_TEXT)
        if not family.startswith("sd2"):
            change_json(folder / family / "text_encoder" / "config.json", num_hidden_layers=2)
    change_json(folder / "sdxl" / "text_encoder_2" / "config.json", num_hidden_layers=10, projection_dim=24)
    return folder


def make_checkpoint(family: str, configs: Path, folder: Path) -> Checkpoint:
    config = json.loads((configs / family / "unet" / "config.json").read_text())
    with torch.device("meta"):
        unet = noise_like(UNet2DConditionModel.from_config(config))
        clip = noise_like(CLIPTextModel(CLIPTextConfig(**SMALL_TEXT, num_hidden_layers=2)))
    up_attention = ["CrossAttn" in name for name in config["up_block_types"]]
    stored = {UNET + original_name(key, up_attention): tensor for key, tensor in unet.items()}
    if family in SPREAD:
        stored[MARK] = torch.linspace(-SPREAD[family], SPREAD[family], 8)
    stored |= {f"model_ema.{key.removeprefix('model.').replace('.', '')}": tensor for key, tensor in stored.items()}
    tower = open_clip_tower(layers=10 if family == "sdxl" else 24)
    clip_prefix = "conditioner.embedders.0" if family == "sdxl" else "cond_stage_model"
    if not family.startswith("sd2"):
        stored |= {f"{clip_prefix}.transformer.text_model.{key}": tensor for key, tensor in clip.items()}
        stored[f"{clip_prefix}.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    if family != "sd1":
        open_clip_prefix = "conditioner.embedders.1" if family == "sdxl" else "cond_stage_model"
        stored |= {f"{open_clip_prefix}.model.{key}": tensor for key, tensor in tower.state_dict().items()}
        stored[f"{open_clip_prefix}.model.logit_scale"] = torch.tensor(4.6)
    stored["first_stage_model.encoder.conv_in.weight"] = torch.zeros(4, 3, 3, 3)
    stored["alphas_cumprod"] = torch.zeros(1000)
    save_file({key: tensor.clone().contiguous() for key, tensor in stored.items()}, folder / f"{family}.safetensors")
    return Checkpoint(path=folder / f"{family}.safetensors", unet=unet, clip=clip, open_clip=tower)


def open_clip_tower(layers: int) -> TextTransformer:
    """Open_clip's own text encoder, every weight drawn anew so that no two are alike."""
    tower = TextTransformer(context_length=77, vocab_size=50, width=16, heads=2, layers=layers, output_dim=24).eval()
    tower.load_state_dict({key: 0.3 * tensor for key, tensor in noise_like(tower).items()})
    return tower.requires_grad_(False)


def original_name(key: str, up_attention: list[bool]) -> str:
    """The original name of a key of diffusers' UNet with two layers a block, counted off from the two model codes."""
    name, _, kind = key.rpartition(".")
    if name in OUTER:
        return f"{OUTER[name]}.{kind}"
    part, *path = key.split(".")
    if part == "mid_block":
        module, index, *rest = path
        place = f"middle_block.{1 if module == 'attentions' else 2 * int(index)}"
    else:
        block, module, index, *rest = path
        first, side = (1, "input_blocks") if part == "down_blocks" else (0, "output_blocks")
        if module == "downsamplers":
            return f"input_blocks.{3 * int(block) + 3}.0.op.{kind}"
        if module == "upsamplers":
            return f"output_blocks.{3 * int(block) + 2}.{2 if up_attention[int(block)] else 1}.conv.{kind}"
        place = f"{side}.{3 * int(block) + int(index) + first}.{1 if module == 'attentions' else 0}"
    if module == "resnets":
        rest = [RESNET[rest[0]], *rest[1:]]
    return ".".join([place, *rest])


def original_vae(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of diffusers' autoencoder under their original names, attention as convolutions."""
    found = {}
    for key, weight in weights.items():
        name = re.sub(r"up_blocks\.(\d)\.resnets", lambda level: f"up.{3 - int(level[1])}.block", key)
        name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda level: f"up.{3 - int(level[1])}.upsample", name)
        for ours, theirs in VAE_NAMES:
            name = re.sub(ours, theirs, name)
        is_matrix = "attn_1" in name and weight.ndim == 2
        found[name] = weight[:, :, None, None].contiguous() if is_matrix else weight
    return found


def noise_like(model: torch.nn.Module) -> dict[str, Tensor]:
    return {key: torch.randn(tensor.shape, device="cpu") for key, tensor in model.state_dict().items()}


def change_json(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
