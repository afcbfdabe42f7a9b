"""Images for the quality measures: a plain diffusers pipeline of the base, or of an expert laid over it.

What a model draws is what is measured, so a pipeline's own safety checker is left out unless it is asked for.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from emoe_audit.errors import MissingPackageError, QualityError
from emoe_audit.experts.devices import is_out_of_memory, resolve_device
from emoe_audit.experts.segmoe_recipe import is_segmoe_folder
from emoe_audit.experts.sources import DELTA_FILE, read_json, read_tensors
from emoe_audit.quality.autoencoder import PART, files_of, load_autoencoder, with_autoencoder
from emoe_audit.quality.pipeline_folder import check_pipeline
from emoe_audit.types import EnsembleSpec, ExpertSpec, ImageConfig, Prompt, SafetyPolicy

log = logging.getLogger(__name__)
SCORE_ONLY = "give --n-images 0 to score only"
NO_PART: tuple[Any, ...] = (None, [], [None, None])
"""What `model_index.json` says of a part that is not there."""
NO_CHECKER = "has no safety checker; give --safety-checker off"


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """An image, and what the safety checker said of it."""

    image: Image.Image
    flagged: bool | None = None
    """None where no safety checker ran."""


class ImageMaker:
    """Makes one image a prompt."""

    def __init__(self, spec: EnsembleSpec, config: ImageConfig) -> None:
        """Load the pipeline.

        Raises:
            QualityError: the base holds no pipeline that draws, `config.expert` is none of the experts, or there is no
                safety checker to run.
        """
        self.config = config
        self._name, self._at_once = spec.name, config.batch_size
        self._pipeline = load_pipeline(spec, config.expert, config.safety_checker)
        self._pipeline.to(resolve_device(config.device))
        self._pipeline.set_progress_bar_config(disable=True)
        self._checker = None if config.safety_checker == "off" else SafetyChecker(self._pipeline)

    def make(self, prompts: Sequence[Prompt]) -> list[Image.Image]:
        """The images of `draw`."""
        return [drawing.image for drawing in self.draw(prompts)]

    def draw(self, prompts: Sequence[Prompt]) -> list[Drawing]:
        """One image a prompt, in order. Translations of one caption start from the same noise.

        `config.batch_size` are drawn at once, and from the first time that memory runs out half as many.

        Raises:
            QualityError: memory does not last for one image.
        """
        done: list[Drawing] = []
        while len(done) < len(prompts):
            done += self._draw_if_memory_lasts(prompts[len(done) : len(done) + self._at_once])
        return done

    def _draw_if_memory_lasts(self, prompts: Sequence[Prompt]) -> list[Drawing]:
        """Nothing where it did not; what a failed attempt held is free again after it."""
        try:
            return self._checked(self._drawn(prompts))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(prompts) == 1:
                raise QualityError(
                    f"{self._name}: out of memory with one image; give --device cpu, or {SCORE_ONLY}"
                ) from error
        self._at_once = len(prompts) // 2
        log.warning("%s: out of memory; going on with %d images at once", self._name, self._at_once)
        return []

    def _drawn(self, prompts: Sequence[Prompt]) -> list[Image.Image]:
        generators = [torch.Generator().manual_seed(image_seed(self.config.seed, p.source_id)) for p in prompts]
        with _without_warnings():
            images: list[Image.Image] = self._pipeline(
                [prompt.prompt for prompt in prompts],
                generator=generators,
                num_inference_steps=self.config.num_inference_steps,
                guidance_scale=self.config.guidance_scale,
            ).images
        return images

    def _checked(self, images: list[Image.Image]) -> list[Drawing]:
        if self._checker is None:
            return [Drawing(image=image) for image in images]
        flags, blanks = self._checker.flags(images), self.config.safety_checker == "blank"
        return [
            Drawing(image=Image.new("RGB", image.size) if flag and blanks else image, flagged=flag)
            for image, flag in zip(images, flags, strict=True)
        ]


class SafetyChecker:
    """A pipeline's own safety checker, taken out of it: there it would blank what it flags."""

    def __init__(self, pipeline: Any) -> None:
        """Take it; from now on the pipeline draws without."""
        self._model, self._preprocess = pipeline.safety_checker, pipeline.feature_extractor
        pipeline.safety_checker = None

    @torch.no_grad()
    def flags(self, images: Sequence[Image.Image]) -> list[bool]:
        """Whether each image is flagged."""
        pixels = self._preprocess(list(images), return_tensors="pt").pixel_values.to(self._model.device)
        with _without_warnings():
            _, flagged = self._model(images=torch.zeros(len(images), 1), clip_input=pixels)
        return [bool(flag) for flag in flagged]


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


def made_from(prompt: Prompt, spec: EnsembleSpec, config: ImageConfig, ensemble_hash: str) -> dict[str, str]:
    """What an image was made from, for `png`: enough to make it again. The expert of an image of the base is `base`."""
    return {
        "prompt": prompt.prompt,
        "prompt_id": prompt.prompt_id,
        "language": prompt.language,
        "seed": str(image_seed(config.seed, prompt.source_id)),
        "num_inference_steps": str(config.num_inference_steps),
        "guidance_scale": str(config.guidance_scale),
        "ensemble": spec.name,
        "ensemble_hash": ensemble_hash,
        "expert": config.expert or "base",
        "Software": f"emoe-audit {importlib.metadata.version('emoe-audit')}",
    }


def png(image: Image.Image, texts: Mapping[str, str]) -> bytes:
    """The image as PNG with texts in UTF-8 by keyword (iTXt chunks; `PIL.Image.open(...).text` reads them again)."""
    about, content = PngInfo(), io.BytesIO()
    for keyword, text in texts.items():
        about.add_itxt(keyword, text)
    image.save(content, "PNG", pnginfo=about)
    return content.getvalue()


