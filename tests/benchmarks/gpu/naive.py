"""The naive way to the features of drawn experts: whole UNets as diffusers runs them; the noise alone is ours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from emoe_audit.experts.models import read_scheduler
from emoe_audit.experts.single_file import CONFIGS
from emoe_audit.experts.text_encoders import PREFIX, TextEncoderWeights
from emoe_audit.scoring.first_step import draw_noise
from tests.benchmarks.gpu.drawn import Drawn, text_model, whole_unet
from tests.benchmarks.sd15 import STEPS, mid_block

PIXELS = 8
"""Pixels to an element of a latent, along each side."""


class Naive:
    """What the experts have in common is in memory once, which makes no difference to their speed."""

    def __init__(self, drawn: Drawn, device: torch.device, dtype: torch.dtype) -> None:
        self._device, self._dtype = device, dtype
        _, self._scheduler = read_scheduler(CONFIGS / drawn.design.family)
        self._scheduler.set_timesteps(STEPS)
        base = {key: tensor.to(device, dtype) for key, tensor in drawn.base.tensors.items()}
        self._unets: list[UNet2DConditionModel] = [
            whole_unet(drawn, base | {key: tensor.to(device, dtype) for key, tensor in own.items()})
            for own in drawn.own
        ]
        self._texts = [(text.tokenizer, self._text_model(text)) for text in drawn.texts]

    @torch.inference_mode()
    def mid_blocks(self, texts: Sequence[str], n_experts: int | None = None, *, guided: bool = False) -> Tensor:
        """`[expert, batch, channel, height, width]` after the mid-block; `guided` runs the empty prompt's half too."""
        given = [*[""] * len(texts), *texts] if guided else list(texts)
        latent, timestep = self._first(len(given))
        states, added = self._states(given)
        features = [
            mid_block(unet, latent, timestep, states, added_cond_kwargs=added) for unet in self._unets[:n_experts]
        ]
        return torch.stack(features)[:, -len(texts) :]

    def disagreement(self, texts: Sequence[str]) -> Tensor:
        """By its formula, float64 `[batch]`."""
        return self.mid_blocks(texts).double().var(dim=0).mean(dim=(1, 2, 3)).cpu()

    def _states(self, texts: list[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """As the pipeline of each family makes them."""
        outs = [self._encode(texts, index) for index in range(len(self._texts))]
        if len(outs) == 1:
            return outs[0].last_hidden_state, {}
        side = PIXELS * self._unets[0].config.sample_size
        ids = torch.tensor([[side, side, 0, 0, side, side]] * len(texts), device=self._device, dtype=self._dtype)
        states = torch.cat([out.hidden_states[-2] for out in outs], dim=-1)
        return states, {"text_embeds": outs[1].text_embeds, "time_ids": ids}

    def _encode(self, texts: list[str], index: int):  # type: ignore[no-untyped-def]
        tokenizer, model = self._texts[index]
        tokens = tokenizer(texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
        return model(tokens.to(self._device), output_hidden_states=True)

    def _first(self, n: int) -> tuple[Tensor, Tensor]:
        config, timestep = self._unets[0].config, self._scheduler.timesteps[0]
        noise = draw_noise(0, 0, (config.in_channels, config.sample_size, config.sample_size))
        latent = self._scheduler.scale_model_input(noise * self._scheduler.init_noise_sigma, timestep)
        return latent.to(self._device, self._dtype).repeat(n, 1, 1, 1), timestep.to(self._device)

    def _text_model(self, text: TextEncoderWeights) -> nn.Module:
        with torch.device(self._device):
            model = text_model(text.config, is_second=text.has_projection).to(self._dtype)
        names = {key.removeprefix(PREFIX): key for key in model.state_dict()}
        model.load_state_dict({names[key]: tensor for key, tensor in text.tensors.items()})
        return model.eval()
