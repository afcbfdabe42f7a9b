"""The check of the score for one language, on encoders whose states are made: one that reads, one that does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from emoe_audit.analysis.familiarity import Familiarity
from emoe_audit.validity.alone import check_alone

RNG = np.random.default_rng(0)
WORDS = ["".join(RNG.choice(list("abdegiklmnoprst"), 6)) for _ in range(200)]
CAPTIONS = pd.DataFrame(
    {
        language: [" ".join(pair) + ending for pair in zip(WORDS[::2], WORDS[1::2], strict=True)]
        for language, ending in (("en", ""), ("de", "e"))
    }
)


@dataclass(frozen=True)
class Made:
    """Gives every word a state of its own; the states of words that it does not know are as many times as short."""

    shorter: float
    width: int = 16

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]

    def states(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([sum((self._word(word) for word in text.split()), np.zeros(self.width)) for text in texts])

    def _word(self, word: str) -> np.ndarray:
        known = any(word in text.split() for text in CAPTIONS["en"])
        length = 1.0 if known else 1 / self.shorter
        return length * np.random.default_rng(list(word.encode())).normal(size=self.width)


def familiarity(reader: Made) -> Familiarity:
    languages = CAPTIONS.melt(var_name="language", value_name="text")
    return Familiarity.fit(reader.states(languages["text"].tolist()), languages["language"].tolist())


@pytest.mark.parametrize(("shorter", "sign"), [(3.0, "holds"), (1.0, "unclear"), (1 / 3, "turned")])
def test_the_sign_is_that_of_the_encoder(shorter: float, sign: str) -> None:
    reader: Any = Made(shorter)
    known = familiarity(reader)
    found = check_alone(reader, known, CAPTIONS)
    assert [probe.probe for probe in found] == ["pseudo-words", "shuffled letters"]
    assert {probe.language for probe in found} == {known.best}
    assert {probe.sign for probe in found} == {sign}
    assert all(probe.n_pairs > 40 and probe.n_languages == 1 for probe in found)


def test_few_captions_say_nothing() -> None:
    reader: Any = Made(3.0)
    found = check_alone(reader, familiarity(reader), CAPTIONS.iloc[:30])
    assert found and all(probe.sign == "unclear" for probe in found)


def test_without_a_known_language_nothing_is_asked() -> None:
    reader: Any = Made(3.0)
    assert check_alone(reader, Familiarity.fit(np.empty((0, 16)), []), CAPTIONS) == ()
