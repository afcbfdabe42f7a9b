"""What a pipeline in a folder may consist of, looked through before diffusers loads it.

`model_index.json` names a library and a class for each part, and diffusers believes it: a nested pipeline, which reads
pickled weights whatever the outer one was told, or Python beside the weights. Here a part is one of those that Stable
Diffusion has, in a class that is known, and its weights are safetensors.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoe_audit.errors import EnsembleError, QualityError
from emoe_audit.experts.models import scheduler_class
from emoe_audit.experts.part_files import check_part
from emoe_audit.experts.sources import TEXT_ENCODER_STEM, UNET_STEM
from emoe_audit.readers.documents import read_json_object

INDEX = "model_index.json"
UNNAMED = "None.py"
"""What diffusers runs as a pipeline of its own where nobody names another."""
PIPELINES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
LIBRARIES = ("diffusers", "transformers", "stable_diffusion")
"""From which diffusers takes a class; the last is its own module of the safety checker."""


@dataclass(frozen=True)
class Part:
    """A part of a pipeline."""

    library: str
    classes: tuple[str, ...]
    """None of them: any scheduler of diffusers."""
    stem: str | None = None
    """Of the file of its weights, where it has any."""


_TEXT_ENCODER = Part("transformers", ("CLIPTextModel", "CLIPTextModelWithProjection"), TEXT_ENCODER_STEM)
_TOKENIZER = Part("transformers", ("CLIPTokenizer", "CLIPTokenizerFast"))
PARTS = {
    "unet": Part("diffusers", ("UNet2DConditionModel",), UNET_STEM),
    "vae": Part("diffusers", ("AutoencoderKL", "AutoencoderTiny", "AsymmetricAutoencoderKL"), UNET_STEM),
    "text_encoder": _TEXT_ENCODER,
    "text_encoder_2": _TEXT_ENCODER,
    "tokenizer": _TOKENIZER,
    "tokenizer_2": _TOKENIZER,
    "scheduler": Part("diffusers", ()),
    "safety_checker": Part("stable_diffusion", ("StableDiffusionSafetyChecker",), TEXT_ENCODER_STEM),
    "feature_extractor": Part("transformers", ("CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPFeatureExtractor")),
    "image_encoder": Part("transformers", ("CLIPVisionModelWithProjection",), TEXT_ENCODER_STEM),
}


def check_pipeline(folder: Path, given: Mapping[str, Any]) -> None:
    """Look through everything that `DiffusionPipeline.from_pretrained(folder, **given)` would load.

    Raises:
        QualityError: the pipeline is of another kind, a part of no known class, or one of which `check_part` complains.
    """
    if not (folder / INDEX).is_file():
        raise QualityError(f"{folder}: no Stable Diffusion pipeline that can draw: no {INDEX}")
    index = read_json_object(folder / INDEX, QualityError)
    if index.get("_class_name") not in PIPELINES:
        raise QualityError(f"{folder / INDEX}: {index.get('_class_name')!r} is not drawn with, only {_some(PIPELINES)}")
    if (folder / UNNAMED).exists():
        raise QualityError(f"{folder / UNNAMED}: code is not run, and a pipeline needs none; remove it")
    try:
        for name, named in index.items():
            if isinstance(named, list) and named != [None, None] and given.get(name, name) is not None:
                _check(folder, name, named, is_loaded=name not in given)
    except EnsembleError as error:
        raise QualityError(str(error)) from error


def _check(folder: Path, name: str, named: list[Any], *, is_loaded: bool) -> None:
    where = f"{folder / INDEX}: {name}"
    if len(named) != 2 or named[0] not in LIBRARIES:
        raise QualityError(f"{where} comes from {named!r}, and parts are taken from {_some(LIBRARIES)} alone")
    part = PARTS.get(name)
    if part is None:
        raise QualityError(f"{where}: Stable Diffusion has no such part; it has {_some(PARTS)}")
    library, kind = named
    if library != part.library or (part.classes and kind not in part.classes):
        known = " or ".join(part.classes) or "a scheduler"
        raise QualityError(f"{where} is {kind!r} of {library}, and only {known} of {part.library} is loaded")
    if not part.classes:
        scheduler_class(kind, f"{where} is")
    if is_loaded:
        check_part(folder / name, part.stem)


def _some(names: Collection[str]) -> str:
    return ", ".join(names)
