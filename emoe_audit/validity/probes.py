"""Known groups for any ensemble: pairs of prompts of which one must be stranger to every model than the other.

No knowledge of a training set is needed, because nobody can have trained on words that do not exist. A pair is matched
on language, letters and token count, so neither length nor tokenisation can tell its halves apart.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

Probe = Literal["pseudo-words", "shuffled letters"]
CountTokens = Callable[[Sequence[str]], list[int]]
TRIES = 40
"""Strange versions made of a caption before it is given up."""
CAPTIONS_TRIED = 20
"""Captions tried for every pair that is wanted."""
BOUNDARY = "\0"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A caption, and a strange text of as many letters and tokens."""

    probe: Probe
    language: str
    known: str
    strange: str
    n_tokens: int


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
    """Pairs of both probes in every language that yields them.

    Args:
        captions: A column per language.
        count_tokens: The tokenizer of the ensemble.
        n_per_language: Pairs of each probe in each language, at most.
        seed: Of everything drawn.
    """
    pairs: list[Pair] = []
    for place, language in enumerate(captions):
        rng = np.random.default_rng([seed, place])
        texts = [str(text) for text in captions[language].to_numpy()[rng.permutation(len(captions))]]
        words = {word for text in texts for word in text.casefold().split()}
        chain = PseudoWords(words)
        strange: dict[Probe, Callable[[str], str]] = {
            "pseudo-words": lambda word, chain=chain, rng=rng: chain.draw(len(word), rng),  # type: ignore[misc]
            "shuffled letters": lambda word, rng=rng: "".join(rng.permutation(list(word))),  # type: ignore[misc]
        }
        for probe, make in strange.items():
            found = _pairs(probe, str(language), texts[: CAPTIONS_TRIED * n_per_language], make, words, count_tokens)
            pairs += [pair for _, pair in zip(range(n_per_language), found, strict=False)]
    return pairs


def _pairs(
    probe: Probe,
    language: str,
    texts: Sequence[str],
    make: Callable[[str], str],
    words: set[str],
    count_tokens: CountTokens,
) -> Iterable[Pair]:
    for text in texts:
        own = text.casefold()
        candidates = [" ".join(make(word) for word in own.split()) for _ in range(TRIES)]
        counts = count_tokens([own, *candidates])
        for candidate, count in zip(candidates, counts[1:], strict=True):
            if count == counts[0] and len(candidate) == len(own) and not words & set(candidate.split()):
                yield Pair(probe=probe, language=language, known=own, strange=candidate, n_tokens=count)
                break
