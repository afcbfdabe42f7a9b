"""The noise and the first denoising step, the same for every prompt, expert and device."""

from __future__ import annotations

import hashlib

import torch
from diffusers import SchedulerMixin
from jaxtyping import Float, Shaped
from torch import Tensor

from emoe_audit.errors import EnsembleError


def draw_noise(seed: int, index: int, shape: tuple[int, int, int]) -> Float[Tensor, "1 channel height width"]:
    """The noise of one index, standard normal, float32, on the CPU. More noises leave the first ones as they are."""
    digest = hashlib.sha256(f"{seed}:{index}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.randn((1, *shape), generator=generator, dtype=torch.float32)


def first_step(
    scheduler: SchedulerMixin, noise: Float[Tensor, "1 channel height width"], num_inference_steps: int
) -> tuple[Float[Tensor, "1 channel height width"], Shaped[Tensor, ""]]:
    """What a pipeline hands to its UNet first: scaled latent and timestep. The scheduler itself is left as it is.

    Raises `EnsembleError` for a number of steps that the scheduler does not take.
    """
    own = type(scheduler).from_config(scheduler.config)
    try:
        own.set_timesteps(num_inference_steps)
    except ValueError as error:
        raise EnsembleError(f"num_inference_steps={num_inference_steps}: {error}") from error
    timestep: Tensor = own.timesteps[0]
    return own.scale_model_input(noise * own.init_noise_sigma, timestep), timestep
