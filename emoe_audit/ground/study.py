"""One ensemble and some prompts, of which features are read in many ways; figures are drawn elsewhere.

A member is a UNet. Which members there are is a question of which layers an expert has as its own: those of the
ensemble's assembly, those of another assembly, those from some block on. Everything else of a member is the base's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cached_property, partial
from itertools import islice

import torch
from diffusers import UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.expert_layers import is_expert_layer
from emoe_audit.experts.gates import expert_layers
from emoe_audit.ground.readouts import walk
from emoe_audit.quality.pipelines import load_pipeline
from emoe_audit.scoring.conditioning import TextStates
from emoe_audit.scoring.expert_path import mid_block_features, prompt_free_start
from emoe_audit.scoring.first_step import draw_noise, first_step
from emoe_audit.scoring.gated_paths import gated_paths
from emoe_audit.scoring.loading import load_engine
from emoe_audit.types import Assembly, EnsembleSpec, MoeLayers, ScoringConfig

BATCH = 64
TOP_K = 2
"""Experts that a gate lets take part, as in the published mixtures of four."""

Features = Float[Tensor, "expert prompt channel height width"]
Own = Callable[[str], bool]
"""Whether a weight of this name is an expert's own in a member."""


class Study:
    """An ensemble, whole UNets of its base and experts in float32, and the text states of some prompts."""

    def __init__(self, spec: EnsembleSpec, texts: Sequence[str], *, seed: int = 0, device: str = "auto") -> None:
        """Load what is needed.

        Raises:
            EnsembleError: the ensemble is of SDXL's kind, has one expert, a split, gated paths, emergent members or
                text encoders of the experts' own.
            QualityError: base or experts are no pipelines that can draw, so there are no whole UNets.
        """
        if spec.split or spec.top_k is not None or spec.emergent is not None or spec.text_encoders == "own":
            raise EnsembleError(
                f"{spec.name}: ensembles with split, gated paths, emergent members or text encoders of the experts' "
                "own are not taken apart"
            )
        self.engine = load_engine(spec, ScoringConfig(seed=seed, batch_size=BATCH, device=device))
        if len(self.engine.ensemble.text_encoders) == 2:
            raise EnsembleError(f"{spec.name}: only Stable Diffusion 1.x and 2.x are taken apart, not SDXL")
        self.spec = spec
        self.states = self.engine.text_states(texts)
        names = [None, *self.engine.ensemble.experts]
        self.base, *self.whole = [load_pipeline(spec, name).unet.to(self.engine.ensemble.device) for name in names]

    def members(self, is_own: Own) -> list[UNet2DConditionModel]:
        """One UNet per expert."""
        return [grafted(self.base, expert, is_own) for expert in self.whole]

    @cached_property
    def unets(self) -> list[UNet2DConditionModel]:
        """The members in the ensemble's own assembly."""
        return self.members(assembled(self.base, self.spec.assembly, self.spec.moe_layers))

    @cached_property
    def features(self) -> Features:
        """The mid-blocks that the ensemble's own scores are made of, from the first noise."""
        return self.mid_block(self.unets)

    def mid_block(
        self, unets: Sequence[UNet2DConditionModel], *, noise: int = 0, states: TextStates | None = None
    ) -> Features:
        """The mid-block of every UNet in the first step, as the engine reads it."""
        own, batches = self.engine.ensemble, (states or self.states).split(BATCH)
        latent, timestep = first_step(own.scheduler, self._noise(noise), self.engine.config.num_inference_steps)
        start = partial(prompt_free_start, latent=latent.to(own.device), timestep=timestep.to(own.device))
        paths = [(unet, start(unet)) for unet in unets]
        return torch.stack([torch.cat([mid_block_features(*path, batch) for batch in batches]) for path in paths])

    def empty(self) -> Float[Tensor, "expert 1 channel height width"]:
        """The same of the empty prompt."""
        return self.mid_block(self.unets, states=self.engine.text_states([""]))

    def walked(self, wanted: Collection[tuple[int, str]]) -> dict[tuple[int, str], Features]:
        """Every member walks its own path from the first noise; what is read, by step and name of the readout."""
        paths = [self._walked(unet, wanted) for unet in self.unets]
        return {place: torch.stack([path[place] for path in paths]) for place in wanted}

    def gated(self) -> list[UNet2DConditionModel]:
        """Members on gated paths; a gate routes to the best two experts."""
        members = self.members(partial(is_expert_layer, moe_layers=self.spec.moe_layers))
        empty = self.engine.text_states([""])
        return gated_paths(
            members,
            self.spec.moe_layers,
            min(TOP_K, len(members)),
            lambda unet: self.mid_block([unet], states=empty),
        )

    def _walked(
        self, unet: UNet2DConditionModel, wanted: Collection[tuple[int, str]]
    ) -> dict[tuple[int, str], Float[Tensor, "prompt channel height width"]]:
        found: dict[tuple[int, str], list[Tensor]] = {place: [] for place in wanted}
        last, scheduler = max(step for step, _ in wanted), self.engine.ensemble.scheduler
        n_steps = self.engine.config.num_inference_steps
        for batch in self.states.split(BATCH):
            steps = walk(unet, scheduler, self._noise(0), batch.embeds, n_steps)
            for number, readouts in enumerate(islice(steps, last + 1)):
                for place in wanted:
                    if place[0] == number:
                        found[place].append(readouts[place[1]])
        return {place: torch.cat(parts) for place, parts in found.items()}

    def _noise(self, index: int) -> Float[Tensor, "1 channel height width"]:
        return draw_noise(self.engine.config.seed, index, self.engine.ensemble.latent_shape)


def grafted(base: UNet2DConditionModel, expert: UNet2DConditionModel, is_own: Own) -> UNet2DConditionModel:
    """The base with the expert's weights where they are its own; memory is shared with both."""
    own = expert.state_dict()
    weights = {key: own[key] if is_own(key) else tensor for key, tensor in base.state_dict().items()}
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(base.config)
    unet.load_state_dict(weights, assign=True)
    return unet.requires_grad_(False).eval()


def assembled(base: UNet2DConditionModel, assembly: Assembly, moe_layers: MoeLayers = "all") -> Own:
    """An expert's own weights in an assembly, the up blocks of a shared trunk included."""
    if assembly == "independent":
        return lambda _key: True
    layers = tuple(f"{name}." for name in expert_layers(base, moe_layers))
    return lambda key: key.startswith(layers)


def from_block(base: UNet2DConditionModel, first: int) -> Own:
    """An expert's own weights when it leaves the base at down block `first`; one too many means at the mid-block."""
    blocks = [f"down_blocks.{number}." for number in range(first, len(base.down_blocks))]
    return lambda key: key.startswith((*blocks, "mid_block.", "up_blocks.", "conv_norm_out.", "conv_out."))


def nothing(_key: str) -> bool:
    """An expert's own weights in the base."""
    return False
