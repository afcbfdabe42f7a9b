"""Text states as the pipeline makes them, and token counts."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from diffusers import StableDiffusionPipeline
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from emoe_audit.experts.ensemble import Ensemble, load_ensemble
from emoe_audit.scoring.conditioning import TokenCount, count_tokens, count_words, encode_prompts
from emoe_audit.types import EnsembleSpec

TEXTS = ["a dog", "", "कुत्ता बड़ा", "犬 <|endoftext|> 🐕", "long " * 40]


@pytest.fixture(scope="module")
def ensemble(tiny_spec: EnsembleSpec) -> Ensemble:
    return load_ensemble(tiny_spec, device="cpu")


def encode(ensemble: Ensemble, texts: list[str]) -> torch.Tensor:
    return encode_prompts(texts, ensemble.text_encoders, 2).embeds


def count(ensemble: Ensemble, text: str) -> TokenCount:
    return count_tokens([text], ensemble.tokenizer, ensemble.max_length)[0]


def test_text_states_are_those_of_diffusers(ensemble: Ensemble) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(ensemble.spec.base.source)
    expected, _ = pipeline.encode_prompt(TEXTS, "cpu", 1, do_classifier_free_guidance=False)
    assert expected.shape == (len(TEXTS), 32, 16)
    torch.testing.assert_close(encode(ensemble, TEXTS), expected, rtol=1e-6, atol=1e-6)


def test_the_summary_of_a_text_is_the_state_at_its_first_end(ensemble: Ensemble) -> None:
    tokens = ensemble.tokenizer(TEXTS, padding="max_length", max_length=32, truncation=True).input_ids
    ends = [ids.index(ensemble.tokenizer.eos_token_id) for ids in tokens]
    assert ends[1] == 1 and ends[4] == 31
    states = encode_prompts(TEXTS, ensemble.text_encoders, 2)
    assert states.summary is not None
    torch.testing.assert_close(states.summary, states.embeds[torch.arange(len(TEXTS)), torch.tensor(ends)])


@pytest.mark.parametrize("model", [CLIPTextModel, CLIPTextModelWithProjection])
def test_the_state_before_the_last_norm_becomes_the_summary_by_it(ensemble: Ensemble, model: type) -> None:
    own = ensemble.text_encoders[0]
    built = model(own.model.config).eval()
    norm = next(layer for name, layer in built.named_modules() if name.endswith("final_layer_norm"))
    torch.nn.init.normal_(norm.weight)
    states = encode_prompts(TEXTS, [replace(own, model=built)], 2)
    expected = getattr(built, "text_projection", torch.nn.Identity())(norm(states.unnormed))
    torch.testing.assert_close(states.summary, expected, rtol=1e-5, atol=1e-6)


def test_batches_of_states_put_together_are_the_states(ensemble: Ensemble) -> None:
    states = encode_prompts(TEXTS, ensemble.text_encoders, 5)
    batches = states.split(2)
    assert [len(batch) for batch in batches] == [2, 2, 1]
    for name in ("embeds", "summary", "unnormed"):
        assert torch.equal(torch.cat([getattr(batch, name) for batch in batches]), getattr(states, name))
    assert {batch.pooled for batch in batches} == {None}


def test_the_neighbours_of_a_prompt_do_not_change_its_states(ensemble: Ensemble) -> None:
    together = encode(ensemble, TEXTS)
    for index, text in enumerate(TEXTS):
        torch.testing.assert_close(together[index : index + 1], encode(ensemble, [text]), rtol=1e-5, atol=1e-6)


def test_what_is_cut_off_does_not_change_the_states(ensemble: Ensemble) -> None:
    states = encode(ensemble, ["x" * 30, "x" * 30 + " and more"])
    assert count(ensemble, "x" * 31).truncated and not count(ensemble, "x" * 30).truncated
    assert not torch.equal(*encode(ensemble, ["x" * 29, "x" * 30]))
    torch.testing.assert_close(*encode(ensemble, ["x" * 40, "x" * 50]))
    assert states.shape == (2, 32, 16)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a dog", TokenCount(n_tokens=4, tokens_per_word=2.0, truncated=False)),
        ("犬", TokenCount(n_tokens=3, tokens_per_word=3.0, truncated=False)),
        ("x" * 100, TokenCount(n_tokens=100, tokens_per_word=100.0, truncated=True)),
    ],
)
def test_tokens_are_counted_before_the_cut_without_begin_and_end(
    ensemble: Ensemble, text: str, expected: TokenCount
) -> None:
    assert count(ensemble, text) == expected


@pytest.mark.parametrize("text", ["", "!!!", "  "])
def test_a_prompt_without_words_has_no_tokens_per_word(ensemble: Ensemble, text: str) -> None:
    assert math.isnan(count(ensemble, text).tokens_per_word)


def test_nothing_is_counted_for_no_prompts(ensemble: Ensemble) -> None:
    assert count_tokens([], ensemble.tokenizer, ensemble.max_length) == []


@pytest.mark.parametrize(
    ("text", "n_words"),
    [
        ("a red-haired dog's house", 5),
        ("l'arbre vert, 3.14 km!", 4),
        ("집에 개가", 2),
        ("कुत्ता बड़ा", 2),
        ("犬の家", 3),
        ("カタカナ", 1),
        ("👩‍👩‍👧 family 🇫🇮", 3),
        ("... — !", 0),
        ("", 0),
    ],
)
def test_words_are_those_of_unicode(text: str, n_words: int) -> None:
    assert count_words(text) == n_words


@given(st.lists(st.text("abcxyz", min_size=1), max_size=8))
def test_words_of_letters_are_counted_between_spaces(words: list[str]) -> None:
    assert count_words(" ".join(words)) == len(words)
