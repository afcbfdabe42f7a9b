"""Known groups for any ensemble: texts of which one must be stranger to every model than the other, and a placebo.

No knowledge of a training set is needed, because nobody can have trained on words that do not exist. The three texts of
a pair are of one language and as many tokens, so neither language, length nor tokenisation can tell them apart.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
import pandas as pd

Probe = Literal["pseudo-words", "shuffled letters", "own translations"]
CountTokens = Callable[[Sequence[str]], list[int]]
MOST_TEXTS = 600
"""That go through the experts in one check."""
TRIES, AT_ONCE = 40, 5
"""Strange versions made of a caption before it is given up, and how many are made before they are looked at."""
BOUNDARY = "\0"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A caption, what was made of it that nobody can read, and a placebo: another caption of as many tokens."""

    probe: Probe
    language: str
    known: str
    strange: str
    placebo: str
    number: int
    """Among the pairs of its probe and language, from 0."""

    @property
    def texts(self) -> tuple[str, str, str]:
        """The three texts."""
        return self.known, self.strange, self.placebo


@dataclass(frozen=True, kw_only=True)
class Swap:
    """Three captions of as many tokens in a language, by their rows.

    Is the text of the first nearer to its own translations than to those of the second? The text of the third, which is
    of neither, is the placebo.
    """

    language: str
    known: int
    other: int
    placebo: int


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
    captions: pd.DataFrame,
    words: Mapping[str, set[str]],
    count_tokens: CountTokens,
    *,
    n_per_language: int,
    seed: int = 0,
) -> list[Pair]:
    """Pairs of both kinds of strange words in every language that yields them.

    Args:
        captions: In small letters, a column per language.
        words: Those that a language is known to have.
        count_tokens: The tokenizer of the ensemble.
        n_per_language: Pairs of each probe in each language, at most.
        seed: Of everything drawn.
    """
    pairs: list[Pair] = []
    for place, language in enumerate(captions):
        rng = np.random.default_rng([seed, place])
        texts = list(dict.fromkeys(captions[language].to_numpy()[rng.permutation(len(captions))]))
        own = words[str(language)]
        chain = PseudoWords(own)
        makers: dict[Probe, Callable[[str], str]] = {
            "pseudo-words": lambda word, chain=chain, rng=rng: chain.draw(len(word), rng),  # type: ignore[misc]
            "shuffled letters": lambda word, rng=rng: "".join(rng.permutation(list(word))),  # type: ignore[misc]
        }
        counts = dict(zip(texts, count_tokens(texts), strict=True))
        for probe, make in makers.items():
            found = _strange_texts(counts, make, own, count_tokens)
            pairs += [
                Pair(probe=probe, language=str(language), known=known, strange=strange, placebo=placebo, number=number)
                for number, (known, strange, placebo) in enumerate(islice(found, n_per_language))
            ]
    return pairs


def make_swaps(captions: pd.DataFrame, count_tokens: CountTokens, *, n_per_language: int, seed: int = 0) -> list[Swap]:
    """Threes of captions of as many tokens in every language that has them; arguments as in `make_pairs`."""
    swaps: list[Swap] = []
    for place, language in enumerate(captions):
        rng = np.random.default_rng([seed, place])
        texts = captions[language].to_list()
        counts = np.array(count_tokens(texts))
        found = 0
        for known in rng.permutation(len(texts)):
            alike = [row for row in np.flatnonzero(counts == counts[known]) if texts[row] != texts[known]]
            if len(alike) >= 2 and found < n_per_language:
                other, placebo = (int(row) for row in rng.choice(alike, 2, replace=False))
                swaps.append(Swap(language=str(language), known=int(known), other=other, placebo=placebo))
                found += 1
    return swaps


def within(pairs: Iterable[Pair], most_texts: int) -> list[Pair]:
    """The first pairs of every language, then the second ones and so on, while they hold no more texts than that."""
    kept: list[Pair] = []
    texts: set[str] = set()
    for pair in sorted(pairs, key=lambda own: own.number):
        if len(texts.union(pair.texts)) > most_texts:
            break
        texts.update(pair.texts)
        kept.append(pair)
    return kept


def _strange_texts(
    counts: dict[str, int], make: Callable[[str], str], words: set[str], count_tokens: CountTokens
) -> Iterator[tuple[str, str, str]]:
    """Texts that have a fellow of as many tokens, what is made of each, and the fellow."""
    texts = list(counts)
    for place, own in enumerate(texts):
        n_tokens = counts[own]
        fellow = next((text for text in texts[place + 1 :] + texts[:place] if counts[text] == n_tokens), None)
        if fellow is None:
            continue
        strange = next(_made(own, n_tokens, make, words, count_tokens), None)
        if strange is not None:
            yield own, strange, fellow


def _made(
    own: str, n_tokens: int, make: Callable[[str], str], words: set[str], count_tokens: CountTokens
) -> Iterator[str]:
    """Texts made of one that have as many letters and tokens and none of the language's words."""
    for _ in range(TRIES // AT_ONCE):
        candidates = [" ".join(make(word) for word in own.split()) for _ in range(AT_ONCE)]
        for candidate, count in zip(candidates, count_tokens(candidates), strict=True):
            if count == n_tokens and len(candidate) == len(own) and not words & set(candidate.split()):
                yield candidate
