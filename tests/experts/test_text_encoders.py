"""Text encoders from files: published and new layouts, one encoder or two, and what is refused."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.text_encoders import build_text_encoder, read_text_encoders
from emoe_audit.scoring.conditioning import encode_prompts
from emoe_audit.types import EnsembleSpec

TEXT = "a dog, ein Hund, कुत्ता, 犬 🐕 <|endoftext|> \x00"


def change_json(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def text_states(folder: Path) -> torch.Tensor:
    (weights,) = read_text_encoders(folder)
    return encode_prompts([TEXT], [build_text_encoder(weights, weights.tensors)], 1).embeds


def test_the_text_encoder_equals_that_of_transformers(tiny_spec: EnsembleSpec) -> None:
    folder = Path(tiny_spec.base.source)
    theirs = CLIPTextModel.from_pretrained(folder / "text_encoder")
    ids = CLIPTokenizer.from_pretrained(folder / "tokenizer")(
        [TEXT], padding="max_length", max_length=32, truncation=True, return_tensors="pt"
    )
    torch.testing.assert_close(text_states(folder), theirs(ids.input_ids).last_hidden_state, rtol=0, atol=0)


def test_the_layout_of_transformers_5_reads_like_the_published_one(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    published = Path(tiny_spec.base.source)
    (weights,) = read_text_encoders(published)
    build_text_encoder(weights, weights.tensors).model.save_pretrained(tmp_path / "text_encoder")
    CLIPTokenizer.from_pretrained(published / "tokenizer").save_pretrained(tmp_path / "tokenizer")
    assert not (tmp_path / "tokenizer" / "vocab.json").exists()
    key = "embeddings.token_embedding.weight"
    assert key in load_file(tmp_path / "text_encoder" / "model.safetensors")
    assert f"text_model.{key}" in load_file(published / "text_encoder" / "model.safetensors")
    torch.testing.assert_close(text_states(tmp_path), text_states(published), rtol=0, atol=0)


def test_stored_position_ids_of_old_checkpoints_are_ignored(tiny_copy: Path) -> None:
    path = tiny_copy / "base" / "text_encoder" / "model.safetensors"
    before = text_states(tiny_copy / "base")
    save_file(load_file(path) | {"text_model.embeddings.position_ids": torch.arange(32)[None]}, path)
    torch.testing.assert_close(text_states(tiny_copy / "base"), before, rtol=0, atol=0)


def test_a_text_encoder_without_a_layer_is_refused_by_key(tiny_copy: Path) -> None:
    path = tiny_copy / "base" / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    del tensors["text_model.final_layer_norm.bias"]
    save_file(tensors, path)
    with pytest.raises(EnsembleError, match=r"missing keys: final_layer_norm.bias"):
        text_states(tiny_copy / "base")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"model_type": "t5"}, "model_type is 't5', expected 'clip_text_model'"),
        ({"hidden_size": "wide"}, "hidden_size: input should be a valid integer, found 'wide'"),
        ({"hidden_size": 15}, "not a readable CLIP text configuration"),
        ({"hidden_act": "nope"}, "transformers cannot build this text encoder"),
    ],
)
def test_other_text_encoders_are_refused(tiny_copy: Path, fields: dict[str, Any], expected: str) -> None:
    change_json(tiny_copy / "base" / "text_encoder" / "config.json", **fields)
    with pytest.raises(EnsembleError, match=expected):
        text_states(tiny_copy / "base")


def test_a_missing_tokenizer_says_what_was_expected(tiny_copy: Path) -> None:
    shutil.rmtree(tiny_copy / "base" / "tokenizer")
    with pytest.raises(EnsembleError, match=r"tokenizer: no tokenizer here; expected vocab.json and merges.txt"):
        read_text_encoders(tiny_copy / "base")


def test_a_broken_tokenizer_is_named(tiny_copy: Path) -> None:
    (tiny_copy / "base" / "tokenizer" / "vocab.json").write_text("{")
    with pytest.raises(EnsembleError, match="not a readable CLIP tokenizer"):
        read_text_encoders(tiny_copy / "base")


def test_a_tokenizer_of_more_pieces_than_the_encoder_knows_is_told(tiny_copy: Path) -> None:
    path = tiny_copy / "base" / "tokenizer" / "vocab.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"ab": 514}))
    with pytest.raises(EnsembleError, match=r"tokenizer: gives ids up to 514, but .*text_encoder knows 514"):
        read_text_encoders(tiny_copy / "base")


@pytest.mark.parametrize("length", [0, -5, "32"])
def test_a_tokenizer_of_no_length_is_told(tiny_copy: Path, length: object) -> None:
    change_json(tiny_copy / "base" / "tokenizer" / "tokenizer_config.json", model_max_length=length)
    with pytest.raises(EnsembleError, match=r"tokenizer: model_max_length is .* expected a number of tokens"):
        read_text_encoders(tiny_copy / "base")


def test_a_kernel_that_the_configuration_names_is_not_fetched(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of transformers that is built from such a configuration asks the hub for it."""
    fetched: list[str] = []
    monkeypatch.setattr(
        "transformers.modeling_utils.lazy_import_flash_attention", lambda name, *_, **__: fetched.append(name)
    )
    config = tiny_copy / "base" / "text_encoder" / "config.json"
    change_json(config, attn_implementation="org/kernel")
    with contextlib.suppress(Exception):
        CLIPTextModel(CLIPTextConfig.from_dict(json.loads(config.read_text())))
    assert fetched == ["org/kernel"]
    with pytest.raises(EnsembleError, match="attn_implementation is 'org/kernel', a kernel that would be fetched"):
        text_states(tiny_copy / "base")
    assert fetched == ["org/kernel"]


def test_what_a_configuration_says_beyond_its_model_does_not_reach_transformers(tiny_copy: Path) -> None:
    expected = text_states(tiny_copy / "base")
    change_json(tiny_copy / "base" / "text_encoder" / "config.json", return_dict=False, per_layer_config={"0": 1})
    assert torch.equal(text_states(tiny_copy / "base"), expected)