def quality_hash(spec: EnsembleSpec, config: ImageConfig) -> str:
    """SHA-256 over what draws and judges: the files of pipeline, expert and judge; of a hub id its name.

    An autoencoder counts as a part of the pipeline wherever it lies.
    """
    if config.n_images == 0:
        return ""
    from emoe_audit.quality.clip_score import weights_file

    drawn_by = [own for own in spec.experts if own.name == config.expert]
    sources = [f"{own.source}@{own.revision or ''}" for own in (spec.base, *drawn_by)] + [spec.judge or ""]
    if spec.vae is not None and not Path(spec.vae).exists():
        sources.append(f"vae {spec.vae}")
    digest = hashlib.sha256()
    for index, source in enumerate(sources):
        folder = Path(source.removeprefix("local-dir:").rpartition("@")[0] or source.removeprefix("local-dir:"))
        if not folder.is_dir():
            digest.update(source.encode())
        files = with_autoencoder(files_of(folder), spec.vae) if index == 0 else files_of(folder)
        for place, file in sorted(files.items()):
            digest.update(str(place).encode())
            digest.update(_file_digest(file))
    weights = weights_file(spec.judge or "")
    if weights is not None and weights.is_file():
        digest.update(_file_digest(weights))
    return digest.hexdigest()


def _file_digest(file: Path) -> bytes:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()


def check_source(spec: EnsembleSpec, expert: str | None, safety_checker: SafetyPolicy = "off") -> None:
    """Raise `QualityError` for a base that holds no pipeline, or not what is asked for.

    That is an expert that can be laid over it, and a safety checker unless that is off; of a base on the hub the
    latter is known only when the pipeline is loaded.
    """
    chosen = [own for own in spec.experts if own.name == expert]
    if expert is not None and not chosen:
        raise QualityError(f"{spec.name} has no expert {expert!r}; it has {', '.join(o.name for o in spec.experts)}")
    if chosen and spec.emergent is not None:
        raise QualityError(f"{spec.name}: members of one checkpoint draw as the checkpoint does; leave the expert out")
    for own in (spec.base, *chosen):
        if Path(own.source).is_file() or own.loras or own.segmoe_expert is not None:
            raise QualityError(f"{own.source}: only a pipeline in a folder or on the hub can draw; {SCORE_ONLY}")
    if is_segmoe_folder(Path(spec.base.source)):
        raise QualityError(f"{spec.base.source}: a mixture that SegMoE saved cannot draw here; {SCORE_ONLY}")
    if spec.judge is None:
        raise QualityError(f"{spec.name}: names no judge; add `judge:` to its YAML, or {SCORE_ONLY}")
    index = Path(spec.base.source) / "model_index.json"
    if safety_checker != "off" and index.is_file() and read_json(index).get("safety_checker") in NO_PART:
        raise QualityError(f"{spec.base.source}: {NO_CHECKER}")


def load_pipeline(spec: EnsembleSpec, expert: str | None, safety_checker: SafetyPolicy = "off") -> Any:
    """The whole pipeline of the base, or of an expert laid over it, in float32 on the CPU.

    Its safety checker is a part of it unless that is off, its autoencoder the one that the ensemble names.

    Raises:
        QualityError: see `ImageMaker`.
    """
    check_source(spec, expert, safety_checker)
    parts: dict[str, Any] = {"image_encoder": None}
    if safety_checker == "off":
        parts |= {"safety_checker": None, "feature_extractor": None}
    if spec.vae is not None:
        parts[PART] = load_autoencoder(spec)
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    pipeline = _loaded(spec.base, parts)
    if safety_checker != "off" and getattr(pipeline, "safety_checker", None) is None:
        raise QualityError(f"{spec.base.source}: {NO_CHECKER}")
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.float()
    if expert is not None:
        _lay_over(pipeline.unet, spec, expert)
    return pipeline


def _loaded(base: ExpertSpec, parts: dict[str, Any]) -> Any:
    """The pipeline in a folder, or on the hub, whose files are looked through in the local cache."""
    given: dict[str, Any] = {"use_safetensors": True, "trust_remote_code": False, **parts}
    try:
        folder = Path(base.source)
        if not folder.is_dir():
            folder = Path(DiffusionPipeline.download(base.source, revision=base.revision, **given))
        check_pipeline(folder, parts)
        return DiffusionPipeline.from_pretrained(str(folder), local_files_only=True, **given)
    except QualityError as error:
        raise QualityError(f"{error}; {SCORE_ONLY}") from error
    except MissingPackageError:
        raise
    except Exception as error:  # its parts are built from the values of their configurations as they come
        raise QualityError(
            f"{base.source}: no Stable Diffusion pipeline that can draw: {error}; {SCORE_ONLY}"
        ) from error


def _lay_over(unet: torch.nn.Module, spec: EnsembleSpec, expert: str) -> None:
    """Replace the base's weights by an expert's."""
    folder = Path(next(own.source for own in spec.experts if own.name == expert))
    files = [folder / DELTA_FILE, folder / "unet" / "diffusion_pytorch_model.safetensors"]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise QualityError(f"{folder}: expert {expert!r} has neither {DELTA_FILE} nor unet/{files[1].name}")
    unexpected = unet.load_state_dict(read_tensors([found], lambda _: True), strict=False).unexpected_keys
    if unexpected:
        raise QualityError(f"{found}: keys that the base does not have: {', '.join(unexpected[:3])}")
