"""A checkpoint in any public form becomes the base of an ensemble, or one of its experts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from diffusers import SchedulerMixin

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.lora import read_lora_unet
from emoe_audit.experts.lora_files import is_lora
from emoe_audit.experts.models import completed, read_scheduler
from emoe_audit.experts.segmoe import read_segmoe_unets
from emoe_audit.experts.segmoe_recipe import is_segmoe_folder
from emoe_audit.experts.single_file import (
    read_single_file_scheduler,
    read_single_file_text_encoders,
    read_single_file_unet,
)
from emoe_audit.experts.sources import UNetWeights, fetch_base, fetch_expert, is_any, is_scored, is_whole, read_unet
from emoe_audit.experts.text_encoders import TextEncoderWeights, read_text_encoders
from emoe_audit.types import ExpertSpec


@dataclass(frozen=True, kw_only=True)
class Base:
    """What an ensemble takes from its base."""

    unet: UNetWeights
    read_texts: Callable[[], tuple[TextEncoderWeights, ...]]
    """The text encoders, read each time they are asked for."""
    scheduler_config: dict[str, Any]
    scheduler: SchedulerMixin


def read_base(spec: ExpertSpec) -> Base:
    """As far as a score needs it. Raises `EnsembleError`."""
    root = fetch_base(spec)
    is_file = root.is_file()
    scheduler_config, scheduler = read_single_file_scheduler(root) if is_file else read_scheduler(root)
    return Base(
        unet=_base_unet(spec, root, is_scored),
        read_texts=partial(read_single_file_text_encoders if is_file else read_text_encoders, root),
        scheduler_config=scheduler_config,
        scheduler=scheduler,
    )


def read_whole_unet(spec: ExpertSpec) -> UNetWeights:
    """The base's UNet with all that it draws by. Raises `EnsembleError`."""
    return whole(_base_unet(spec, fetch_base(spec), is_any))


def whole(unet: UNetWeights) -> UNetWeights:
    """The same. Raises `EnsembleError` where it cannot draw."""
    if not is_whole(unet.tensors):
        raise EnsembleError(f"{unet.where}: has no up blocks, so it can be scored and cannot draw")
    return unet


def read_expert(spec: ExpertSpec, base: UNetWeights, wanted: Callable[[str], bool] | None = None) -> UNetWeights:
    """An expert's UNet, as far as the base's is read; what it leaves as it is are the base's own tensors.

    `wanted` narrows the keys; see `sources.read_unet`. Raises `EnsembleError`.
    """
    path = fetch_expert(spec)
    loras = _fetch_loras(spec)
    read = is_any if is_whole(base.tensors) else is_scored
    if is_lora(path):
        return _with_loras(base, [path, *loras], wanted)
    if loras:
        return _with_loras(completed(_read(spec, path, read, base)), loras, wanted)
    return _read(spec, path, wanted or read, base)


def _base_unet(spec: ExpertSpec, root: Path, wanted: Callable[[str], bool]) -> UNetWeights:
    return _with_loras(completed(_read(spec, root, wanted)), _fetch_loras(spec), None)


def _fetch_loras(spec: ExpertSpec) -> list[Path]:
    return [fetch_expert(ExpertSpec(name=lora, source=lora)) for lora in spec.loras]


def _with_loras(whole: UNetWeights, loras: list[Path], wanted: Callable[[str], bool] | None) -> UNetWeights:
    for lora in loras:
        whole = read_lora_unet(lora, whole, wanted=wanted)
    return whole


def _read(spec: ExpertSpec, path: Path, wanted: Callable[[str], bool], base: UNetWeights | None = None) -> UNetWeights:
    if not is_segmoe_folder(path):
        if spec.segmoe_expert is not None:
            raise EnsembleError(f"{path}: segmoe_expert is given, but SegMoE did not save this")
        if path.is_file():
            return read_single_file_unet(path, wanted)
        return read_unet(path, base=base, wanted=wanted)
    experts = read_segmoe_unets(path, wanted)
    if (spec.segmoe_expert or 0) >= len(experts):
        raise EnsembleError(
            f"{path}: has no expert {spec.segmoe_expert}; they are numbered from 0 to {len(experts) - 1}"
        )
    return experts[spec.segmoe_expert or 0]
