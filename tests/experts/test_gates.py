"""Gates, against SegMoE's routing from its definition, one prompt at a time, where its batches do not matter."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.gates import GatedLayer, build_gates, expert_layers, gated_unet, route
from emoe_audit.experts.models import build_unet
from emoe_audit.experts.segmoe import read_segmoe_gates, read_segmoe_unets
from emoe_audit.types import EnsembleSpec, GatePrompts, MoeLayers
from tests import naive_segmoe
from tests.naive_segmoe import NaiveBlock, base_state, expert_states, naive_unet, random_gates, write_by_hand

pytestmark = pytest.mark.slow

TO_K = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
FF = "down_blocks.1.attentions.0.transformer_blocks.0.ff"
SD = {
    "block_out_channels": (8, 8, 8, 8),
    "norm_num_groups": 4,
    "cross_attention_dim": 8,
    "attention_head_dim": 2,
}
SDXL = SD | {
    "block_out_channels": (8, 8, 8),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def linear_experts(n_experts: int) -> list[nn.Module]:
    experts = [nn.Linear(6, 5) for _ in range(n_experts)]
    for index, expert in enumerate(experts):
        expert.weight.data = random(5, 6, seed=10 + index)
    return list(experts)


def naive_block(experts: list[nn.Module], gate: Tensor, top_k: int) -> NaiveBlock:
    block = NaiveBlock(experts[0], len(experts), top_k)
    block.experts = nn.ModuleList(experts)
    block.gate.weight.data = gate
    return block


@pytest.fixture(scope="module")
def whole_unets(tiny_spec: EnsembleSpec) -> list[UNet2DConditionModel]:
    """Whole UNets that differ in SegMoE's expert layers only."""
    layers = tuple(f"{layer}." for layer in naive_segmoe.expert_layers())
    unets = []
    for state in expert_states(tiny_spec):
        unet = UNet2DConditionModel.from_pretrained(tiny_spec.base.source, subfolder="unet")
        unet.load_state_dict({key: state[key] if key.startswith(layers) else w for key, w in unet.state_dict().items()})
        unets.append(unet.requires_grad_(False).eval())
    return unets


@pytest.fixture(scope="module")
def gates(tiny_spec: EnsembleSpec) -> dict[str, Tensor]:
    return random_gates(base_state(tiny_spec), naive_segmoe.expert_layers(), 3)


@pytest.fixture(scope="module")
def given_to_unets() -> tuple[Tensor, Tensor, Tensor]:
    """Latents, timestep and text states of two prompts."""
    return random(2, 4, 8, 8), torch.tensor(900), random(2, 7, 16, seed=1)


@torch.no_grad()
def predict(unet: UNet2DConditionModel, latents: Tensor, timestep: Tensor, states: Tensor) -> Tensor:
    return unet(latents, timestep, encoder_hidden_states=states).sample


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_a_prompt_on_its_own_is_routed_as_in_segmoe(top_k: int) -> None:
    hidden, gate, experts = random(1, 9, 6), random(4, 6, seed=1), linear_experts(4)
    expected = naive_block(experts, gate, top_k)(hidden)
    assert torch.allclose(GatedLayer(experts, gate, top_k)(hidden), expected, atol=1e-6)


def test_a_prompts_route_does_not_depend_on_its_batch() -> None:
    gate, experts = torch.eye(3, 6), linear_experts(3)
    hidden = torch.stack([3 * gate[[0] * 4], 2 * gate[[2] * 4]])
    naive, ours = naive_block(experts, gate, 1), GatedLayer(experts, gate, 1)
    alone = torch.cat([naive(prompt) for prompt in hidden.split(1)])
    assert torch.allclose(ours(hidden), alone, atol=1e-6)
    assert not torch.allclose(naive(hidden), alone, atol=1e-1)


