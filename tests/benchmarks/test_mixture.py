"""What the mixture of an embedded ensemble draws: as an independent one does, and how well, beside base and experts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file

from emoe_audit.experts.coverage import read_coverage
from emoe_audit.experts.gates import GatedLayer
from emoe_audit.experts.spec import load_spec
from emoe_audit.prompts.captions import choose_captions
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.quality.candidates import draw_candidates
from emoe_audit.quality.illustrator import Illustrator
from emoe_audit.quality.pipelines import load_pipeline
from emoe_audit.types import MIXTURE, EnsembleSpec, ImageConfig, Prompt
from tests.benchmarks.record import merge_record
from tests.benchmarks.sd15 import all_cores
from tests.naive_segmoe import NaiveBlock

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(0)]
WORLDS = ("emoji-a", "emoji-b")
N_IMAGES, AT_ONCE = 200, 40
READ = 10
"""A prompt is drawn right where its source caption is among so many of the candidates."""


def by_hand(spec: EnsembleSpec, mixture: UNet2DConditionModel) -> UNet2DConditionModel:
    """The mixture with SegMoE's own routing, from the files of the experts and the gates that were made."""
    unet = UNet2DConditionModel.from_pretrained(spec.base.source, subfolder="unet").float()
    files = [load_file(Path(expert.source) / "unet_delta.safetensors") for expert in spec.experts]
    for layer, gated in [(name, own) for name, own in mixture.named_modules() if isinstance(own, GatedLayer)]:
        parent, _, name = layer.rpartition(".")
        block = NaiveBlock(unet.get_submodule(layer), len(files), gated.top_k)
        block.gate.weight.data = gated.gate.clone()
        for expert, own in zip(block.experts, files, strict=True):
            expert.load_state_dict(
                {key.removeprefix(f"{layer}."): w.float() for key, w in own.items() if key.startswith(f"{layer}.")}
            )
        setattr(unet.get_submodule(parent), name, block)
    return unet.eval()


def latents(pipeline: Any, texts: list[str], first: int = 0) -> torch.Tensor:
    noises = [torch.Generator().manual_seed(first + place) for place in range(len(texts))]
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline(texts, generator=noises, num_inference_steps=20, guidance_scale=3.0, output_type="latent")
    found: torch.Tensor = drawn.images
    return found


def drawn_and_judged(spec: EnsembleSpec, expert: str | None, chosen: pd.DataFrame) -> pd.DataFrame:
    """Mean of each language: cosine with the source caption, and the share that is drawn right."""
    english = chosen[chosen["language"] == "en"].set_index("source_id")["prompt"].to_dict()
    config = ImageConfig(expert=expert, device="cpu", batch_size=AT_ONCE)
    illustrator = Illustrator(spec, config, english, draw_candidates(spec))
    judged = []
    for start in range(0, len(chosen), AT_ONCE):
        part = chosen.iloc[start : start + AT_ONCE]
        rows = zip(part["prompt"], part["language"], part["source_id"], strict=True)
        prompts = [Prompt(prompt_id="", prompt=text, language=tag, source_id=own) for text, tag, own in rows]
        frame = illustrator.judge(prompts, [[own] for own in part["source_id"]]).rows
        judged.append(frame.assign(language=part["language"].to_numpy()))
    found = pd.concat(judged)
    found["right"] = found["source_rank"] <= READ
    return found.groupby("language")[["clip_cosine_source", "right"]].mean()


def test_the_mixture_of_an_embedded_ensemble_draws_as_an_independent_one_and_is_judged() -> None:
    figures: dict[str, float] = {}
    rows: list[dict[str, Any]] = []
    with all_cores():
        for world in WORLDS:
            spec = load_spec(world)
            prompts = default_prompts(spec).frame
            chosen = prompts[prompts["source_id"].isin(choose_captions(prompts, N_IMAGES).source_ids)]
            pipeline = load_pipeline(spec, MIXTURE)
            texts = chosen["prompt"].iloc[:: len(chosen) // 6][:6].to_list()
            parts = pipeline.components | {"unet": by_hand(spec, pipeline.unet)}
            naive = StableDiffusionPipeline(**parts, requires_safety_checker=False)
            alone = torch.cat([latents(naive, [text], place) for place, text in enumerate(texts)])
            figures[f"mixture_error_{world}"] = float((latents(pipeline, texts) - alone).abs().max())
            known = read_coverage(str(spec.training_coverage)).query("by == 'language'")
            coverage = dict(zip(known["group"], known["coverage"], strict=True))
            for who in (None, MIXTURE, *(expert.name for expert in spec.experts)):
                means = drawn_and_judged(spec, who, chosen)
                figures[f"drawn_right_{world}_{who or 'base'}"] = float(means["right"].mean())
                rows += [
                    {"world": world, "drawn_by": who or "base", "coverage": coverage.get(language)}
                    | {"language": str(language), **own}
                    for language, own in means.to_dict("index").items()
                ]
    figures["mixture_error"] = max(figures.pop(f"mixture_error_{world}") for world in WORLDS)
    merge_record("residency", "mixture", figures, rows)
    assert figures["mixture_error"] <= 1e-4
