"""The ensemble of Stable Diffusion 1.5's format: its true size in numbers, its files at a small one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

from emoe_audit.experts.ensemble import load_ensemble
from emoe_audit.experts.spec import load_spec
from tests.benchmarks.gemm import layer_gemms, path_cost
from tests.benchmarks.sd15 import N_PARAMETERS, SMALL, TRUE, count_parameters, meta_unet, unet_config, write_ensemble

pytestmark = pytest.mark.slow


def test_the_true_size_is_that_of_stable_diffusion_1_5() -> None:
    assert sum(weight.numel() for weight in meta_unet(TRUE).parameters()) == N_PARAMETERS
    millions = {part: round(n / 1e6) for part, n in count_parameters(TRUE).items()}
    assert millions == {"text": 123, "path": 349, "own": 76}


def test_a_path_costs_what_the_method_says() -> None:
    cost = path_cost(unet_config(TRUE))
    assert (cost.whole, cost.path, cost.prompt_free) == pytest.approx((803.3, 261.4, 40.9), abs=0.05)
    layers = sum(n * gemm.gflop for gemm, n in layer_gemms(unet_config(TRUE), batch=1).items())
    assert 0.8 * cost.path < layers < cost.path, "all but what attention does between its projections"


def test_both_assemblies_are_the_same_paths_and_diffusers_reads_their_files(tmp_path: Path) -> None:
    folder = write_ensemble(tmp_path, SMALL, shard_bytes=1 << 19)
    ensembles = [
        load_ensemble(load_spec(folder / assembly), device="cpu") for assembly in ("shared_trunk", "independent")
    ]
    assert ensembles[0].ensemble_hash == ensembles[1].ensemble_hash
    assert len(ensembles[0].tokenizer) == 49408
    whole = UNet2DConditionModel.from_pretrained(folder / "independent" / "expert-0").state_dict()
    assert whole.keys() == meta_unet(SMALL).state_dict().keys()
    own = load_file(folder / "shared_trunk" / "expert-0" / "unet_delta.safetensors")
    base = UNet2DConditionModel.from_pretrained(folder / "base" / "unet").state_dict()
    assert {key for key in whole if not whole[key].equal(base[key])} == own.keys()
    files = sorted((folder / "base" / "unet").glob("*.safetensors"))
    assert len(files) > 1
    assert all(weight.dtype.itemsize == 2 for file in files for weight in load_file(file).values())


def test_what_is_there_is_not_written_again_and_the_seed_decides_what_is_written(tmp_path: Path) -> None:
    file = write_ensemble(tmp_path / "a", SMALL) / "shared_trunk" / "expert-1" / "unet_delta.safetensors"
    weights, written = file.read_bytes(), file.stat().st_mtime_ns
    write_ensemble(tmp_path / "a", SMALL)
    assert file.stat().st_mtime_ns == written
    assert json.loads((tmp_path / "a" / "size.json").read_text(encoding="utf-8"))["sample_size"] == SMALL.sample_size
    again = write_ensemble(tmp_path / "b", SMALL) / file.relative_to(tmp_path / "a")
    other = write_ensemble(tmp_path / "c", SMALL, seed=1) / file.relative_to(tmp_path / "a")
    assert (again.read_bytes() == weights, other.read_bytes() == weights) == (True, False)
