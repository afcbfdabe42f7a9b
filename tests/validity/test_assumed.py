"""Assumed pairs: matched as the strict ones are, and of words and languages whose order is known from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pytest
from open_clip.tokenizer import SimpleTokenizer

from emoe_audit.prompts.shipped import shipped_captions
from emoe_audit.validity.assumed import ENGLISH, assumed_pairs, english_pairs, halves, language_pairs, writers

WORDS = pd.read_csv(ENGLISH)


def one_a_letter(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


def vowels(texts: Sequence[str]) -> list[int]:
    """A tokenizer that splits words before their vowels."""
    return [1 + sum(letter in "aeiou" for letter in text[1:]) for text in texts]


@pytest.fixture(scope="module")
def clip() -> SimpleTokenizer:
    return SimpleTokenizer()


def test_the_word_list_is_plain_and_its_pairs_are_of_equal_length() -> None:
    assert WORDS["probe"].value_counts().to_dict() == {"rare words": 84, "specific words": 58}
    both = pd.concat([WORDS["known"], WORDS["strange"]])
    assert both.str.fullmatch("[a-z]+").all()
    assert (WORDS["known"].str.len() == WORDS["strange"].str.len()).all()


def test_no_rare_word_pair_shares_a_word_and_every_specific_word_is_a_kind_of_one_thing() -> None:
    rare = WORDS[WORDS["probe"] == "rare words"]
    assert pd.concat([rare["known"], rare["strange"]]).is_unique
    specific = WORDS[WORDS["probe"] == "specific words"]
    assert specific["strange"].is_unique


def test_clip_merged_the_known_word_of_a_pair_first(clip: SimpleTokenizer) -> None:
    """Byte-pair merges come in the order of frequency in what CLIP's vocabulary was made from."""
    compared = 0
    for pair in WORDS.itertuples():
        known, strange = clip.encode(pair.known), clip.encode(pair.strange)
        assert len(known) <= len(strange)
        if len(known) == len(strange) == 1:
            assert known[0] < strange[0], pair
            compared += 1
    assert compared > 80


def test_clip_can_use_enough_pairs_of_both_lists(clip: SimpleTokenizer) -> None:
    pairs = english_pairs(lambda texts: [len(clip.encode(text)) for text in texts])
    counts = pd.Series([pair.probe for pair in pairs]).value_counts()
    assert counts["rare words"] >= 50 and counts["specific words"] >= 30


def test_only_pairs_of_as_many_tokens_are_kept() -> None:
    pairs = english_pairs(vowels)
    assert 0 < len(pairs) < len(WORDS)
    for pair in pairs:
        assert vowels([pair.known, pair.strange]) == [pair.n_tokens] * 2
    left_out = set(WORDS["strange"]) - {pair.strange for pair in pairs}
    assert "teal" in left_out  # te-al against d-uck


def test_words_of_one_ladder_are_one_cluster_within_a_probe() -> None:
    clusters = {(p.probe, p.strange): p.cluster for p in english_pairs(one_a_letter)}
    assert {clusters["specific words", word] for word in ("duck", "teal", "swan", "wren")} == {"bird"}
    assert clusters["specific words", "jodhpurs"] == "clothing"
    assert clusters["rare words", "tern"] == "bird"
    assert clusters["rare words", "pagoda"] == "screen"
    assert clusters["specific words", "pagoda"] == "temple"


@pytest.mark.parametrize(
    ("language", "least", "most"),
    [
        ("zh-Hant", 20e6, 60e6),  # Taiwan and Hong Kong, not all who speak Chinese
        ("zh", 1e9, 1.5e9),
        ("yue", 5e6, 100e6),
        ("sr-Latn", 0.3e6, 8e6),
        ("eu", 0.5e6, 2e6),
        ("pt-BR", 150e6, 220e6),
        ("und", 0, 0),
        ("xx", 0, 0),
        ("not_a_language", 0, 0),
        ("", 0, 0),
    ],
)
def test_writers_of_a_language_are_of_the_right_order(language: str, least: float, most: float) -> None:
    assert least <= writers(language) <= most


def test_languages_are_halved_at_the_median_and_those_of_unknown_numbers_left_out() -> None:
    assert halves(["eu", "en", "und", "cy", "es"]) == (["en", "es"], ["eu", "cy"])
    assert halves(["eu", "en", "de"]) == (["en"], ["eu"])
    assert halves(["en", "en-x-upside"]) == ([], [])
    assert halves(["und"]) == halves([]) == ([], [])


def test_halves_of_the_shipped_captions_are_as_anyone_would_say() -> None:
    large, small = halves(list(shipped_captions()))
    assert {"en", "zh", "es", "ar", "ru", "hi", "fr"} <= set(large)
    assert {"cy", "eu", "ti", "ka", "fi", "zh-Hant"} <= set(small)
    assert len(large) == len(small) == 20


def test_a_pair_is_one_caption_in_two_languages_of_as_many_tokens_and_letters() -> None:
    captions = shipped_captions()
    large, small = halves(list(captions))
    pairs = language_pairs(captions, vowels, n_per_language=4)
    rows = [{text.casefold() for text in row} for row in captions[large].to_numpy()]
    for pair in pairs:
        assert pair.language == pair.cluster and pair.language in small
        own = [place for place, text in enumerate(captions[pair.language]) if text.casefold() == pair.strange]
        assert any(pair.known in rows[place] for place in own)
        assert abs(len(pair.known) - len(pair.strange)) <= 1
        assert vowels([pair.known, pair.strange]) == [pair.n_tokens] * 2
        assert pair.known != pair.strange
    counts = pd.Series([pair.language for pair in pairs]).value_counts()
    assert counts.max() == 4 and len(counts) > 10


def test_the_seed_makes_the_pairs() -> None:
    captions = shipped_captions()
    pairs = assumed_pairs(captions, one_a_letter, n_per_language=3)
    assert assumed_pairs(captions, one_a_letter, n_per_language=3) == pairs
    assert assumed_pairs(captions, one_a_letter, n_per_language=3, seed=1) != pairs


def test_a_probe_that_the_captions_do_not_allow_is_missing() -> None:
    found = {
        name: {pair.probe for pair in assumed_pairs(pd.DataFrame(captions), one_a_letter)}
        for name, captions in {
            "one": {"en-GB": ["a dog"]},
            "no English": {"de": ["Hund"], "eu": ["txakur"]},
            "no match": {"de": ["Hund"], "eu": ["zakurra da"]},
            "same text": {"de": ["Robot"], "eu": ["robot"]},
            "none": {},
        }.items()
    }
    assert found["one"] == {"rare words", "specific words"}
    assert found["no English"] == found["no match"] == found["same text"] == found["none"] == set()
    matched = pd.DataFrame({"de": ["Hund"], "eu": ["zaku"]})
    (pair,) = assumed_pairs(matched, one_a_letter)
    assert (pair.known, pair.strange, pair.source_id) == ("hund", "zaku", "")
