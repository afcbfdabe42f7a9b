"""Assumed known groups: what a model trained on the web must know less of, though another ensemble need not.

Rare words are rarer than frequent ones in nearly any text, a kind of thing is named less often than the thing, and
less is written in a language that fewer people write. An ensemble may still be trained on birds alone, or on Basque, so
these probes stand next to the strict ones of `probes` and decide nothing. Their pairs are matched on letters and token
count as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from langcodes import Language
from langcodes.tag_parser import LanguageTagError

from emoe_audit.validity.probes import CAPTIONS_TRIED, CountTokens, Pair

ENGLISH = Path(__file__).with_name("english.csv")
LETTERS_APART = 1
"""Letters by which the halves of a pair may differ between languages."""


def assumed_pairs(
    captions: pd.DataFrame, count_tokens: CountTokens, *, n_per_language: int = 10, seed: int = 0
) -> list[Pair]:
    """Pairs of every assumed probe that the captions allow: English words where they have English, then languages.

    Args:
        captions: A column per language, a row per thing that all of them name.
        count_tokens: The tokenizer of the ensemble.
        n_per_language: Pairs of each smaller language, at most; of the English words all that can be matched.
        seed: Of everything drawn.
    """
    has_english = any(str(language).split("-")[0] == "en" for language in captions)
    english = english_pairs(count_tokens) if has_english else []
    return english + language_pairs(captions, count_tokens, n_per_language=n_per_language, seed=seed)


def english_pairs(count_tokens: CountTokens) -> list[Pair]:
    """Frequent against rare words, then general against specific ones, from `english.csv`.

    Kept are pairs whose halves take as many tokens. Pairs that share a word are one cluster, named after the most
    general word: three kinds of bird are compared with the same `bird`, so they are not independent.
    """
    rows = pd.read_csv(ENGLISH, keep_default_na=False)
    above = {(row.probe, row.strange): row.known for row in rows.itertuples()}
    counts = zip(*(count_tokens(rows[half].tolist()) for half in ("known", "strange")), strict=True)
    return [
        Pair(
            probe=row.probe,
            language="en",
            cluster=_most_general(row.probe, row.known, above),
            known=row.known,
            strange=row.strange,
            n_tokens=of_known,
        )
        for row, (of_known, of_strange) in zip(rows.itertuples(), counts, strict=True)
        if of_known == of_strange
    ]


def language_pairs(
    captions: pd.DataFrame, count_tokens: CountTokens, *, n_per_language: int = 10, seed: int = 0
) -> list[Pair]:
    """A caption in a language of many people against the same caption in one of few; the clusters are the latter."""
    large, small = halves([str(language) for language in captions])
    tried = np.random.default_rng(seed).permutation(len(captions))[: CAPTIONS_TRIED * n_per_language]
    texts = {language: [str(text).casefold() for text in captions[language].to_numpy()[tried]] for language in captions}
    counts = {language: count_tokens(texts[language]) for language in (*large, *small)}
    pairs: list[Pair] = []
    for place, language in enumerate(small):
        rng = np.random.default_rng([seed, place])
        pairs += islice(_same_captions(language, large, texts, counts, rng), n_per_language)
    return pairs


def halves(languages: list[str]) -> tuple[list[str], list[str]]:
    """The languages of more writers than the median and those of fewer; those of unknown numbers are in neither."""
    numbers = {language: writers(language) for language in languages}
    known = {language: number for language, number in numbers.items() if number}
    median = np.median(list(known.values())) if known else 0
    return [own for own in known if known[own] > median], [own for own in known if known[own] < median]


def writers(language: str) -> int:
    """How many people write a language in the script of its tag, by CLDR; 0 where that is not known.

    Not how many speak it: a model meets what is written. Only this tells Chinese in traditional from that in simplified
    characters and Serbian in Latin from that in Cyrillic letters, and it does not take Cantonese, which 155 million
    speak by CLDR and few write, for a language of the web.
    """
    try:
        return int(Language.get(language).writing_population())
    except LanguageTagError:
        return 0


def _same_captions(
    language: str,
    large: list[str],
    texts: dict[str, list[str]],
    counts: dict[str, list[int]],
    rng: np.random.Generator,
) -> Iterator[Pair]:
    for place in rng.permutation(len(texts[language])):
        own = texts[language][place]
        matched = [
            other
            for other in large
            if counts[other][place] == counts[language][place]
            and abs(len(texts[other][place]) - len(own)) <= LETTERS_APART
            and texts[other][place] != own
        ]
        if matched:
            known, n_tokens = texts[str(rng.choice(matched))][place], counts[language][place]
            yield Pair(
                probe="small languages",
                language=language,
                cluster=language,
                known=known,
                strange=own,
                n_tokens=n_tokens,
            )


def _most_general(probe: str, word: str, above: dict[tuple[str, str], str]) -> str:
    while (probe, word) in above:
        word = above[probe, word]
    return word
