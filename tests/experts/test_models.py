"""Models from files: published and new layouts, and keys that do not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from emoe_audit.errors import EnsembleError, MissingPackageError
from emoe_audit.experts.models import build_unet, read_scheduler
from emoe_audit.experts.sources import UNetWeights, read_unet
from emoe_audit.types import EnsembleSpec


@pytest.fixture
def unet(tiny_spec: EnsembleSpec) -> UNetWeights:
    return read_unet(Path(tiny_spec.base.source))


def change_json(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_a_unet_ends_after_its_mid_block_and_takes_over_the_tensors(unet: UNetWeights) -> None:
    model = build_unet(unet.config, unet.tensors, unet.where)
    parameters = dict(model.named_parameters())
    assert parameters.keys() == unet.tensors.keys()
    assert all(parameters[key].data_ptr() == unet.tensors[key].data_ptr() for key in parameters)
    assert not model.training


def test_missing_unexpected_and_wrongly_shaped_keys_are_named(unet: UNetWeights) -> None:
    tensors = dict(unet.tensors)
    del tensors["conv_in.bias"]
    tensors["mid_block.odd"] = torch.zeros(1)
    tensors["conv_in.weight"] = torch.zeros(3, 3)
    with pytest.raises(EnsembleError) as error:
        build_unet(unet.config, tensors, "here")
    for part in (
        "here: missing keys: conv_in.bias",
        "unexpected keys: mid_block.odd",
        "conv_in.weight has shape [3, 3], expected [8, 4, 3, 3]",
    ):
        assert part in str(error.value)


def test_a_unet_that_diffusers_cannot_build_is_refused(unet: UNetWeights) -> None:
    with pytest.raises(EnsembleError, match="here: diffusers cannot build this UNet"):
        build_unet(unet.config | {"norm_num_groups": 7}, unet.tensors, "here")


@pytest.mark.parametrize("name", ["PNDMScheduler", "EulerDiscreteScheduler"])
def test_the_scheduler_is_of_the_class_it_names(tiny_copy: Path, name: str) -> None:
    change_json(tiny_copy / "base" / "scheduler" / "scheduler_config.json", _class_name=name)
    assert type(read_scheduler(tiny_copy / "base")[1]) is getattr(diffusers, name)


@pytest.mark.parametrize(
    "name", ["NopeScheduler", "StableDiffusionPipeline", "SchedulerMixin", ["DDIMScheduler"], None]
)
def test_what_is_no_scheduler_is_refused(tiny_copy: Path, name: object) -> None:
    change_json(tiny_copy / "base" / "scheduler" / "scheduler_config.json", _class_name=name)
    with pytest.raises(EnsembleError, match="no scheduler of diffusers"):
        read_scheduler(tiny_copy / "base")


FIELD = Path(__file__).parents[1] / "field"


def test_scheduler_torchsde_of_a_package_that_is_not_installed_names_the_package(tiny_copy: Path) -> None:
    """diffusers alone puts a stand-in in its place, which raises `ImportError`."""
    with pytest.raises(ImportError, match="torchsde"):
        diffusers.DPMSolverSDEScheduler.from_config({})
    shutil.copy(FIELD / "scheduler-torchsde" / "scheduler_config.json", tiny_copy / "base" / "scheduler")
    with pytest.raises(
        MissingPackageError,
        match=r"scheduler_config\.json: _class_name is 'DPMSolverSDEScheduler', which needs torchsde: pip install torc",
    ):
        read_scheduler(tiny_copy / "base")


@pytest.mark.parametrize(
    "fields", [{"beta_start": "small"}, {"num_train_timesteps": -1}, {"trained_betas": {}}, {"beta_schedule": []}]
)
def test_a_scheduler_of_values_that_are_none_is_a_message(tiny_copy: Path, fields: dict[str, Any]) -> None:
    change_json(tiny_copy / "base" / "scheduler" / "scheduler_config.json", **fields)
    with pytest.raises(EnsembleError, match="diffusers cannot build this scheduler"):
        read_scheduler(tiny_copy / "base")
