"""What the probes say of the score for prompts in one language, in the language of whose captions most is made.

Where nearly all that a model was trained on is in one language, probes in forty say little. So this score is asked in
one alone, and what holds there is said of that language only. It is learned from one half of the captions and asked of
the other: the captions that a mean is made of lie nearer to it than any others.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from emoe_audit.analysis.familiarity import Familiarity
from emoe_audit.validity.evidence import MIN_PAIRS, ProbeResult, halves, weigh
from emoe_audit.validity.probes import make_pairs
from emoe_audit.validity.reader import TextReader


def check_alone(reader: TextReader, familiarity: Familiarity, captions: pd.DataFrame) -> tuple[ProbeResult, ...]:
    """One result a probe; none where no language is known.

    Args:
        reader: The text encoder.
        familiarity: What is known of its languages.
        captions: A column per language.
    """
    language = familiarity.best
    if language is None or language not in captions:
        return ()
    own = captions[[language]].astype(str).map(str.casefold).drop_duplicates()
    words = {language: {word for text in own[language] for word in text.split()}}
    learned, asked = own.iloc[::2], own.iloc[1::2]
    pairs = make_pairs(asked, words, reader.count, n_per_language=len(asked))
    if not pairs:
        return ()
    known = Familiarity.fit(reader.states(learned[language].to_list()), [language] * len(learned))
    scores = (
        known.judge(reader.states([pair.texts[half] for pair in pairs]), [language] * len(pairs)) for half in range(3)
    )
    found = weigh(halves(pairs, *scores), resampled="caption", least=MIN_PAIRS)
    return tuple(replace(probe, language=language) for probe in found)
