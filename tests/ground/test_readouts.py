"""What is read of a UNet, against the engine, against the UNet's own blocks, and against a loop written by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor

from emoe_audit.ground.readouts import BEFORE, MID_BLOCK, PREDICTION, readable, recorded, walk
from emoe_audit.scoring.conditioning import TextStates
from emoe_audit.scoring.expert_path import mid_block_features, prompt_free_start
from emoe_audit.scoring.first_step import draw_noise, first_step
from emoe_audit.types import EnsembleSpec

N_STEPS = 50


@pytest.fixture(scope="module")
def pipeline(tiny_spec: EnsembleSpec) -> Any:
    return StableDiffusionPipeline.from_pretrained(tiny_spec.base.source)


@pytest.fixture(scope="module")
def embeds(pipeline: Any) -> Tensor:
    states: Tensor = pipeline.encode_prompt(["dog", "猫", ""], "cpu", 1, do_classifier_free_guidance=False)[0].detach()
    return states


@pytest.fixture(scope="module")
def noise() -> Tensor:
    return draw_noise(3, 0, (4, 8, 8))


@pytest.fixture(scope="module")
def first(pipeline: Any, embeds: Tensor, noise: Tensor) -> dict[str, Tensor]:
    return next(walk(pipeline.unet, pipeline.scheduler, noise, embeds, N_STEPS))


def hand_made(unet: UNet2DConditionModel, latents: Tensor, timestep: Tensor, embeds: Tensor) -> list[Tensor]:
    """Outputs of the down blocks and the mid-block, from the blocks one by one."""
    time = unet.time_embedding(unet.time_proj(timestep.expand(len(latents))))
    hidden, found = unet.conv_in(latents), []
    for block in unet.down_blocks:
        hidden, _ = block(hidden, time, encoder_hidden_states=embeds)
        found.append(hidden)
    return [*found, unet.mid_block(hidden, time, encoder_hidden_states=embeds)]


def test_the_mid_block_is_the_engines(pipeline: Any, embeds: Tensor, noise: Tensor, first: dict[str, Tensor]) -> None:
    start = prompt_free_start(pipeline.unet, *first_step(pipeline.scheduler, noise, N_STEPS))
    expected = mid_block_features(
        pipeline.unet, start, TextStates(embeds=embeds, summary=embeds[:, -1], unnormed=embeds[:, -1])
    )
    torch.testing.assert_close(first[MID_BLOCK], expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_every_block_is_read_as_it_computes(
    pipeline: Any, embeds: Tensor, noise: Tensor, first: dict[str, Tensor]
) -> None:
    latent, timestep = first_step(pipeline.scheduler, noise, N_STEPS)
    expected = hand_made(pipeline.unet, latent.expand(3, -1, -1, -1), timestep, embeds)
    assert (
        list(first) == list(readable(pipeline.unet)) == ["down block 0", "down block 1", BEFORE, MID_BLOCK, PREDICTION]
    )
    for found, wanted in zip(list(first.values())[:-1], expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_what_enters_the_mid_block_is_what_the_last_down_block_puts_out(
    pipeline: Any, embeds: Tensor, noise: Tensor, first: dict[str, Tensor]
) -> None:
    given: list[Tensor] = []
    hook = pipeline.unet.mid_block.register_forward_pre_hook(lambda _module, args: given.append(args[0]))
    next(walk(pipeline.unet, pipeline.scheduler, noise, embeds, N_STEPS))
    hook.remove()
    assert torch.equal(given[0], first[BEFORE])


@torch.no_grad()
def test_a_path_is_the_loop_written_by_hand(pipeline: Any, embeds: Tensor, noise: Tensor) -> None:
    scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(N_STEPS)
    latents = noise.expand(3, -1, -1, -1) * scheduler.init_noise_sigma
    for found, timestep in zip(
        islice(walk(pipeline.unet, pipeline.scheduler, noise, embeds, N_STEPS), 4), scheduler.timesteps, strict=False
    ):
        given = scheduler.scale_model_input(latents, timestep)
        torch.testing.assert_close(
            found[MID_BLOCK], hand_made(pipeline.unet, given, timestep, embeds)[-1], rtol=1e-5, atol=1e-5
        )
        predicted = pipeline.unet(given, timestep, embeds).sample
        torch.testing.assert_close(found[PREDICTION], predicted, rtol=1e-5, atol=1e-5)
        latents = scheduler.step(predicted, timestep, latents).prev_sample


def test_steps_differ_and_what_was_yielded_stays(pipeline: Any, embeds: Tensor, noise: Tensor) -> None:
    steps = list(islice(walk(pipeline.unet, pipeline.scheduler, noise, embeds, N_STEPS), 2))
    assert not torch.equal(steps[0][MID_BLOCK], steps[1][MID_BLOCK])


def failing(unet: UNet2DConditionModel) -> None:
    with recorded(readable(unet)):
        raise ValueError("stopped")


def complete(unet: UNet2DConditionModel) -> None:
    with recorded(readable(unet)):
        pass


@pytest.mark.parametrize("work", [complete, failing])
def test_no_hook_is_left(pipeline: Any, work: Callable[[UNet2DConditionModel], None]) -> None:
    try:
        work(pipeline.unet)
    except ValueError:
        assert work is failing
    assert not any(module._forward_hooks for module in pipeline.unet.modules())


def test_the_scheduler_is_left_as_it_is(pipeline: Any, embeds: Tensor, noise: Tensor) -> None:
    pipeline.scheduler.set_timesteps(7)
    next(walk(pipeline.unet, pipeline.scheduler, noise, embeds, N_STEPS))
    assert len(pipeline.scheduler.timesteps) == 7
