"""The tiny ensemble is complete and real: every library that meets an ensemble loads it by its own way."""

from __future__ import annotations

import json
import time
from pathlib import Path

import open_clip
import pytest
import torch
from diffusers import StableDiffusionPipeline
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import CLIPTokenizer

from emoe_audit.experts.tiny import CONCEPTS, make_tiny_ensemble, write_byte_tokenizer
from emoe_audit.types import EnsembleSpec


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_byte_tokenizer(folder)
    return CLIPTokenizer.from_pretrained(folder)


def test_it_is_made_in_seconds_with_as_many_experts_as_asked(tmp_path: Path) -> None:
    start = time.monotonic()
    spec = make_tiny_ensemble(tmp_path / "e", n_experts=5)
    assert time.monotonic() - start < 10
    assert [expert.name for expert in spec.experts] == [f"expert-{index}" for index in range(5)]
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 3e6


def test_the_seed_decides_the_weights_and_leaves_the_callers_random_state(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_tiny_ensemble(tmp_path / name, n_experts=1, seed=seed)
    assert torch.equal(torch.get_rng_state(), state)
    files = [tmp_path / name / "experts" / "expert-0" / "unet_delta.safetensors" for name in "abc"]
    a, b, c = (path.read_bytes() for path in files)
    assert a == b != c


def test_experts_differ_from_each_other_everywhere_they_differ_from_the_base(tiny_spec: EnsembleSpec) -> None:
    first, second, _ = (load_file(Path(expert.source) / "unet_delta.safetensors") for expert in tiny_spec.experts)
    assert first.keys() == second.keys()
    weights = [key for key in first if first[key].abs().sum() > 0]
    assert weights and not any(torch.equal(first[key], second[key]) for key in weights)


def test_diffusers_draws_with_its_base(tiny_spec: EnsembleSpec) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_spec.base.source)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("犬", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images[0]
    assert image.size == (64, 64)


def test_open_clip_loads_its_judge_by_its_real_path(tiny_spec: EnsembleSpec) -> None:
    assert tiny_spec.judge is not None
    model, _, _ = open_clip.create_model_and_transforms(tiny_spec.judge)
    stored = load_file(Path(tiny_spec.judge.removeprefix("local-dir:")) / "open_clip_model.safetensors")
    assert all(torch.equal(tensor, stored[key]) for key, tensor in model.state_dict().items())
    texts = open_clip.get_tokenizer(tiny_spec.judge)(["dog", "犬"])
    features = model.encode_text(texts)
    assert features.shape == (2, 16) and not torch.allclose(features[0], features[1])


def test_its_captions_are_coco_with_a_language(tiny_spec: EnsembleSpec) -> None:
    assert tiny_spec.captions is not None
    coco = json.loads(Path(tiny_spec.captions).read_text(encoding="utf-8"))
    images = {image["id"] for image in coco["images"]}
    assert {(note["image_id"], note["language"]) for note in coco["annotations"]} == {
        (image, language) for image in images for language in CONCEPTS
    }


@given(st.text(max_size=40))
def test_no_text_is_read_as_its_end(tokenizer: CLIPTokenizer, text: str) -> None:
    text = text.replace("<|", "")
    ids = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    assert tokenizer.eos_token_id not in ids
