"""Images for the quality measures: a plain diffusers pipeline of the base, or of an expert laid over it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL import Image
from safetensors.torch import load_file

from emoe_audit.errors import QualityError
from emoe_audit.experts.devices import resolve_device
from emoe_audit.experts.segmoe_recipe import is_segmoe_folder
from emoe_audit.experts.sources import DELTA_FILE
from emoe_audit.types import EnsembleSpec, ImageConfig, Prompt

SCORE_ONLY = "give --n-images 0 to score only"


class ImageMaker:
    """Makes one image a prompt. No safety checker runs: what a model draws is what is measured."""

    def __init__(self, spec: EnsembleSpec, config: ImageConfig) -> None:
        """Load the pipeline.

        Raises:
            QualityError: the base holds no pipeline that draws, or `config.expert` is none of the experts.
        """
        self.config = config
        self._pipeline = load_pipeline(spec, config.expert)
        self._pipeline.to(resolve_device(config.device))
        self._pipeline.set_progress_bar_config(disable=True)

    def make(self, prompts: Sequence[Prompt]) -> list[Image.Image]:
        """One image a prompt, in order. Translations of one caption start from the same noise."""
        generators = [torch.Generator().manual_seed(image_seed(self.config.seed, p.source_id)) for p in prompts]
        with _without_warnings():
            images: list[Image.Image] = self._pipeline(
                [prompt.prompt for prompt in prompts],
                generator=generators,
                num_inference_steps=self.config.num_inference_steps,
                guidance_scale=self.config.guidance_scale,
            ).images
        return images


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Prompts that are cut are counted and reported; the pipeline need not print each of them too."""
    levels = [(own, own.get_verbosity()) for own in (diffusers.utils.logging, transformers.utils.logging)]
    try:
        for own, _ in levels:
            own.set_verbosity_error()
        yield
    finally:
        for own, level in levels:
            own.set_verbosity(level)


def image_seed(seed: int, source_id: str) -> int:
    """The seed of an image: the same for all translations of a caption, on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{source_id}".encode()).digest()[:4], "big")


def quality_hash(spec: EnsembleSpec, config: ImageConfig) -> str:
    """SHA-256 over what draws and judges: the files of pipeline, expert and judge; of a hub id its name."""
    if config.n_images == 0:
        return ""
    drawn_by = [own for own in spec.experts if own.name == config.expert]
    sources = [f"{own.source}@{own.revision or ''}" for own in (spec.base, *drawn_by)] + [spec.judge or ""]
    digest = hashlib.sha256()
    for source in sources:
        folder = Path(source.removeprefix("local-dir:").rpartition("@")[0] or source.removeprefix("local-dir:"))
        if not folder.is_dir():
            digest.update(source.encode())
        for file in sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else ():
            digest.update(str(file.relative_to(folder)).encode())
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def check_source(spec: EnsembleSpec, expert: str | None) -> None:
    """Raise `QualityError` for a base that holds no pipeline, or an expert that cannot be laid over it."""
    chosen = [own for own in spec.experts if own.name == expert]
    if expert is not None and not chosen:
        raise QualityError(f"{spec.name} has no expert {expert!r}; it has {', '.join(o.name for o in spec.experts)}")
    for own in (spec.base, *chosen):
        if Path(own.source).is_file() or own.loras or own.segmoe_expert is not None:
            raise QualityError(f"{own.source}: only a pipeline in a folder or on the hub can draw; {SCORE_ONLY}")
    if is_segmoe_folder(Path(spec.base.source)):
        raise QualityError(f"{spec.base.source}: a mixture that SegMoE saved cannot draw here; {SCORE_ONLY}")
    if spec.judge is None:
        raise QualityError(f"{spec.name}: names no judge; add `judge:` to its YAML, or {SCORE_ONLY}")


def load_pipeline(spec: EnsembleSpec, expert: str | None) -> Any:
    """The whole pipeline of the base, or of an expert laid over it, in float32 on the CPU.

    Raises:
        QualityError: see `ImageMaker`.
    """
    check_source(spec, expert)
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    try:
        pipeline = DiffusionPipeline.from_pretrained(spec.base.source, revision=spec.base.revision, safety_checker=None)
    except (OSError, ValueError) as error:
        raise QualityError(
            f"{spec.base.source}: no Stable Diffusion pipeline that can draw: {error}; {SCORE_ONLY}"
        ) from error
    if not isinstance(pipeline, StableDiffusionPipeline | StableDiffusionXLPipeline):
        raise QualityError(f"{spec.base.source}: {type(pipeline).__name__} is not drawn with; {SCORE_ONLY}")
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.float()
    if expert is not None:
        _lay_over(pipeline.unet, spec, expert)
    return pipeline


def _lay_over(unet: torch.nn.Module, spec: EnsembleSpec, expert: str) -> None:
    """Replace the base's weights by an expert's."""
    folder = Path(next(own.source for own in spec.experts if own.name == expert))
    files = [folder / DELTA_FILE, folder / "unet" / "diffusion_pytorch_model.safetensors"]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise QualityError(f"{folder}: expert {expert!r} has neither {DELTA_FILE} nor unet/{files[1].name}")
    unexpected = unet.load_state_dict(load_file(found), strict=False).unexpected_keys
    if unexpected:
        raise QualityError(f"{found}: keys that the base does not have: {', '.join(unexpected[:3])}")
