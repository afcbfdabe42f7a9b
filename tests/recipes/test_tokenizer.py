"""The tokenizer every plan shares: no text may reach the unknown token, which in CLIP is end-of-text."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoe_audit.recipes.tokenizer import END, VOCAB_SIZE, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    words = [f"{a}{b} {c}" for a in ("sun", "мор", "猫") for b in ("ny", "ее", "犬") for c in ("face", "лицо", "顔")]
    captions = pd.DataFrame({"en": words, "ru": words[::-1]})
    return train_tokenizer(captions, tmp_path_factory.mktemp("tokenizer"))


@given(text=st.text(max_size=20))
def test_end_of_text_comes_only_at_the_end(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text.replace(END, ""))["input_ids"]
    assert ids.index(tokenizer.eos_token_id) == len(ids) - 1


def test_the_special_tokens_come_last_so_that_pooling_at_the_largest_id_finds_the_end(tokenizer: Any) -> None:
    assert [tokenizer.bos_token_id, tokenizer.eos_token_id] == [len(tokenizer) - 2, len(tokenizer) - 1]
    assert tokenizer.eos_token_id != 2
    assert len(tokenizer) <= VOCAB_SIZE


def test_frequent_pieces_are_merged(tokenizer: Any) -> None:
    assert tokenizer.tokenize("face") == ["face</w>"]


def test_training_again_reads_what_was_written(tokenizer: Any, tmp_path: Path) -> None:
    captions = pd.DataFrame({"en": ["red ball", "blue ball"], "de": ["roter ball", "blauer ball"]})
    first = train_tokenizer(captions, tmp_path).get_vocab()
    assert train_tokenizer(captions.iloc[:1], tmp_path).get_vocab() == first
