"""Two experts in many variants: what sets them apart is style, length, seed, captions, or where they start.

What one expert learns is a function of its `Expert` alone, so an expert that several variants have is trained once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel

from emoe_audit.errors import EnsembleError
from emoe_audit.recipes.contrastive import Examples
from emoe_audit.recipes.drawings import STYLES
from emoe_audit.recipes.package import read_vae
from emoe_audit.recipes.plan import Plan
from emoe_audit.recipes.sampling import Batch, Sampler
from emoe_audit.recipes.tokenizer import load_tokenizer
from emoe_audit.recipes.training import train
from emoe_audit.recipes.unet import EXPERT_LAYERS, Denoising, caption_states, make_unet
from emoe_audit.recipes.vae import encode_drawings
from emoe_audit.recipes.world import World, build_world
from emoe_audit.types import EnsembleSpec

ALL_STYLES = tuple(STYLES)
FINE_TUNING_RATE, SCRATCH_RATE = 4e-4, 8e-4
"""As the shipped experts, and the base, are trained."""
EMA_DECAY = 0.99
NOISE_SEEDS = 1_000_000
"""More than there are steps: the noises of one seed are not those of another."""


@dataclass(frozen=True, kw_only=True)
class Expert:
    """What one expert learns from, for how long, and where it starts."""

    steps: int
    styles: tuple[str, ...] = ALL_STYLES
    half: int | None = None
    """0 or 1: it draws only from this random half of the (concept, language) pairs."""
    seed: int = 0
    """Of the draws, the noises and a random start, on top of the plan's; the shipped experts have 0."""
    from_base: bool = True
    """Whether the base is fine-tuned in `EXPERT_LAYERS`; else all weights are trained from a random start."""

    @property
    def stage(self) -> str:
        """Of the sampler, named as those of the shipped experts are."""
        return f"expert {'+'.join(self.styles)}"

    @property
    def name(self) -> str:
        """Of its files."""
        data = "all" if self.styles == ALL_STYLES else "+".join(self.styles)
        half = "" if self.half is None else f"-half-{self.half}"
        return f"{'expert' if self.from_base else 'scratch'}-{data}{half}-seed-{self.seed}-steps-{self.steps}"


Pair = tuple[Expert, Expert]


def _two_styles(steps: int) -> Pair:
    return Expert(steps=steps, styles=("noto",)), Expert(steps=steps, styles=("twemoji",))


VARIANTS: dict[str, Pair] = {
    "styles 100": _two_styles(100),
    "styles 350": _two_styles(350),
    "styles 700": _two_styles(700),
    "same data 350": (Expert(steps=350), Expert(steps=350, seed=1)),
    "halves 350": (Expert(steps=350, half=0), Expert(steps=350, half=1)),
    "one style, two seeds 350": (
        Expert(steps=350, styles=("noto",)),
        Expert(steps=350, styles=("noto",), seed=1),
    ),
    "scratch 1000": (Expert(steps=1000, from_base=False), Expert(steps=1000, from_base=False, seed=1)),
}
"""The two experts of each variant."""


def scaled(pair: Pair, scale: float) -> Pair:
    """The same pair trained `scale` times as long, one step at least."""
    first, second = (replace(expert, steps=max(1, round(scale * expert.steps))) for expert in pair)
    return first, second


@dataclass(frozen=True, kw_only=True)
class HalfSampler(Sampler):
    """Draws as the plan does, and leaves out what is not `wanted`."""

    wanted: np.ndarray
    """bool `[concept, language]`."""

    def draw(self, stage: str, step: int, n: int) -> Batch:
        """`n` examples of one step: the first that are wanted among the plan's draws."""
        size, kept = n, np.array([], dtype=np.int64)
        while len(kept) < n:
            size *= 2
            batch = super().draw(stage, step, size)
            kept = np.flatnonzero(self.wanted[batch.concepts, batch.languages])[:n]
        return Batch(concepts=batch.concepts[kept], languages=batch.languages[kept], styles=batch.styles[kept])


