"""The mixture draws what SegMoE draws one prompt at a time, whatever is drawn beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from emoe_audit.audit import run_audit
from emoe_audit.errors import EnsembleError, QualityError
from emoe_audit.experts.drawer import who_draws
from emoe_audit.experts.emergent_recipe import make_emergent_ensemble
from emoe_audit.experts.gates import build_gates
from emoe_audit.experts.segmoe_recipe import segmoe_folder_spec
from emoe_audit.experts.spec import load_spec, save_spec
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.quality.hashes import quality_hash
from emoe_audit.quality.images import ImageMaker, made_from
from emoe_audit.quality.pipelines import check_source, load_pipeline
from emoe_audit.types import MIXTURE, EnsembleSpec, GatePrompts, ImageConfig, MixtureSpec, Prompt, ScoringConfig
from tests import naive_segmoe
from tests.naive_segmoe import WEIGHTS, NaiveBlock, base_state, expert_states, naive_unet, write_by_hand

pytestmark = pytest.mark.slow

TEXTS = ["dog", "眠っている顔", "ein Haus am Meer"]
CONFIG = ImageConfig(num_inference_steps=2, device="cpu")
AS_GOOD = 1e-4
"""The largest difference of latents, in float32."""


def latents(pipeline: Any, texts: list[str], guidance: float) -> Tensor:
    pipeline.set_progress_bar_config(disable=True)
    noises = [torch.Generator().manual_seed(TEXTS.index(text)) for text in texts]
    drawn = pipeline(texts, generator=noises, num_inference_steps=3, guidance_scale=guidance, output_type="latent")
    found: Tensor = drawn.images
    return found


def one_by_one(folder: Path, guidance: float) -> Tensor:
    """What SegMoE draws: its routing looks at all prompts of a batch, so each is drawn alone.

    Where all gates of a layer are the same, any two experts are the best two: there all are taken.
    """
    unet = naive_unet(folder)
    for block in [own for own in unet.modules() if isinstance(own, NaiveBlock)]:
        if torch.allclose(block.gate.weight, block.gate.weight[:1], atol=1e-6):
            block.top_k = len(block.experts)
    pipeline = StableDiffusionPipeline.from_pretrained(folder, unet=unet, safety_checker=None)
    return torch.cat([latents(pipeline, [text], guidance) for text in TEXTS])


@pytest.fixture(scope="module")
def by_hand(tiny_spec: EnsembleSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_by_hand(tiny_spec, tmp_path_factory.mktemp("saved") / "segmoe", top_k=2)


@pytest.fixture(scope="module")
def saved(by_hand: Path, tiny_spec: EnsembleSpec) -> EnsembleSpec:
    """A folder that SegMoE saved."""
    return replace(segmoe_folder_spec(by_hand), judge=tiny_spec.judge, captions=tiny_spec.captions)


@pytest.mark.parametrize("guidance", [5.0, 1.0], ids=["guided", "not guided"])
def test_a_folder_that_segmoe_saved_draws_as_in_segmoe(saved: EnsembleSpec, by_hand: Path, guidance: float) -> None:
    expected = one_by_one(by_hand, guidance)
    pipeline = load_pipeline(saved, None, is_guided=guidance > 1)
    together, alone = latents(pipeline, TEXTS, guidance), latents(pipeline, TEXTS[1:2], guidance)
    assert (together - expected).abs().max() <= AS_GOOD
    assert (alone - expected[1:2]).abs().max() <= AS_GOOD


def test_without_both_halves_counted_together_it_is_another_mixture(saved: EnsembleSpec, by_hand: Path) -> None:
    halves_apart = load_pipeline(saved, None, is_guided=False)
    assert (latents(halves_apart, TEXTS, 5.0) - one_by_one(by_hand, 5.0)).abs().max() > 10 * AS_GOOD


def gated_by_hand(spec: EnsembleSpec, gates: dict[str, Tensor], folder: Path, top_k: int) -> Path:
    write_by_hand(spec, folder, top_k=top_k)
    stored = load_file(folder / "unet" / WEIGHTS)
    assert {f"{layer}.gate.weight" for layer in gates} == {key for key in stored if key.endswith(".gate.weight")}
    save_file(stored | {f"{layer}.gate.weight": gate for layer, gate in gates.items()}, folder / "unet" / WEIGHTS)
    return folder


@pytest.mark.parametrize("prompts", [(), ("photo", "drawing", "night")], ids=["empty", "named"])
def test_any_shared_trunk_draws_by_gates_that_are_made_as_segmoe_makes_them(
    tiny_spec: EnsembleSpec, tmp_path: Path, prompts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    everywhere = {"down_idx_start": 0, "down_idx_end": 3, "up_idx_start": 0, "up_idx_end": 3}
    monkeypatch.setattr(naive_segmoe, "RANGES", everywhere)  # the tiny UNet has attention in its last block, too
    layers = tuple(f"{layer}." for layer in naive_segmoe.expert_layers())
    pipelines = []
    for state in expert_states(tiny_spec):
        unet = UNet2DConditionModel.from_pretrained(tiny_spec.base.source, subfolder="unet")
        unet.load_state_dict(base_state(tiny_spec) | {key: w for key, w in state.items() if key.startswith(layers)})
        own = StableDiffusionPipeline.from_pretrained(tiny_spec.base.source, unet=unet, safety_checker=None)
        own.set_progress_bar_config(disable=True)
        pipelines.append(own)
    for_experts = tuple(GatePrompts(positive=text, negative="grey") for text in prompts)
    gates = build_gates(pipelines, for_experts or [GatePrompts()] * 3, moe_layers="all", seed=0)
    folder = gated_by_hand(tiny_spec, gates, tmp_path / "segmoe", top_k=1 if prompts else 2)

    mixture = MixtureSpec(top_k=1, prompts=for_experts) if prompts else None
    pipeline = load_pipeline(replace(tiny_spec, mixture=mixture), MIXTURE)
    assert (latents(pipeline, TEXTS, 5.0) - one_by_one(folder, 5.0)).abs().max() <= AS_GOOD


def test_the_order_of_experts_does_not_matter(tiny_spec: EnsembleSpec) -> None:
    """Not in layers that read the text either, whose gates are the same for all: there no two are the best two."""
    moved = replace(tiny_spec, experts=tiny_spec.experts[::-1])
    ours, theirs = (latents(load_pipeline(spec, MIXTURE), TEXTS, 5.0) for spec in (tiny_spec, moved))
    assert (ours - theirs).abs().max() <= AS_GOOD


def test_one_expert_of_a_saved_folder_draws_as_it_would_alone(saved: EnsembleSpec, tiny_spec: EnsembleSpec) -> None:
    layers = tuple(f"{layer}." for layer in naive_segmoe.expert_layers())
    own = {key: weight for key, weight in expert_states(tiny_spec)[1].items() if key.startswith(layers)}
    unet = load_pipeline(saved, "expert-1").unet.state_dict()
    assert unet.keys() == base_state(tiny_spec).keys()
    assert all(torch.equal(unet[key], weight) for key, weight in (base_state(tiny_spec) | own).items())


def test_a_saved_folder_under_other_experts_draws_as_its_first(saved: EnsembleSpec, tiny_spec: EnsembleSpec) -> None:
    """Which is the base of their scores, too."""
    first = load_pipeline(saved, "expert-0").unet.state_dict()
    others = replace(saved, experts=tiny_spec.experts)
    found = load_pipeline(others, None).unet.state_dict()
    assert all(torch.equal(found[key], weight) for key, weight in first.items())


@pytest.fixture(scope="module")
def recipe(tiny_spec: EnsembleSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the tiny ensemble, and what an audit needs beside it."""
    experts = "".join(
        f"  - {{source_model: {own.source}, positive_prompt: {text}, negative_prompt: grey}}\n"
        for own, text in zip(tiny_spec.experts, ("photo", "drawing", "night"), strict=True)
    )
    judge = str(tiny_spec.judge).removeprefix("local-dir:")
    file = tmp_path_factory.mktemp("recipe") / "mixed.yaml"
    file.write_text(
        f"base_model: {tiny_spec.base.source}\nnum_experts_per_tok: 1\ntype: sd\nmoe_layers: all\nexperts:\n{experts}"
        f"judge: {judge}\ncaptions: {tiny_spec.captions}\n"
    )
    return file


