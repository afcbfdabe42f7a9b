"""Known groups for any ensemble: pairs of prompts of which one must be stranger to every model than the other.

No knowledge of a training set is needed, because nobody can have trained on words that do not exist. A pair is matched
on language, letters and token count, so neither length nor tokenisation can tell its halves apart.

These are the strict probes, which decide whether a score is valid. Those of `assumed` need the ensemble to have been
trained on ordinary text; they make pairs of the same kind, and only inform.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
import pandas as pd

Probe = Literal["pseudo-words", "shuffled letters", "rare words", "specific words", "small languages"]
STRICT: tuple[Probe, ...] = ("pseudo-words", "shuffled letters")
"""The probes whose strange half nobody can have trained on."""
CountTokens = Callable[[Sequence[str]], list[int]]
TRIES = 40
"""Strange versions made of a caption before it is given up."""
CAPTIONS_TRIED = 20
"""Captions tried for every pair that is wanted."""
BOUNDARY = "\0"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A text, and a stranger one of as many letters and tokens."""

    probe: Probe
    language: str
    """Of the strange half."""
    cluster: str
    """What is resampled as a whole for an interval, because its pairs are not independent.

    The language of the strange half where a probe spans languages, else the most general of the words that pairs share.
    """
    known: str
    strange: str
    n_tokens: int
    source_id: str = ""
    """The caption that the strange half was made from, by its row's name; empty for words that are of none."""


class PseudoWords:
    """Words that look like a language's and are none of its: a chain of letters, each drawn after the two before."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = set(words)
        following: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for word in sorted(self._words):
            padded = BOUNDARY * 2 + word
            for place in range(len(word)):
                following[padded[place : place + 2]][padded[place + 2]] += 1
        self._following = {pair: (list(own), np.array(list(own.values()))) for pair, own in following.items()}
        self._letters = sorted(set("".join(self._words)))

    def draw(self, length: int, rng: np.random.Generator) -> str:
        """A word of this many letters that the language does not have; '' where none was found."""
        for _ in range(TRIES):
            word = BOUNDARY * 2
            while len(word) < length + 2:
                letters, counts = self._following.get(word[-2:], (self._letters, np.ones(len(self._letters))))
                word += str(rng.choice(letters, p=counts / counts.sum()))
            if word[2:] not in self._words:
                return word[2:]
        return ""


def make_pairs(
    captions: pd.DataFrame, count_tokens: CountTokens, *, n_per_language: int = 10, seed: int = 0
) -> list[Pair]:
    """Pairs of both strict probes in every language that yields them.

    Args:
        captions: A column per language.
        count_tokens: The tokenizer of the ensemble.
        n_per_language: Pairs of each probe in each language, at most.
        seed: Of everything drawn.
    """
    pairs: list[Pair] = []
    drawn = captions.iloc[drawn_order(len(captions), seed)]
    for place, language in enumerate(captions):
        rng = np.random.default_rng([seed, place])
        texts = dict(zip(drawn.index.astype(str), drawn[language].astype(str), strict=True))
        words = {word for text in texts.values() for word in text.casefold().split()}
        chain = PseudoWords(words)
        strange: dict[Probe, Callable[[str], str]] = {
            "pseudo-words": lambda word, chain=chain, rng=rng: chain.draw(len(word), rng),  # type: ignore[misc]
            "shuffled letters": lambda word, rng=rng: "".join(rng.permutation(list(word))),  # type: ignore[misc]
        }
        for probe, make in strange.items():
            tried = dict(islice(texts.items(), CAPTIONS_TRIED * n_per_language))
            found = _pairs(probe, str(language), tried, make, words, count_tokens)
            pairs += [pair for _, pair in zip(range(n_per_language), found, strict=False)]
    return pairs


def drawn_order(n_captions: int, seed: int = 0) -> np.ndarray:
    """The order in which captions are tried, the same for all languages, so that pairs share captions."""
    return np.random.default_rng(seed).permutation(n_captions)


def _pairs(
    probe: Probe,
    language: str,
    texts: dict[str, str],
    make: Callable[[str], str],
    words: set[str],
    count_tokens: CountTokens,
) -> Iterable[Pair]:
    for source, text in texts.items():
        own = text.casefold()
        candidates = [" ".join(make(word) for word in own.split()) for _ in range(TRIES)]
        counts = count_tokens([own, *candidates])
        for candidate, count in zip(candidates, counts[1:], strict=True):
            if count == counts[0] and len(candidate) == len(own) and not words & set(candidate.split()):
                yield Pair(
                    probe=probe,
                    language=language,
                    cluster=language,
                    known=own,
                    strange=candidate,
                    n_tokens=count,
                    source_id=source,
                )
                break
