"""An ensemble may draw with another autoencoder than its base's, in each of the forms in which people have one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from emoe_audit.errors import QualityError
from emoe_audit.experts.spec import load_spec
from emoe_audit.quality.autoencoder import WEIGHTS, load_autoencoder
from emoe_audit.quality.hashes import quality_hash
from emoe_audit.quality.images import ImageMaker
from emoe_audit.types import EnsembleSpec, ImageConfig, Prompt
from tests.experts.original import original_vae

CONFIG = ImageConfig(num_inference_steps=1, device="cpu")


@pytest.fixture(scope="module")
def other(tiny_spec: EnsembleSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an autoencoder like the base's, of other weights."""
    folder = tmp_path_factory.mktemp("autoencoder")
    vae = AutoencoderKL.from_pretrained(tiny_spec.base.source, subfolder="vae")
    with torch.no_grad():
        for weight in vae.parameters():
            weight.mul_(1.5)
    vae.save_pretrained(folder)
    return folder


def drawn(spec: EnsembleSpec) -> np.ndarray:
    return np.asarray(ImageMaker(spec, CONFIG).make([Prompt(prompt_id="1", prompt="dog", source_id="1")])[0])


def test_it_draws_as_a_pipeline_with_that_autoencoder_inside(
    tiny_spec: EnsembleSpec, tiny_copy: Path, other: Path
) -> None:
    for name in ("config.json", WEIGHTS):
        shutil.copy(other / name, tiny_copy / "base" / "vae" / name)
    named = replace(tiny_spec, vae=str(other))
    np.testing.assert_array_equal(drawn(named), drawn(load_spec(tiny_copy)))
    assert (drawn(named) != drawn(tiny_spec)).any()
    assert quality_hash(named, CONFIG) == quality_hash(load_spec(tiny_copy), CONFIG) != quality_hash(tiny_spec, CONFIG)


@pytest.mark.parametrize("layout", [dict, original_vae], ids=["diffusers", "original"])
def test_a_single_file_is_read_in_both_layouts(
    layout: type, tiny_spec: EnsembleSpec, other: Path, tmp_path: Path
) -> None:
    weights = load_file(other / WEIGHTS)
    save_file(layout(weights), tmp_path / "mine.safetensors")
    found = load_autoencoder(replace(tiny_spec, vae=str(tmp_path / "mine.safetensors"))).state_dict()
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[key], weights[key]) for key in weights)


def test_a_single_file_counts_as_the_base_s_own_weights_and_the_base_needs_none(
    tiny_spec: EnsembleSpec, tiny_copy: Path, tmp_path: Path
) -> None:
    (tiny_copy / "base" / "vae" / WEIGHTS).rename(tmp_path / "mine.safetensors")
    with (tiny_copy / "ensemble.yaml").open("a") as file:
        file.write(f"vae: {tmp_path / 'mine.safetensors'}\n")
    apart = load_spec(tiny_copy)
    np.testing.assert_array_equal(drawn(apart), drawn(tiny_spec))
    assert quality_hash(apart, CONFIG) == quality_hash(tiny_spec, CONFIG)


def test_one_on_the_hub_counts_by_its_name(tiny_spec: EnsembleSpec) -> None:
    hashes = {quality_hash(replace(tiny_spec, vae=vae), CONFIG) for vae in ("org/one", "org/other", None)}
    assert len(hashes) == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [("vae.ckpt", "only safetensors are read"), ("empty", "no autoencoder that can be read")],
)
def test_what_cannot_be_read_is_told(tiny_spec: EnsembleSpec, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "vae.ckpt").write_bytes(b"pickle")
    (tmp_path / "empty").mkdir()
    with pytest.raises(QualityError, match=message):
        ImageMaker(replace(tiny_spec, vae=str(tmp_path / name)), CONFIG)


def test_of_one_on_the_hub_the_safetensors_alone_are_fetched_and_looked_through(
    tiny_spec: EnsembleSpec, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = Path(shutil.copytree(other, tmp_path / "cache"))
    wanted: list[str] = []

    def fetch(source: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        wanted.extend([source, *allow_patterns])
        return str(fetched)

    monkeypatch.setattr("emoe_audit.quality.autoencoder.snapshot_download", fetch)
    named = replace(tiny_spec, vae="org/vae")
    assert torch.equal(
        load_autoencoder(named).encoder.conv_in.weight, load_file(other / WEIGHTS)["encoder.conv_in.weight"]
    )
    assert wanted[:3] == ["org/vae", "config.json", WEIGHTS]
    assert not [pattern for pattern in wanted if ".bin" in pattern or pattern.endswith("*")]
    (fetched / WEIGHTS).rename(fetched / "diffusion_pytorch_model.bin")
    with pytest.raises(QualityError, match=r"org/vae: no autoencoder.*only diffusion_pytorch_model\.bin: pickled"):
        load_autoencoder(named)
