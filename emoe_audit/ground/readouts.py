"""What can be read of a UNet: its blocks' outputs at one call, and call by call on a path of denoising steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import SchedulerMixin, UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor, nn

BEFORE, MID_BLOCK, PREDICTION = "before mid-block", "mid-block", "prediction"


@contextmanager
def recorded(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """What every module returned at its latest call, by the name it is given here; no module is left changed."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        return lambda _module, _args, output: found.update({name: _hidden(output)})

    hooks = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _hidden(output: Any) -> Tensor:
    """Of a down block the hidden states without those that are kept for the up blocks."""
    return output[0] if isinstance(output, tuple) else output


def readable(unet: UNet2DConditionModel) -> dict[str, nn.Module]:
    """What is read, in the order of the forward pass; the last down block's output is what enters the mid-block."""
    *early, last = unet.down_blocks
    down = {f"down block {number}": block for number, block in enumerate(early)}
    return {**down, BEFORE: last, MID_BLOCK: unet.mid_block, PREDICTION: unet}


@torch.inference_mode()
def walk(
    unet: UNet2DConditionModel,
    scheduler: SchedulerMixin,
    noise: Float[Tensor, "1 channel height width"],
    embeds: Float[Tensor, "prompt token state"],
    num_inference_steps: int,
) -> Iterator[dict[str, Float[Tensor, "prompt channel height width"]]]:
    """Denoise without guidance and yield, at each step, everything that is read of the UNet.

    The conditional half alone; every prompt starts from the same noise. The scheduler is left as it is.
    """
    own = type(scheduler).from_config(scheduler.config)
    own.set_timesteps(num_inference_steps, device=embeds.device)
    latents = (noise * own.init_noise_sigma).to(embeds).repeat(len(embeds), 1, 1, 1)
    for timestep in own.timesteps:
        with recorded(readable(unet)) as found:
            unet(own.scale_model_input(latents, timestep), timestep, encoder_hidden_states=embeds, return_dict=False)
        yield found
        latents = own.step(found[PREDICTION], timestep, latents, return_dict=False)[0]
