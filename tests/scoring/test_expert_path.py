"""A path through our UNet against a forward hook on diffusers' own, whole UNet, in several designs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

from emoe_audit.experts.models import build_unet
from emoe_audit.scoring.conditioning import TextStates
from emoe_audit.scoring.expert_path import mid_block_features, prompt_free_start

DESIGNS: dict[str, dict[str, Any]] = {
    "sd1": {
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        "layers_per_block": 2,
        "attention_head_dim": 2,
    },
    "sd2": {
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        "attention_head_dim": [1, 2, 4],
        "use_linear_projection": True,
    },
    "attention everywhere": {
        "down_block_types": ["CrossAttnDownBlock2D"] * 3,
        "up_block_types": ["CrossAttnUpBlock2D"] * 3,
        "layers_per_block": 1,
    },
    "attention late, scale and shift": {
        "down_block_types": ["DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"],
        "resnet_time_scale_shift": "scale_shift",
    },
}


def whole_unet(design: str) -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16, 16),
        norm_num_groups=4,
        cross_attention_dim=12,
        **({"attention_head_dim": 2} | DESIGNS[design]),
    ).eval()


def hooked_mid_block(unet: UNet2DConditionModel, latent: torch.Tensor, t: int, states: torch.Tensor) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    handle = unet.mid_block.register_forward_hook(lambda module, args, output: seen.append(output))
    with torch.no_grad():
        unet(latent.expand(len(states), -1, -1, -1), t, encoder_hidden_states=states)
    handle.remove()
    return seen[0]


def given(states: torch.Tensor) -> TextStates:
    """What an expert is given of prompts with these states, `[prompt, token, state]`."""
    return TextStates(embeds=states, summary=states[:, -1], unnormed=states[:, -1])


@pytest.mark.parametrize("design", DESIGNS)
def test_features_equal_those_of_the_whole_unet(design: str) -> None:
    whole = whole_unet(design)
    scored = ("conv_in", "time_embedding", "down_blocks", "mid_block")
    tensors = {key: tensor for key, tensor in whole.state_dict().items() if key.startswith(scored)}
    ours = build_unet(dict(whole.config), tensors, design)
    latent, states = torch.randn(1, 4, 8, 8), torch.randn(3, 5, 12)
    expected = hooked_mid_block(whole, latent, 981, states)
    actual = mid_block_features(ours, prompt_free_start(ours, latent, torch.tensor(981)), given(states))
    assert actual.shape == (3, 16, 2, 2)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_different_prompts_give_different_features() -> None:
    unet = whole_unet("sd1")
    start = prompt_free_start(unet, torch.randn(1, 4, 8, 8), torch.tensor(981))
    a, b = mid_block_features(unet, start, given(torch.randn(2, 5, 12)))
    assert not torch.allclose(a, b)


def test_what_comes_before_the_first_cross_attention_is_not_done_again_for_a_prompt() -> None:
    unet = whole_unet("sd1")
    start = prompt_free_start(unet, torch.randn(1, 4, 8, 8), torch.tensor(981))
    run: list[str] = []
    for name, module in unet.named_modules():
        module.register_forward_hook(lambda _module, _args, _output, name=name: run.append(name))
    mid_block_features(unet, start, given(torch.randn(2, 5, 12)))
    first = "down_blocks.0.attentions.0.transformer_blocks.0"
    before = {"conv_in", "time_embedding", "down_blocks.0.resnets.0", "down_blocks.0.attentions.0.proj_in"}
    assert not {*before, f"{first}.attn1"} & set(run)
    assert {f"{first}.attn2", f"{first}.ff", "down_blocks.0.resnets.1", "mid_block"} <= set(run)
