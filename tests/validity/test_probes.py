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

from emoe_audit.validity.probes import Pair, PseudoWords, make_pairs, make_swaps, within

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


SMALL = CAPTIONS.map(str.casefold)
KNOWN = {str(name): {word for text in SMALL[name] for word in text.split()} for name in SMALL}


def made(n_per_language: int, captions: pd.DataFrame = SMALL, seed: int = 0) -> list[Pair]:
    return make_pairs(captions, KNOWN, by_pairs_of_letters, n_per_language=n_per_language, seed=seed)


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return made(6)


def test_both_probes_come_in_every_language_up_to_the_bound(pairs: list[Pair]) -> None:
    counts = pd.Series([(p.probe, p.language) for p in pairs]).value_counts()
    assert set(counts.index) >= {("pseudo-words", "en"), ("shuffled letters", "en")}
    assert counts.max() == 6
    assert {p.number for p in pairs if (p.probe, p.language) == ("pseudo-words", "en")} == set(range(6))


def test_the_three_texts_of_a_pair_have_as_many_tokens_and_the_strange_one_as_many_letters(pairs: list[Pair]) -> None:
    for pair in pairs:
        assert len(pair.known) == len(pair.strange)
        assert len(set(by_pairs_of_letters(pair.texts))) == 1


def test_the_placebo_is_another_caption_of_the_language(pairs: list[Pair]) -> None:
    for pair in pairs:
        captions = SMALL[pair.language].to_list()
        assert pair.known in captions and pair.placebo in captions and pair.placebo != pair.known


def test_a_caption_without_a_fellow_of_as_many_tokens_makes_no_pair() -> None:
    alone = pd.DataFrame({"en": ["apple", "apple", "maple tree house"]})
    words = {"en": {"apple", "maple", "tree", "house"}}
    assert make_pairs(alone, words, lambda texts: [len(text) for text in texts], n_per_language=3) == []


def test_a_swap_names_three_captions_of_as_many_tokens() -> None:
    swaps = make_swaps(SMALL, by_pairs_of_letters, n_per_language=4)
    assert pd.Series([swap.language for swap in swaps]).value_counts().max() == 4
    for swap in swaps:
        texts = [SMALL[swap.language].iloc[row] for row in (swap.known, swap.other, swap.placebo)]
        assert len(set(texts)) == 3
        assert len(set(by_pairs_of_letters(texts))) == 1


def test_no_more_texts_are_taken_than_may_be_and_every_language_comes_before_a_second_pair(pairs: list[Pair]) -> None:
    kept = within(pairs, 12)
    assert len({text for pair in kept for text in pair.texts}) <= 12
    assert {pair.number for pair in kept} == {0} or len(kept) >= 4
    assert within(pairs, 10_000) == sorted(pairs, key=lambda pair: pair.number)
    assert within(pairs, 2) == []


def test_no_word_of_a_strange_text_is_a_word_of_the_language(pairs: list[Pair]) -> None:
    for pair in pairs:
        assert not KNOWN[pair.language] & set(pair.strange.split())


def test_shuffling_keeps_the_letters_of_every_word(pairs: list[Pair]) -> None:
    for pair in (p for p in pairs if p.probe == "shuffled letters"):
        assert [sorted(word) for word in pair.known.split()] == [sorted(word) for word in pair.strange.split()]


def test_the_seed_makes_the_pairs(pairs: list[Pair]) -> None:
    assert made(6) == pairs
    assert made(6, seed=1) != pairs


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_seed_makes_the_pairs_in_every_process(pairs: list[Pair], hash_seed: str) -> None:
    again = "from tests.validity.test_probes import *\nprint([p.strange for p in made(6)])"
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
