"""A single file draws what the same parts draw in a pipeline that diffusers puts together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel

from emoe_audit.errors import QualityError
from emoe_audit.experts import single_file
from emoe_audit.experts.sources import read_json
from emoe_audit.quality.hashes import quality_hash
from emoe_audit.quality.images import ImageMaker
from emoe_audit.quality.pipelines import check_source, load_pipeline
from emoe_audit.quality.single_file_pipeline import load_single_file
from emoe_audit.types import EnsembleSpec, ExpertSpec, ImageConfig, Prompt
from tests.experts import original
from tests.experts.original import change_json, make_checkpoint, original_name, original_vae

pytestmark = pytest.mark.slow

CONFIG = ImageConfig(num_inference_steps=2, device="cpu")
BYTES = sorted(ByteLevel.alphabet())
PIECES = {
    piece: place
    for place, piece in enumerate([*BYTES, *(f"{own}</w>" for own in BYTES), single_file.START, single_file.END])
}
"""A vocabulary without merges in the place of CLIP's, whose embeddings would have 150 MB."""
SMALL_VAE: dict[str, Any] = {"block_out_channels": [8, 8, 8, 8], "norm_num_groups": 4, "layers_per_block": 1}
WIDTH = 768


@pytest.fixture(scope="module", autouse=True)
def configs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The shipped configurations, of models as narrow as a UNet of Stable Diffusion 1.x allows."""
    folder = original.small_configs(tmp_path_factory.mktemp("small") / "configs")
    for family in original.FAMILIES:
        change_json(folder / family / "vae" / "config.json", **SMALL_VAE)
    text = {"hidden_size": WIDTH, "vocab_size": len(PIECES), "num_attention_heads": 12}
    change_json(folder / "sd1" / "text_encoder" / "config.json", **text)
    change_json(folder / "sd1" / "unet" / "config.json", sample_size=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(single_file, "CONFIGS", folder)
        patch.setattr(single_file, "_clip_vocabulary", lambda: (PIECES, []))
        yield folder


@pytest.fixture(scope="module")
def parts(configs: Path) -> dict[str, Any]:
    """A UNet, an autoencoder and a text encoder of random weights."""
    torch.manual_seed(0)
    text = read_json(configs / "sd1" / "text_encoder" / "config.json")
    return {
        "unet": UNet2DConditionModel.from_config(read_json(configs / "sd1" / "unet" / "config.json")),
        "vae": AutoencoderKL.from_config(read_json(configs / "sd1" / "vae" / "config.json")),
        "text_encoder": CLIPTextModel(CLIPTextConfig.from_dict(text)),
    }


@pytest.fixture(scope="module")
def file(parts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three in one file under their original names."""
    up_attention = ["CrossAttn" in name for name in parts["unet"].config.up_block_types]
    unet = {original.UNET + original_name(key, up_attention): w for key, w in parts["unet"].state_dict().items()}
    vae = {f"first_stage_model.{key}": w for key, w in original_vae(parts["vae"].state_dict()).items()}
    text = {
        f"cond_stage_model.transformer.text_model.{key.removeprefix('text_model.')}": w
        for key, w in parts["text_encoder"].state_dict().items()
    }
    path = tmp_path_factory.mktemp("file") / "dream.safetensors"
    save_file({key: w.clone().contiguous() for key, w in (unet | vae | text).items()}, path)
    return path


@pytest.fixture
def spec(file: Path, tiny_spec: EnsembleSpec) -> EnsembleSpec:
    return replace(tiny_spec, base=ExpertSpec(name="base", source=str(file)))