def test_weights_are_a_softmax_over_the_experts_of_a_prompt_and_zero_elsewhere() -> None:
    gate = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    hidden = torch.tensor([[[2.0, 1.0], [0.0, 0.5]]])
    sharing = torch.tensor([[[2.0, 1.0], [0.0, 0.5]]]).exp()
    expected = torch.cat([sharing / sharing.sum(-1, keepdim=True), torch.zeros(1, 2, 1)], dim=-1)
    assert torch.allclose(route(hidden, gate, 2), expected)
    assert torch.equal(route(hidden, gate, 1), torch.tensor([[[1.0, 0.0, 0.0]] * 2]))


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(4)), top_k=st.integers(1, 4), seed=st.integers(0, 99))
def test_the_order_of_experts_changes_nothing(order: list[int], top_k: int, seed: int) -> None:
    hidden, gate, experts = random(2, 5, 6, seed=seed), random(4, 6, seed=seed + 1), linear_experts(4)
    moved = GatedLayer([experts[index] for index in order], gate[order], top_k)
    assert torch.allclose(moved(hidden), GatedLayer(experts, gate, top_k)(hidden), atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(top_k=st.integers(1, 4), seed=st.integers(0, 99))
def test_weights_of_a_token_sum_to_one_over_top_k_experts(top_k: int, seed: int) -> None:
    weights = route(random(3, 5, 6, seed=seed), random(4, 6, seed=seed + 1), top_k)
    assert torch.allclose(weights.sum(dim=-1), torch.ones(3, 5))
    assert ((weights > 0).any(dim=1).sum(dim=-1) == top_k).all()


def test_experts_that_no_prompt_needs_are_not_run() -> None:
    experts = linear_experts(3)
    calls: list[int] = []
    for index, expert in enumerate(experts):
        expert.register_forward_hook(lambda *_, index=index: calls.append(index))
    gate = torch.eye(3, 6)
    GatedLayer(experts, gate, 1)(torch.stack([gate[[0] * 4], gate[[2] * 4]]))
    assert calls == [0, 2]


@pytest.mark.parametrize(
    ("config", "blocks", "n_transformers"),
    [
        (SD, {"down_blocks.0", "down_blocks.1", "down_blocks.2", "up_blocks.1", "up_blocks.2", "up_blocks.3"}, 6 + 9),
        (SDXL, {"down_blocks.1", "down_blocks.2", "up_blocks.0", "up_blocks.1"}, 2 * 2 + 2 * 10 + 3 * 10 + 3 * 2),
    ],
)
@pytest.mark.parametrize(("moe_layers", "n_layers"), [("attn", 6), ("ff", 1), ("all", 7)])
def test_expert_layers_are_segmoes(
    config: dict[str, object], blocks: set[str], n_transformers: int, moe_layers: MoeLayers, n_layers: int
) -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config)
    layers = expert_layers(unet, moe_layers)
    assert {".".join(layer.split(".")[:2]) for layer in layers} == blocks
    assert len(set(layers)) == len(layers) == n_transformers * n_layers
    assert {layer.split(".transformer_blocks.")[1][2:] for layer in layers} == set(naive_segmoe.LAYERS[moe_layers])


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_a_gated_unet_is_segmoes_prompt_by_prompt(
    tiny_spec: EnsembleSpec,
    tmp_path: Path,
    whole_unets: list[UNet2DConditionModel],
    gates: dict[str, Tensor],
    given_to_unets: tuple[Tensor, Tensor, Tensor],
    top_k: int,
) -> None:
    naive = naive_unet(write_by_hand(tiny_spec, tmp_path / "segmoe", top_k=top_k))
    latents, timestep, states = given_to_unets
    expected = torch.cat([predict(naive, latents[i : i + 1], timestep, states[i : i + 1]) for i in (0, 1)])
    assert torch.allclose(predict(gated_unet(whole_unets, gates, top_k), *given_to_unets), expected, atol=1e-5)


def test_a_segmoe_folder_gives_segmoes_mid_block(
    tiny_spec: EnsembleSpec, tmp_path: Path, given_to_unets: tuple[Tensor, Tensor, Tensor]
) -> None:
    folder = write_by_hand(tiny_spec, tmp_path / "segmoe", top_k=2)
    naive, features = naive_unet(folder), []
    naive.mid_block.register_forward_hook(lambda _module, _args, output: features.append(output))
    latents, timestep, states = given_to_unets
    for index in (0, 1):
        predict(naive, latents[index : index + 1], timestep, states[index : index + 1])
    unets = [build_unet(unet.config, unet.tensors, unet.where) for unet in read_segmoe_unets(folder)]
    mixture = gated_unet(unets, read_segmoe_gates(folder), 2)
    assert torch.allclose(predict(mixture, *given_to_unets), torch.cat(features), atol=1e-5)


def test_equal_experts_give_the_pure_path(
    whole_unets: list[UNet2DConditionModel],
    gates: dict[str, Tensor],
    given_to_unets: tuple[Tensor, Tensor, Tensor],
) -> None:
    pure = predict(whole_unets[1], *given_to_unets)
    assert torch.allclose(predict(gated_unet([whole_unets[1]] * 3, gates, 2), *given_to_unets), pure, atol=1e-5)
    assert not torch.allclose(predict(gated_unet(whole_unets, gates, 2), *given_to_unets), pure, atol=1e-5)


def test_permuted_experts_give_the_same_mixture(
    whole_unets: list[UNet2DConditionModel],
    gates: dict[str, Tensor],
    given_to_unets: tuple[Tensor, Tensor, Tensor],
) -> None:
    moved = gated_unet([whole_unets[i] for i in (2, 0, 1)], {k: gate[[2, 0, 1]] for k, gate in gates.items()}, 2)
    expected = predict(gated_unet(whole_unets, gates, 2), *given_to_unets)
    assert torch.allclose(predict(moved, *given_to_unets), expected, atol=1e-5)


