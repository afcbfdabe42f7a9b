"""What the shipped weights can do, measured with the judge: the figures of the model card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline
from torch import Tensor

from emoe_audit.prompts.emoji import SOURCE_LANGUAGE
from emoe_audit.recipes.contrastive import Examples
from emoe_audit.recipes.world import World

TOP = 10
GUIDANCE_SCALE, INFERENCE_STEPS = 3.0, 20


@torch.no_grad()
def text_matrix(encode: Callable[[Tensor], Tensor], examples: Examples, language: str) -> Tensor:
    """Normalised text features of every concept's caption, `[concept, d]`."""
    ids = examples.ids[list(examples.world.captions.columns).index(language)]
    return F.normalize(torch.cat([encode(chunk).float() for chunk in ids.split(512)]), dim=-1)


@torch.no_grad()
def image_matrix(encode: Callable[[Tensor], Tensor], examples: Examples) -> tuple[Tensor, np.ndarray]:
    """Normalised image features of every drawing, `[drawing, d]`, and the concept of each."""
    places: list[int] = []
    concepts: list[int] = []
    for row in examples.place:
        places.extend(row[row >= 0])
        concepts.extend(np.nonzero(row >= 0)[0])
    chunks = torch.tensor(places, device=examples.device).split(512)
    features = torch.cat([encode(examples.images(chunk)).float() for chunk in chunks])
    return F.normalize(features, dim=-1), np.array(concepts)


def ranks(similarity: Tensor, wanted: np.ndarray) -> np.ndarray:
    """0-based rank of the wanted column in each row; ties count against it."""
    chosen = similarity.gather(1, torch.from_numpy(wanted).to(similarity.device)[:, None])
    return (similarity >= chosen).sum(dim=1).cpu().numpy() - 1


def drawing_top1(
    encode_image: Callable[[Tensor], Tensor], encode_text: Callable[[Tensor], Tensor], examples: Examples
) -> float:
    """Share of real drawings whose own source-language caption comes first of all concepts."""
    images, concepts = image_matrix(encode_image, examples)
    return float((ranks(images @ text_matrix(encode_text, examples, SOURCE_LANGUAGE).T, concepts) == 0).mean())


def retrieval_by_language(
    encode_image: Callable[[Tensor], Tensor], encode_text: Callable[[Tensor], Tensor], examples: Examples
) -> pd.Series:
    """Recall at 10 of caption -> concept (mean of its drawings' features), for each language."""
    images, concepts = image_matrix(encode_image, examples)
    n = len(examples.world.concepts)
    prototypes = F.normalize(
        torch.zeros(n, images.shape[1], device=images.device).index_add_(
            0, torch.from_numpy(concepts).to(images.device), images
        ),
        dim=-1,
    )
    return pd.Series(
        {
            language: float(
                (ranks(text_matrix(encode_text, examples, language) @ prototypes.T, np.arange(n)) < TOP).mean()
            )
            for language in examples.world.captions
        }
    )


def image_top10_by_language(
    pipeline_folder: Path,
    encode_image: Callable[[Tensor], Tensor],
    encode_text: Callable[[Tensor], Tensor],
    examples: Examples,
    n_concepts: int = 100,
) -> tuple[pd.Series, dict[str, np.ndarray]]:
    """Share of generated images whose concept is in the judge's top 10 of all concepts, for each language.

    The same concepts, the same noise, for every language; the judge reads source-language captions. Returns the
    shares and the images, uint8 `[concept, 64, 64, 3]`, by language.
    """
    pipeline: Any = StableDiffusionPipeline.from_pretrained(
        pipeline_folder, safety_checker=None, use_safetensors=True, local_files_only=True
    )
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        part.float().to(examples.device)
    pipeline.set_progress_bar_config(disable=True)
    world, sources = examples.world, text_matrix(encode_text, examples, SOURCE_LANGUAGE)
    chosen = sample_concepts(world, n_concepts)
    noise = torch.randn(len(chosen), 8, 8, 8, generator=torch.Generator().manual_seed(0)).to(examples.device)
    shares, pictures = {}, {}
    for language in world.captions:
        made = pipeline(
            world.captions[language].iloc[chosen].tolist(),
            latents=noise,
            guidance_scale=GUIDANCE_SCALE,
            num_inference_steps=INFERENCE_STEPS,
            output_type="pt",
        ).images
        with torch.no_grad():
            features = F.normalize(encode_image(made.float() * 2 - 1).float(), dim=-1)
        shares[language] = float((ranks(features @ sources.T, chosen) < TOP).mean())
        pictures[language] = (made.permute(0, 2, 3, 1) * 255).round().byte().cpu().numpy()
    return pd.Series(shares), pictures


def sample_concepts(world: World, n: int) -> np.ndarray:
    """A fixed sample of concepts."""
    return np.sort(np.random.default_rng(0).permutation(len(world.concepts))[:n])