def random_half(world: World, seed: int) -> np.ndarray:
    """Half of the (concept, language) pairs at random, bool `[concept, language]`."""
    n_pairs = world.captions.size
    order = np.random.default_rng(seed).permutation(n_pairs)
    return (order < n_pairs // 2).reshape(world.captions.shape)


class Nursery:
    """Trains experts as a finished ensemble's were: on its base, text encoder, autoencoder and plan."""

    def __init__(self, spec: EnsembleSpec, cache: Path, device: torch.device) -> None:
        """Read the plan and the world; the world is built in `cache` where it is not there yet.

        Raises:
            EnsembleError: the ensemble has no plan, so it was not made by a recipe.
        """
        self.spec, self.base_folder, self.device = spec, Path(spec.base.source), device
        plan_file = self.base_folder.parent / "plan.yaml"
        if not plan_file.is_file():
            raise EnsembleError(f"{spec.name}: no {plan_file}, so it is not known how to train more of its experts")
        self.plan = Plan.read(plan_file)
        shared = cache / "-".join(self.plan.kinds)
        self.world = build_world(shared / "world", cache / "npm", self.plan.kinds)
        self.folder = shared / self.plan.name / "diversity"

    def train(self, expert: Expert) -> UNet2DConditionModel:
        """The expert's whole UNet, in eval mode; read where it has been trained, gone on with where it was stopped."""
        torch.manual_seed(self.plan.seed + expert.seed)
        unet = make_unet().to(self.device)
        if expert.from_base:
            unet.load_state_dict(self.base.state_dict())
            for name, parameter in unet.named_parameters():
                parameter.requires_grad_(EXPERT_LAYERS.search(name) is not None)
        denoising, sampler = self.denoising(expert.styles), self.sampler(expert)

        def loss(step: int) -> Tensor:
            torch.manual_seed(NOISE_SEEDS * expert.seed + step)
            return denoising.loss(unet, sampler, expert.stage, step)

        rate = FINE_TUNING_RATE if expert.from_base else SCRATCH_RATE
        train(
            expert.name,
            unet,
            loss,
            steps=expert.steps,
            learning_rate=rate,
            folder=self.folder,
            ema_decay=EMA_DECAY,
        )
        return unet

    def sampler(self, expert: Expert) -> Sampler:
        """What the expert draws from."""
        own: dict[str, Any] = {"world": self.world, "plan": self.plan, "styles": expert.styles}
        own["seed"] = self.plan.seed + expert.seed
        if expert.half is None:
            return Sampler(**own)
        first = random_half(self.world, self.plan.seed)
        return HalfSampler(**own, wanted=~first if expert.half else first)

    def denoising(self, styles: tuple[str, ...]) -> Denoising:
        """The loss on the drawings of some styles."""
        own, vae = self._examples(styles), read_vae(self.spec, self.device)
        latents = encode_drawings(vae, own) * vae.config.scaling_factor
        return Denoising(own, latents, *self._states)

    @cached_property
    def base(self) -> UNet2DConditionModel:
        """The ensemble's base, in float32."""
        unet: UNet2DConditionModel = UNet2DConditionModel.from_pretrained(
            self.base_folder, subfolder="unet", torch_dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
        return unet.to(self.device)

    @cached_property
    def _states(self) -> tuple[Tensor, Tensor]:
        """The text states of all captions, and those of the empty one."""
        text: CLIPTextModel = CLIPTextModel.from_pretrained(
            self.base_folder, subfolder="text_encoder", use_safetensors=True, local_files_only=True
        )
        text = text.float().to(self.device)
        empty = self._tokenizer("", padding="max_length", return_tensors="pt").input_ids.to(self.device)
        states = caption_states(text, self._examples(ALL_STYLES))
        with torch.no_grad():
            return states, text(input_ids=empty).last_hidden_state

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self.base_folder / "tokenizer")

    def _examples(self, styles: tuple[str, ...]) -> Examples:
        return Examples(self.world, self._tokenizer, styles, self.device)