def test_a_mixture_shares_its_weights_and_leaves_the_unets_as_they_are(
    whole_unets: list[UNet2DConditionModel],
    gates: dict[str, Tensor],
    given_to_unets: tuple[Tensor, Tensor, Tensor],
) -> None:
    before = predict(whole_unets[0], *given_to_unets)
    mixture = gated_unet(whole_unets, gates, 2)
    places = {weight.data_ptr() for unet in whole_unets for weight in unet.parameters()}
    assert all(weight.data_ptr() in places for weight in mixture.parameters())
    assert isinstance(mixture.get_submodule(TO_K), GatedLayer)
    assert isinstance(whole_unets[0].get_submodule(TO_K), nn.Linear)
    assert torch.equal(predict(whole_unets[0], *given_to_unets), before)


def test_what_cannot_be_mixed_is_refused(whole_unets: list[UNet2DConditionModel], gates: dict[str, Tensor]) -> None:
    for top_k in (0, 4):
        with pytest.raises(EnsembleError, match=f"top_k is {top_k}, expected 1 to 3"):
            gated_unet(whole_unets, gates, top_k)
    with pytest.raises(EnsembleError, match=f"differ in weights that have no gate: {TO_K}.weight;"):
        gated_unet(whole_unets, {layer: gate for layer, gate in gates.items() if layer != TO_K}, 2)
    with pytest.raises(EnsembleError, match=rf"gate of {FF} has shape \[3, 5\], expected \[3, 16\]"):
        gated_unet(whole_unets, gates | {FF: torch.zeros(3, 5)}, 2)
    with pytest.raises(EnsembleError, match=r"has shape \[3, 8\], expected \[2, 8\] \(experts, width\)"):
        gated_unet(whole_unets[:2], gates, 2)
    with pytest.raises(EnsembleError, match=r"gate of down_blocks.7.ff: the UNet has no such layer"):
        gated_unet(whole_unets, gates | {"down_blocks.7.ff": torch.zeros(3, 5)}, 2)


PROMPTS = [GatePrompts(positive="red dog", negative="grey"), GatePrompts(positive="Haus", negative="")]


@pytest.fixture(scope="module")
def pipelines(tiny_spec: EnsembleSpec, whole_unets: list[UNet2DConditionModel]) -> list[StableDiffusionPipeline]:
    made = [StableDiffusionPipeline.from_pretrained(tiny_spec.base.source, unet=unet) for unet in whole_unets[:2]]
    for pipeline in made:
        pipeline.set_progress_bar_config(disable=True)
    return made


@torch.no_grad()
def naive_row(pipeline: StableDiffusionPipeline, prompts: GatePrompts, layer: str, seed: int) -> Tensor:
    """One gate vector by a sampling loop of its own; what enters the layer is seen by a layer put before it."""
    unet = copy.deepcopy(pipeline.unet)
    seen: list[Tensor] = []

    class Window(nn.Module):
        def forward(self, hidden: Tensor) -> Tensor:
            seen.append(hidden)
            return hidden

    parent, _, name = layer.rpartition(".")
    setattr(unet.get_submodule(parent), name, nn.Sequential(Window(), unet.get_submodule(layer)))
    tokens = pipeline.tokenizer(
        [prompts.negative, prompts.positive], padding="max_length", max_length=32, return_tensors="pt"
    )
    states = pipeline.text_encoder(tokens.input_ids)[0]
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(25)
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(1, 4, 8, 8, generator=generator)
    for timestep in scheduler.timesteps:
        without, with_text = predict(unet, latents.expand(2, -1, -1, -1), timestep, states).chunk(2)
        guided = without + 7.5 * (with_text - without)
        latents = scheduler.step(guided, timestep, latents, generator=generator).prev_sample
    assert len(seen) == 25
    mean = seen[-1][1].sum(dim=0) / seen[-1].shape[1]
    return mean / mean.pow(2).sum().sqrt()


def test_gates_are_what_enters_a_layer_at_the_last_step(pipelines: list[StableDiffusionPipeline]) -> None:
    gates = build_gates(pipelines, PROMPTS, moe_layers="all", seed=3)
    assert gates.keys() == set(expert_layers(pipelines[0].unet, "all"))
    for layer in (TO_K, FF, "up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"):
        rows = [naive_row(*pair, layer, 3) for pair in zip(pipelines, PROMPTS, strict=True)]
        assert torch.allclose(gates[layer], torch.stack(rows), atol=1e-4), layer


def test_gates_are_seeded_and_follow_the_order_of_experts(pipelines: list[StableDiffusionPipeline]) -> None:
    first, again, other = (build_gates(pipelines, PROMPTS, moe_layers="ff", seed=seed)[FF] for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-4)
    assert torch.equal(build_gates(pipelines[::-1], PROMPTS[::-1], moe_layers="ff", seed=3)[FF], first.flip(0))


def test_pipelines_are_left_as_they_were(pipelines: list[StableDiffusionPipeline]) -> None:
    build_gates(pipelines, PROMPTS, moe_layers="attn", seed=0)
    assert all(type(pipeline.scheduler) is DDIMScheduler for pipeline in pipelines)
    assert not any(module._forward_pre_hooks for pipeline in pipelines for module in pipeline.unet.modules())
