"""From files to models: UNets, whole or without up blocks, and schedulers. Stable Diffusion 1.x, 2.x and SDXL.

Models are built on the meta device and take over the tensors that were read (`assign=True`), so that nothing is held
twice in memory. A missing, unexpected or wrongly shaped key raises.
"""

from __future__ import annotations

import copy
import json
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import SchedulerMixin, UNet2DConditionModel
from torch import Tensor, nn

from emoe_audit.errors import EnsembleError, MissingPackageError
from emoe_audit.experts.designs import check_unet_config
from emoe_audit.experts.sources import UNetWeights, is_whole, read_json, some

STABLE_DIFFUSION_NOISE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "clip_sample": False,
    "set_alpha_to_one": False,
}
"""What Stable Diffusion's schedulers are made with, for models that are trained or drawn at random here."""


def build_unet(config: dict[str, Any], tensors: dict[str, Tensor], where: str) -> UNet2DConditionModel:
    """A `UNet2DConditionModel` in evaluation mode that shares memory with `tensors`.

    It ends after its mid-block where these have no up blocks. Raises `EnsembleError` for a kind of UNet that cannot be
    scored, and for keys that do not fit, naming them.
    """
    unet = copy.deepcopy(_designed(config, where, whole=is_whole(tensors)))
    assign_tensors(unet, tensors, where)
    return unet.requires_grad_(False).eval()


def empty_unet(config: dict[str, Any], where: str, *, whole: bool = False) -> UNet2DConditionModel:
    """One without weights, on the meta device, that ends after its mid-block or is whole. Raises as `build_unet`."""
    return copy.deepcopy(_designed(config, where, whole=whole))


def full_config(config: dict[str, Any], where: str) -> dict[str, Any]:
    """A configuration with every default filled in, as diffusers does. Raises as `build_unet`."""
    return dict(_designed(config, where).config)


def _designed(config: dict[str, Any], where: str, *, whole: bool = False) -> UNet2DConditionModel:
    check_unet_config(config, where)
    try:
        return _design(json.dumps(config, sort_keys=True), whole=whole)
    except Exception as error:  # what a constructor raises for fields that do not fit each other is not documented
        raise EnsembleError(f"{where}: diffusers cannot build this UNet: {error}") from error


@lru_cache(maxsize=8)
def _design(config: str, *, whole: bool) -> UNet2DConditionModel:
    """Built once for all experts of a configuration: a copy takes a fifth of the time."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(json.loads(config))
    if whole:
        return unet
    unet.up_blocks = nn.ModuleList()
    unet.conv_norm_out = unet.conv_act = unet.conv_out = nn.Identity()
    return unet


def completed(unet: UNetWeights) -> UNetWeights:
    """The same, its keys checked, with every field of the configuration filled in as diffusers does.

    Raises `EnsembleError`.
    """
    config = dict(build_unet(unet.config, unet.tensors, unet.where).config)
    return UNetWeights(where=unet.where, config=config, tensors=unet.tensors)


def assign_tensors(model: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Make `tensors` the weights of a model on the meta device. Raises `EnsembleError` naming keys that do not fit."""
    expected = model.state_dict()
    faults = []
    for fault, keys in (
        ("missing keys", expected.keys() - tensors.keys()),
        ("unexpected keys", tensors.keys() - expected.keys()),
    ):
        if keys:
            faults.append(f"{fault}: {some(sorted(keys))}")
    for key in sorted(expected.keys() & tensors.keys()):
        if expected[key].shape != tensors[key].shape:
            faults.append(f"{key} has shape {list(tensors[key].shape)}, expected {list(expected[key].shape)}")
        elif not tensors[key].is_floating_point():
            faults.append(f"{key} holds {tensors[key].dtype}, expected floating-point numbers")
    if faults:
        raise EnsembleError(f"{where}: {some(faults)}")
    model.load_state_dict(tensors, assign=True)


def read_scheduler(folder: Path) -> tuple[dict[str, Any], SchedulerMixin]:
    """Configuration and object of `folder/scheduler`, in the class that it names.

    Raises `EnsembleError`, and `MissingPackageError` where that class needs a package that is not installed.
    """
    where = folder / "scheduler" / "scheduler_config.json"
    config = read_json(where)
    own = scheduler_class(config.get("_class_name"), f"{where}: _class_name is")
    try:
        return config, own.from_config(config)
    except Exception as error:  # a constructor takes the values as they come
        raise EnsembleError(f"{where}: diffusers cannot build this scheduler: {error}") from error


def scheduler_class(name: object, where: str) -> type[SchedulerMixin]:
    """The scheduler of diffusers that has this name; `where` begins a message. Raises as `read_scheduler` does."""
    found = getattr(diffusers, name, None) if isinstance(name, str) and name.endswith("Scheduler") else None
    missing = [package for package in getattr(found, "_backends", ()) if find_spec(package) is None]
    if missing:  # diffusers puts a stand-in there that raises whatever it is asked
        raise MissingPackageError(
            f"{where} {name!r}, which needs {' and '.join(missing)}: pip install {' '.join(missing)}"
        )
    if not (isinstance(found, type) and issubclass(found, SchedulerMixin)):
        raise EnsembleError(f"{where} {name!r}, which is no scheduler of diffusers")
    return found
