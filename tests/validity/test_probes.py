"""Pairs are matched on everything but sense."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoe_audit.validity.probes import Pair, PseudoWords, drawn_order, make_pairs

WORDS = [
    "apple",
    "maple",
    "ample",
    "table",
    "cable",
    "fable",
    "stable",
    "staple",
    "beetle",
    "onion",
    "river",
    "crown",
]
CAPTIONS = pd.DataFrame(
    {
        "en": [f"{a} {b}" for a, b in zip(WORDS, WORDS[3:] + WORDS[:3], strict=True)],
        "ja": [f"{a}{b}" for a in ("赤い", "青い", "大きい", "小さい", "古い", "新しい") for b in "犬猫"],
    }
)


def by_pairs_of_letters(texts: Sequence[str]) -> list[int]:
    """A tokenizer that knows some pairs of letters."""
    known = {"ta", "ab", "le", "st", "ap", "pl", "tt", "be"}
    return [len(text) - sum(text[i : i + 2] in known for i in range(len(text) - 1)) for text in texts]


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return make_pairs(CAPTIONS, by_pairs_of_letters, n_per_language=6)


def test_both_probes_come_in_every_language_up_to_the_bound(pairs: list[Pair]) -> None:
    counts = pd.Series([(p.probe, p.language) for p in pairs]).value_counts()
    assert set(counts.index) >= {("pseudo-words", "en"), ("shuffled letters", "en")}
    assert counts.max() == 6


def test_a_pair_has_as_many_letters_and_tokens_in_each_half(pairs: list[Pair]) -> None:
    for pair in pairs:
        assert len(pair.known) == len(pair.strange)
        assert by_pairs_of_letters([pair.known, pair.strange]) == [pair.n_tokens] * 2


def test_a_pair_names_the_caption_that_it_was_made_from(pairs: list[Pair]) -> None:
    named = CAPTIONS.set_axis([f"picture {place}" for place in range(len(CAPTIONS))])
    for pair in make_pairs(named, by_pairs_of_letters, n_per_language=6):
        assert str(named.loc[pair.source_id, pair.language]).casefold() == pair.known
        assert pair.cluster == pair.language
    assert {pair.source_id for pair in pairs} <= {str(place) for place in range(12)}


def test_captions_are_tried_in_the_same_order_in_every_language() -> None:
    """So a few captions, read in every language, serve the pairs of all languages."""
    captions = CAPTIONS.assign(fr=CAPTIONS["en"].str.title())
    anything = make_pairs(captions, lambda texts: [0] * len(texts), n_per_language=2)
    tried = drawn_order(12)
    assert sorted(tried) == list(range(12))
    assert {pair.language for pair in anything} == {"en", "ja", "fr"}
    assert {pair.source_id for pair in anything if pair.probe == "pseudo-words"} == {str(own) for own in tried[:2]}


def test_no_word_of_a_strange_text_is_a_word_of_the_language(pairs: list[Pair]) -> None:
    for pair in pairs:
        words = {word for text in CAPTIONS[pair.language] for word in text.split()}
        assert not words & set(pair.strange.split())


def test_shuffling_keeps_the_letters_of_every_word(pairs: list[Pair]) -> None:
    for pair in (p for p in pairs if p.probe == "shuffled letters"):
        assert [sorted(word) for word in pair.known.split()] == [sorted(word) for word in pair.strange.split()]


def test_the_seed_makes_the_pairs(pairs: list[Pair]) -> None:
    assert make_pairs(CAPTIONS, by_pairs_of_letters, n_per_language=6) == pairs
    assert make_pairs(CAPTIONS, by_pairs_of_letters, n_per_language=6, seed=1) != pairs


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_seed_makes_the_pairs_in_every_process(pairs: list[Pair], hash_seed: str) -> None:
    again = (
        "from tests.validity.test_probes import *\n"
        "print([p.strange for p in make_pairs(CAPTIONS, by_pairs_of_letters, n_per_language=6)])"
    )
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", again], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([pair.strange for pair in pairs])


def test_pseudo_words_use_the_pairs_of_letters_of_their_language() -> None:
    chain, rng = PseudoWords(WORDS), np.random.default_rng(0)
    drawn = [chain.draw(5, rng) for _ in range(50)]
    triples = {f"  {word}"[i : i + 3] for word in WORDS for i in range(len(word))}
    assert all(len(word) == 5 and word not in WORDS for word in drawn)
    share = np.mean([f"  {word}"[i : i + 3] in triples for word in drawn for i in range(5)])
    assert share > 0.9


def test_a_language_of_one_word_has_no_pseudo_words() -> None:
    assert PseudoWords(["aa"]).draw(2, np.random.default_rng(0)) == ""
