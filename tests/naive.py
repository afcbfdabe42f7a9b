"""The naive way to a score, sharing only the noise with the engine: whole UNets with a hook on the mid-block."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file

from emoe_audit.scoring.first_step import draw_noise
from emoe_audit.types import EnsembleSpec


class NaiveEnsemble:
    """Every expert's whole UNet, loaded by diffusers itself, with a forward hook that keeps the mid-block's output."""

    def __init__(self, spec: EnsembleSpec) -> None:
        self.pipeline = StableDiffusionPipeline.from_pretrained(spec.base.source, vae=None)
        self.pipeline.text_encoder.float()
        self.pipeline.scheduler.set_timesteps(50)
        self.unets = [_whole_unet(spec, Path(expert.source)) for expert in spec.experts]
        self._features: list[np.ndarray] = []
        for unet in self.unets:
            unet.mid_block.register_forward_hook(lambda module, args, output: self._keep(output))

    @torch.no_grad()
    def features(self, texts: Sequence[str], seed: int, noise_index: int) -> np.ndarray:
        """float64 `[expert, batch, channel, height, width]` of one noise."""
        scheduler = self.pipeline.scheduler
        states, _ = self.pipeline.encode_prompt(list(texts), "cpu", 1, do_classifier_free_guidance=False)
        shape = (self.unets[0].config.in_channels, *[self.unets[0].config.sample_size] * 2)
        noise = draw_noise(seed, noise_index, shape) * scheduler.init_noise_sigma
        timestep = scheduler.timesteps[0]
        latent = scheduler.scale_model_input(noise, timestep).expand(len(texts), -1, -1, -1)
        self._features.clear()
        for unet in self.unets:
            unet(latent, timestep, encoder_hidden_states=states)
        return np.stack(self._features)

    def _keep(self, output: torch.Tensor) -> None:
        self._features.append(output.double().numpy())


def _whole_unet(spec: EnsembleSpec, expert: Path) -> UNet2DConditionModel:
    whole = _base_unet(spec)
    whole.load_state_dict(whole.state_dict() | load_file(expert / "unet_delta.safetensors"))
    return (whole if spec.assembly == "independent" else _segmoe_graft(_base_unet(spec), whole)).eval()


def _base_unet(spec: EnsembleSpec) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(spec.base.source, subfolder="unet").float()


def _segmoe_graft(trunk: UNet2DConditionModel, expert: UNet2DConditionModel) -> UNet2DConditionModel:
    """The trunk with the expert's attention projections and feed-forwards put into its down blocks, one by one."""
    for old_block, new_block in zip(trunk.down_blocks, expert.down_blocks, strict=True):
        for old_attention, new_attention in zip(old_block.attentions, new_block.attentions, strict=True):
            old, new = old_attention.transformer_blocks[0], new_attention.transformer_blocks[0]
            for name in ("to_q", "to_k", "to_v"):
                setattr(old.attn1, name, getattr(new.attn1, name))
                setattr(old.attn2, name, getattr(new.attn2, name))
            old.ff = new.ff
    return trunk