def test_it_draws_what_its_parts_draw(spec: EnsembleSpec, file: Path, parts: dict[str, Any], configs: Path) -> None:
    scheduler = PNDMScheduler.from_config(read_json(configs / "sd1" / "scheduler" / "scheduler_config.json"))
    tokenizer = load_pipeline(spec, None).tokenizer
    whole = {"tokenizer": tokenizer, "scheduler": scheduler, "safety_checker": None, "feature_extractor": None}
    pipeline = StableDiffusionPipeline(**parts, **whole, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    maker = ImageMaker(spec, CONFIG)
    noise = torch.Generator().manual_seed(7)
    expected = pipeline("dog", generator=noise, num_inference_steps=2, guidance_scale=3.0, output_type="np").images
    noise = torch.Generator().manual_seed(7)
    drawn = maker._pipeline("dog", generator=noise, num_inference_steps=2, guidance_scale=3.0, output_type="np").images
    np.testing.assert_allclose(drawn, expected, atol=1e-4)
    assert maker.make([Prompt(prompt_id="1", prompt="dog", source_id="1")])[0].size == (64, 64)


def test_the_hash_is_of_what_the_file_holds(spec: EnsembleSpec, file: Path, tmp_path: Path) -> None:
    moved, other = tmp_path / "moved.safetensors", tmp_path / "other.safetensors"
    moved.write_bytes(file.read_bytes())
    stored = load_file(file)
    stored["first_stage_model.decoder.conv_in.bias"] += 1
    save_file(stored, other)
    hashes = [
        quality_hash(replace(spec, base=ExpertSpec(name="base", source=str(own))), CONFIG)
        for own in (file, moved, other)
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_another_autoencoder_takes_the_place_of_its_own(spec: EnsembleSpec, file: Path, tmp_path: Path) -> None:
    stored = load_file(file)
    without = {key: w for key, w in stored.items() if not key.startswith("first_stage_model.")}
    save_file(without, tmp_path / "bare.safetensors")
    save_file({key: w for key, w in stored.items() if key not in without}, tmp_path / "vae.safetensors")
    bare = replace(spec, base=ExpertSpec(name="base", source=str(tmp_path / "bare.safetensors")))
    with pytest.raises(QualityError, match=r"bare\.safetensors: holds no autoencoder .* name one with `vae:`, or give"):
        check_source(bare, None)
    named = replace(bare, vae=str(tmp_path / "vae.safetensors"))
    check_source(named, None)
    assert quality_hash(named, CONFIG) != quality_hash(bare, CONFIG)
    found, own = (load_pipeline(each, None).vae.state_dict() for each in (named, spec))
    assert found.keys() == own.keys() and all(torch.equal(found[key], own[key]) for key in own)


def test_an_expert_in_a_single_file_draws_in_the_pipeline_of_the_base(
    spec: EnsembleSpec, file: Path, parts: dict[str, Any], tmp_path: Path
) -> None:
    stored = load_file(file)
    save_file(
        {key: 2 * w if key.startswith(original.UNET) else w for key, w in stored.items()}, tmp_path / "x.safetensors"
    )
    named = replace(spec, experts=(ExpertSpec(name="x", source=str(tmp_path / "x.safetensors")),))
    pipeline = load_pipeline(named, "x")
    for key, weight in parts["unet"].state_dict().items():
        assert torch.equal(pipeline.unet.state_dict()[key], 2 * weight), key
    assert torch.equal(pipeline.vae.decoder.conv_in.weight, parts["vae"].decoder.conv_in.weight)


def test_sdxl_gets_both_of_its_text_encoders(configs: Path, parts: dict[str, Any], tmp_path: Path) -> None:
    checkpoint = make_checkpoint("sdxl", configs, tmp_path)
    pipeline = load_single_file(checkpoint.path, {"unet": parts["unet"], "vae": parts["vae"]})
    assert isinstance(pipeline, StableDiffusionXLPipeline)
    first = {key.removeprefix("text_model."): w for key, w in pipeline.text_encoder.state_dict().items()}
    assert all(torch.equal(first[key], weight) for key, weight in checkpoint.clip.items())
    assert pipeline.text_encoder_2.text_projection.weight.shape == (24, 16)


def test_an_autoencoder_that_lacks_a_weight_is_told(spec: EnsembleSpec, file: Path, tmp_path: Path) -> None:
    stored = load_file(file)
    del stored["first_stage_model.encoder.down.0.downsample.conv.bias"]
    save_file(stored, tmp_path / "torn.safetensors")
    torn = replace(spec, base=ExpertSpec(name="base", source=str(tmp_path / "torn.safetensors")))
    with pytest.raises(QualityError, match=r"missing keys of the autoencoder: encoder\.down_blocks\.0\.downsamplers"):
        load_pipeline(torn, None)


def test_a_file_of_another_kind_is_told(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    with pytest.raises(QualityError, match=r"torn\.safetensors: not a readable safetensors file .*--n-images 0"):
        check_source(replace(tiny_spec, base=ExpertSpec(name="base", source=str(tmp_path / "torn.safetensors"))), None)
