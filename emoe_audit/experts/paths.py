"""The weights of one expert's whole path: what is its own, and what it takes from the base."""

from __future__ import annotations

import re

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.checkpoint import read_expert
from emoe_audit.experts.expert_layers import as_down, is_expert_layer
from emoe_audit.experts.hashing import UNET_FIELDS
from emoe_audit.experts.models import completed, full_config
from emoe_audit.experts.sources import UNetWeights, some
from emoe_audit.types import EnsembleSpec, ExpertSpec

DOWN_BLOCK = re.compile(r"down_blocks\.(\d+)\.")


def read_path(spec: EnsembleSpec, expert: ExpertSpec, base: UNetWeights) -> UNetWeights:
    """The weights of one expert's whole path; the tensors that it takes from the base are the base's own objects.

    Up blocks are a part of it where the base is read with them. Raises `EnsembleError`.
    """
    if spec.assembly == "independent" and spec.split == 0:
        return completed(read_expert(expert, base))
    layers = _own_layers(spec, base)
    own = read_expert(expert, base, wanted=layers.__contains__)
    _check_same_design(own, base)
    missing = layers - own.tensors.keys()
    if missing:
        raise EnsembleError(f"{own.where}: missing keys: {some(sorted(missing))}")
    _check_same_shapes(own, base, layers)
    return UNetWeights(
        where=own.where, config=base.config, tensors=base.tensors | {key: own.tensors[key] for key in layers}
    )


def _own_layers(spec: EnsembleSpec, base: UNetWeights) -> set[str]:
    """The keys that are not the base's."""
    n_blocks = len(base.config["block_out_channels"])
    if spec.split > n_blocks:
        raise EnsembleError(
            f"{spec.name}: split is {spec.split}, the UNet has {n_blocks} down blocks (numbered from 0)"
        )
    later = {key for key in base.tensors if _is_behind(as_down(key, n_blocks), spec.split)}
    if spec.assembly == "independent":
        return later
    layers = {key for key in later if is_expert_layer(as_down(key, n_blocks), spec.moe_layers)}
    if not layers:
        raise EnsembleError(
            f"{base.where}: no down block from {spec.split} on has attention, so a shared trunk leaves no layer to the "
            "experts"
        )
    return layers


def _is_behind(key: str, split: int) -> bool:
    """Whether a layer comes after the split; the mid-block always does."""
    block = DOWN_BLOCK.match(key)
    return int(block[1]) >= split if block else key.startswith("mid_block.")


def _check_same_shapes(expert: UNetWeights, base: UNetWeights, layers: set[str]) -> None:
    for key in sorted(layers):
        found, expected = (list(unet.tensors[key].shape) for unet in (expert, base))
        if found != expected:
            raise EnsembleError(f"{expert.where}: {key} has shape {found}, the base's is {expected}")


def _check_same_design(expert: UNetWeights, base: UNetWeights) -> None:
    config = full_config(expert.config, expert.where)
    for field in UNET_FIELDS:
        if config[field] != base.config[field]:
            raise EnsembleError(
                f"{expert.where}: {field} is {config[field]!r}, the base has {base.config[field]!r}; "
                "a shared trunk needs experts of the base's design; use the assembly 'independent' without a split"
            )
