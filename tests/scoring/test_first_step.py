"""The noise, and what the UNet is handed first."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler

from emoe_audit.errors import EnsembleError
from emoe_audit.scoring.first_step import draw_noise, first_step

SHAPE = (4, 8, 8)
SCHEDULERS: list[Any] = [
    DDIMScheduler(steps_offset=1, clip_sample=False),
    PNDMScheduler(steps_offset=1, skip_prk_steps=True),
    EulerDiscreteScheduler(steps_offset=1),
]


def test_noise_depends_on_seed_and_index_alone() -> None:
    drawn = draw_noise(3, 1, SHAPE)
    torch.manual_seed(99)
    assert torch.equal(draw_noise(3, 1, SHAPE), drawn)
    others = [draw_noise(3, 0, SHAPE), draw_noise(3, 2, SHAPE), draw_noise(1, 3, SHAPE), draw_noise(31, 0, SHAPE)]
    assert not any(torch.equal(drawn, other) for other in others)


def test_drawing_leaves_the_global_random_state() -> None:
    before = torch.get_rng_state()
    draw_noise(0, 0, SHAPE)
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_is_standard_normal_in_single_precision() -> None:
    noise = draw_noise(0, 0, (4, 128, 128))
    assert noise.dtype == torch.float32 and noise.shape == (1, 4, 128, 128)
    assert abs(noise.mean().item()) < 0.02 and abs(noise.std().item() - 1) < 0.02


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda scheduler: type(scheduler).__name__)
def test_it_is_the_first_step_of_the_models_own_scheduler(scheduler: Any) -> None:
    noise = draw_noise(0, 0, SHAPE)
    latent, timestep = first_step(scheduler, noise, 50)
    scheduler.set_timesteps(50)
    assert timestep == scheduler.timesteps[0]
    expected = scheduler.scale_model_input(noise * scheduler.init_noise_sigma, scheduler.timesteps[0])
    assert torch.equal(latent, expected)


def test_the_schedulers_that_add_no_scale_hand_over_the_noise_itself_at_step_981() -> None:
    noise = draw_noise(0, 0, SHAPE)
    latent, timestep = first_step(SCHEDULERS[0], noise, 50)
    assert torch.equal(latent, noise) and timestep == 981


def test_the_scheduler_is_left_as_it_was() -> None:
    scheduler = DDIMScheduler(steps_offset=1, clip_sample=False)
    first_step(scheduler, draw_noise(0, 0, SHAPE), 50)
    assert scheduler.num_inference_steps is None


def test_more_steps_than_the_scheduler_has_are_refused() -> None:
    with pytest.raises(EnsembleError, match="num_inference_steps=5000"):
        first_step(SCHEDULERS[0], draw_noise(0, 0, SHAPE), 5000)
