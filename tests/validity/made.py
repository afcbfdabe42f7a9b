"""Text encoders and scores that are made up: one that knows what captions mean, and many that know nothing."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emoe_audit.analysis.calibration import Calibration
from emoe_audit.analysis.readings import Readings
from emoe_audit.validity.probes import CountTokens, Pair, make_pairs

WIDTH = 48


@dataclass(frozen=True)
class MadeReader:
    """Stands for a `TextReader`: a token a letter, and a reading by a function of the text."""

    reading: Callable[[str], np.ndarray]
    n_tokens: int = 0x500

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [[ord(letter) for letter in text] for text in texts]

    def read(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self.reading(text) for text in texts]).astype(np.float32)


def made_captions(n_languages: int, n_captions: int = 24, seed: int = 0) -> pd.DataFrame:
    """Captions of one word in languages of which each has letters of its own, five or six to a word."""
    rng = np.random.default_rng(seed)
    names = [f"{place:02d}" for place in range(n_captions)]
    columns = {}
    for place in range(n_languages):
        alphabet = [chr(0x100 + 8 * place + letter) for letter in range(8)]
        words: dict[str, None] = {}
        while len(words) < n_captions:
            words["".join(rng.choice(alphabet, 5 + len(words) % 2))] = None
        columns[f"l{place:02d}"] = list(words)
    return pd.DataFrame(columns, index=names)


def knowing(captions: pd.DataFrame, n_read: int | None = None, seed: int = 0) -> MadeReader:
    """Reads a caption alike in the first languages, and everything else as its letters fall."""
    rng = np.random.default_rng(seed)
    meanings = dict(zip(captions.index, rng.normal(size=(len(captions), WIDTH)), strict=True))
    read = captions.columns[:n_read]
    known = {text: meanings[name] for language in read for name, text in captions[language].items()}
    return MadeReader(lambda text: known.get(text, by_chance(text)) + 0.3 * by_chance(text))


def ignorant(seed: int) -> MadeReader:
    """Reads every text as its letters fall."""
    return MadeReader(lambda text: by_chance(text, seed))


def by_letters(seed: int) -> MadeReader:
    """Reads a text as the sum of its letters, each of which it has drawn at random."""
    letters = np.random.default_rng(seed).normal(size=(0x500, WIDTH))
    return MadeReader(lambda text: letters[[ord(letter) for letter in text]].sum(axis=0))


def by_chance(text: str, seed: int = 0) -> np.ndarray:
    """The same numbers for the same text."""
    return np.random.default_rng([seed, zlib.crc32(text.encode())]).normal(size=WIDTH)


def calibration(reader: MadeReader, captions: pd.DataFrame) -> Calibration:
    """What the reader's languages are worth."""
    long = captions.melt(ignore_index=False, var_name="language", value_name="text")
    vectors = reader.read(long["text"].to_list())
    return Calibration.fit(Readings(vectors=vectors, languages=long["language"].to_list(), sources=list(long.index)))


def made_pairs(captions: pd.DataFrame, count: CountTokens, n_per_language: int = 3, seed: int = 0) -> list[Pair]:
    """Pairs of which the captions themselves say what words there are."""
    words = {str(name): {word for text in captions[name] for word in text.split()} for name in captions}
    return make_pairs(captions, words, count, n_per_language=n_per_language, seed=seed)
