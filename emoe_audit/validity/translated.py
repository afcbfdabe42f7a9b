"""The translation score of pairs: both halves against the other languages of the known half's caption."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from emoe_audit.analysis.readings import Readings
from emoe_audit.analysis.translations import TRANSLATION_SCORE, Readers
from emoe_audit.validity.probes import Pair, drawn_order

CAPTIONS = 24
"""Captions that are read in every language, to hold the pairs against; pairs of other captions get no score."""


def translation_scores(
    score: Callable[[Sequence[str]], pd.DataFrame],
    captions: pd.DataFrame,
    pairs: Sequence[Pair],
    halves: Sequence[pd.DataFrame],
) -> list[np.ndarray]:
    """`translation_disagreement` of each half of the pairs, NaN where it is undefined.

    Args:
        score: Scores texts, with their readings.
        captions: What the pairs were made from, a column per language.
        pairs: Known and strange texts.
        halves: The scored halves of the pairs, in their order.
    """
    rows = captions.iloc[drawn_order(len(captions))[:CAPTIONS]]
    long = rows.astype(str).melt(ignore_index=False, var_name="language", value_name="text")
    names = {"language": long["language"].to_list(), "source_id": long.index.astype(str)}
    reference = Readings.of(score(long["text"].str.casefold().to_list()).assign(**names))
    readers = Readers.fit(reference)
    of_pairs = {"language": [pair.language for pair in pairs], "source_id": [pair.source_id for pair in pairs]}
    judged = [readers.judge(Readings.of(half.assign(**of_pairs)), reference) for half in halves]
    return [own[TRANSLATION_SCORE].to_numpy() for own in judged]
