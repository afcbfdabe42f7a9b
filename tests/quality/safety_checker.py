"""A tiny safety checker, as Stable Diffusion 1.x ships one, with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import CLIPConfig, CLIPImageProcessor

NEVER, ALWAYS = 2.0, -2.0
"""Thresholds above and below every cosine."""


def write_safety_checker(pipeline: Path, threshold: float) -> None:
    """Add to a pipeline a checker that flags what has a cosine above the threshold with its only live concept."""
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        checker = StableDiffusionSafetyChecker(CLIPConfig(projection_dim=8, vision_config=vision))
        for weight in checker.parameters():
            weight.data.normal_()
    checker.special_care_embeds_weights.data.fill_(NEVER)
    checker.concept_embeds_weights.data.fill_(NEVER)
    checker.concept_embeds_weights.data[0] = threshold
    checker.save_pretrained(pipeline / "safety_checker")
    size = {"height": 32, "width": 32}
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size).save_pretrained(pipeline / "feature_extractor")
    index = json.loads((pipeline / "model_index.json").read_text(encoding="utf-8"))
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    (pipeline / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
