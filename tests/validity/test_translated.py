"""The translation score of pairs: each half against the other languages of the caption that the pair was made from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from emoe_audit.analysis.readings import Readings
from emoe_audit.analysis.translations import TRANSLATION_SCORE, Readers
from emoe_audit.validity import translated as translated_module
from emoe_audit.validity.probes import Pair, make_pairs
from emoe_audit.validity.translated import translation_scores

WORDS = {
    "en": "apple maple table cable fable stable staple beetle onion river crown grape",
    "de": "apfel ahorn tisch kabel fabel stall heft kaefer zwiebel fluss krone traube",
    "fi": "omena vaahtera poyta johto satu talli niitti kuoriainen sipuli joki kruunu rypale",
}
CAPTIONS = pd.DataFrame(
    {own: [f"{a} {b}".title() for a, b in permutations(words.split(), 2)] for own, words in WORDS.items()}
)[::6].set_axis(range(100, 122))
MEANINGS = {text.casefold(): place for language in CAPTIONS for place, text in enumerate(CAPTIONS[language])}


def read(text: str) -> np.ndarray:
    """What a caption means, whatever its language and case; nonsense for any other text."""
    meaning = MEANINGS.get(text.casefold())
    nonsense = [1, *text.encode()]
    return np.random.default_rng([0, meaning] if meaning is not None else nonsense).normal(size=64)


def score(texts: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame({"reading": [read(text) for text in texts]})


def n_letters(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return make_pairs(CAPTIONS, n_letters, n_per_language=4)


def scores_of(pairs: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
    halves = [score([pair.known for pair in pairs]), score([pair.strange for pair in pairs])]
    known, strange = translation_scores(score, CAPTIONS, pairs, halves)
    return known, strange


def scores_of_captions() -> dict[tuple[str, str], float]:
    """By language and name, each caption against all its translations."""
    rows = [(language, str(name), text) for language in CAPTIONS for name, text in CAPTIONS[language].items()]
    frame = pd.DataFrame(rows, columns=["language", "source_id", "text"]).assign(reading=lambda f: f["text"].map(read))
    readings = Readings.of(frame)
    distances = Readers.fit(readings).judge(readings)[TRANSLATION_SCORE]
    return dict(zip(zip(frame["language"], frame["source_id"], strict=True), distances, strict=True))


def test_the_known_half_of_a_pair_has_the_score_of_its_caption(pairs: list[Pair]) -> None:
    known, _ = scores_of(pairs)
    of_captions = scores_of_captions()
    expected = [of_captions[pair.language, pair.source_id] for pair in pairs]
    assert len(pairs) >= 12 and np.isfinite(known).all()
    np.testing.assert_allclose(known, expected, atol=1e-5)


def test_the_strange_half_is_held_against_the_same_translations(pairs: list[Pair]) -> None:
    """Nonsense has nothing to do with them: its score is that of unrelated vectors, 1 but for chance."""
    known, strange = scores_of(pairs)
    assert known.max() < 0.1 < 0.4 < strange.min()
    assert strange.mean() == pytest.approx(1, abs=0.15)
    as_known = [Pair(**{**vars(pair), "strange": pair.known}) for pair in pairs]
    np.testing.assert_allclose(scores_of(as_known)[1], known)


def test_a_pair_of_no_caption_has_no_score(pairs: list[Pair]) -> None:
    words = Pair(probe="rare words", language="en", cluster="en", known="a table", strange="a trivet", n_tokens=7)
    elsewhere = Pair(**{**vars(pairs[0]), "language": "xx"})
    known, strange = scores_of([pairs[0], words, elsewhere])
    assert np.isnan(known).tolist() == np.isnan(strange).tolist() == [False, True, True]


def test_a_pair_of_a_caption_that_was_not_read_in_every_language_has_no_score(
    pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The captions that are read are those that pairs were made from first."""
    monkeypatch.setattr(translated_module, "CAPTIONS", 6)
    read_texts: list[str] = []

    def watched(texts: Sequence[str]) -> pd.DataFrame:
        read_texts.extend(texts)
        return score(texts)

    many = make_pairs(CAPTIONS, n_letters, n_per_language=12)
    halves = [score([getattr(pair, half) for pair in many]) for half in ("known", "strange")]
    known, _ = translation_scores(watched, CAPTIONS, many, halves)
    assert len(read_texts) == 6 * 3
    was_read = [pair.known in {text.casefold() for text in read_texts} for pair in many]
    assert (~np.isnan(known)).tolist() == was_read
    assert any(was_read) and not all(was_read)
    first = make_pairs(CAPTIONS, n_letters, n_per_language=2)
    assert {pair.known for pair in first} <= {text.casefold() for text in read_texts}