def test_a_recipe_of_segmoe_draws_by_its_prompts(recipe: Path, tiny_spec: EnsembleSpec) -> None:
    prompts = tuple(GatePrompts(positive=text, negative="grey") for text in ("photo", "drawing", "night"))
    mixture = MixtureSpec(top_k=1, prompts=prompts)
    spec = load_spec(recipe)
    assert (spec.mixture, spec.judge) == (mixture, tiny_spec.judge)
    ours, theirs = (
        load_pipeline(own, MIXTURE).unet.state_dict() for own in (spec, replace(tiny_spec, mixture=mixture))
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_an_ensemble_of_one_expert_of_a_recipe_mixes_nothing(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "emergent"
    make_emergent_ensemble(str(recipe), folder, n_members=2, n_clusters=8, top_k=4, what="unet", expert="expert-1")
    assert load_spec(folder).mixture is None


def test_a_base_with_a_lora_draws_with_it(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    layer = "up_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    whole = base_state(tiny_spec)
    down, up = torch.randn(2, 16), torch.randn(16, 2)
    name = f"lora_unet_{layer.replace('.', '_')}"
    save_file({f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}, tmp_path / "style.safetensors")
    spec = replace(tiny_spec, base=replace(tiny_spec.base, loras=(str(tmp_path / "style.safetensors"),)))
    found = load_pipeline(spec, None).unet.state_dict()
    expected = whole[f"{layer}.weight"] + up @ down
    assert torch.allclose(found[f"{layer}.weight"], expected, atol=1e-5)
    assert quality_hash(spec, CONFIG) != quality_hash(tiny_spec, CONFIG)


def test_a_report_says_that_the_mixture_drew(saved: EnsembleSpec, tmp_path: Path) -> None:
    scoring = ScoringConfig(n_noise=1, device="cpu", check_pairs=0)
    images = ImageConfig(n_images=4, num_inference_steps=1, device="cpu")
    result = run_audit(default_prompts(saved, n_concepts=2), saved, tmp_path / "run", scoring=scoring, images=images)
    assert "drawn by <bdi>mixture</bdi>" in result.report.read_text(encoding="utf-8")


def test_images_say_that_the_mixture_drew_them(saved: EnsembleSpec, tiny_spec: EnsembleSpec) -> None:
    prompt = Prompt(prompt_id="1", prompt="dog", source_id="1")
    said = [
        made_from(prompt, spec, replace(CONFIG, expert=expert), "")["expert"]
        for spec, expert in ((saved, None), (tiny_spec, MIXTURE), (tiny_spec, None), (saved, "expert-1"))
    ]
    assert said == ["mixture", "mixture", "base", "expert-1"]
    drawn = [
        ImageMaker(tiny_spec, replace(CONFIG, expert=expert)).make([prompt])[0].tobytes()
        for expert in (None, MIXTURE, "expert-0")
    ]
    assert len(set(drawn)) == 3


def test_the_hash_follows_who_draws_and_what_is_mixed_how(tiny_spec: EnsembleSpec, tiny_copy: Path) -> None:
    drawn = replace(CONFIG, expert=MIXTURE)
    whole, copy = quality_hash(tiny_spec, drawn), load_spec(tiny_copy)
    assert quality_hash(copy, drawn) == whole
    changed = [replace(copy, mixture=MixtureSpec(top_k=1)), replace(copy, moe_layers="attn"), replace(copy, split=1)]
    hashes = [quality_hash(tiny_spec, CONFIG), whole, *(quality_hash(spec, drawn) for spec in changed)]
    (Path(copy.experts[2].source) / "note.txt").write_text("changed")
    assert len({*hashes, quality_hash(copy, drawn)}) == 6


def test_what_cannot_be_mixed_is_refused_before_anything_is_scored(tiny_spec: EnsembleSpec) -> None:
    with pytest.raises(QualityError, match=r"takes the assembly shared_trunk; draw with one of expert-0, expert-1"):
        check_source(replace(tiny_spec, assembly="independent"), MIXTURE)
    with pytest.raises(QualityError, match=r"has no expert 'mix'; it has expert-0, .*, and mixture is all"):
        check_source(tiny_spec, "mix")
    assert who_draws(tiny_spec, None) is None


def test_how_experts_are_mixed_stands_in_the_file_of_an_ensemble(tiny_spec: EnsembleSpec, tiny_copy: Path) -> None:
    prompts = tuple(GatePrompts(positive=text) for text in ("photo", "drawing", ""))
    spec = replace(load_spec(tiny_copy), mixture=MixtureSpec(top_k=3, prompts=prompts))
    save_spec(spec, tiny_copy)
    assert load_spec(tiny_copy) == spec


@pytest.mark.parametrize(
    ("added", "told"),
    [
        ("mixture: {top_k: 4}", "top_k is 4, of 3 experts"),
        ("mixture: {top_k: 2, prompts: [{positive: photo}]}", "1 prompts, expected one for each of 3 experts"),
        ("mixture: {prompts: [{postive: photo}, {}, {}]}", "unknown key 'postive'; the nearest is 'positive'"),
    ],
)
def test_what_is_wrong_there_is_told_with_its_place(tiny_copy: Path, added: str, told: str) -> None:
    with (tiny_copy / "ensemble.yaml").open("a") as file:
        file.write(f"{added}\n")
    with pytest.raises(EnsembleError, match=rf"ensemble\.yaml:\d+:\d+: {told}"):
        load_spec(tiny_copy)


def test_no_expert_is_called_mixture(tiny_copy: Path) -> None:
    file = tiny_copy / "ensemble.yaml"
    file.write_text(file.read_text().replace("name: expert-1", "name: mixture"))
    with pytest.raises(EnsembleError, match="'mixture' is what all experts are together"):
        load_spec(tiny_copy)
