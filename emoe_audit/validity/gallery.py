"""How far texts are read from captions in other languages: what the translation score rests on, in the check.

A caption in other languages is the consensus of how the text encoder reads it there. Words that languages share bring
their texts together in any encoder, a random one too. So a language has no voice in what a text is held against where
its caption shares a token with the text: what agreement is left comes from meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from emoe_audit.analysis.calibration import Calibration, mean_units
from emoe_audit.analysis.readings import Readings, unit

Tokens = Sequence[Sequence[int]]
"""The ids of each text."""
SHORTEST = 1e-6
"""Length of a consensus from which it has a direction."""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Captions that a text encoder has read in every language."""

    calibration: Calibration
    captions: pd.Index
    """Their names."""
    units: np.ndarray
    """`[caption, language, bucket]`, each at length 1, the languages in the order of the calibration."""
    tokens: csr_array
    """Which tokens each has, `[caption x language, token]`."""

    @classmethod
    def of(cls, calibration: Calibration, readings: Readings, tokens: Tokens, n_tokens: int) -> Gallery:
        """From captions in languages that the calibration knows; `n_tokens` is the size of the vocabulary."""
        names = pd.Index(calibration.languages, dtype=object)
        cells = mean_units(readings, names, calibration.means)
        of_captions, of_languages = cells.sources.get_indexer(readings.sources), names.get_indexer(readings.languages)
        held = _incidence(tokens, n_tokens, of_captions * len(names) + of_languages, cells.filled.size)
        return cls(calibration=calibration, captions=cells.sources, units=cells.units, tokens=held)

    def distances(self, vectors: np.ndarray, languages: Sequence[str], tokens: Tokens) -> np.ndarray:
        """1 minus the cosine of each text to each caption in other languages, `[text, caption]`.

        NaN where no language has a voice: none is read, or all share a token with the text.

        Args:
            vectors: Readings `[text, bucket]`.
            languages: Of the texts; all known to the calibration.
            tokens: Of the texts.
        """
        n_captions, n_languages, _ = self.units.shape
        places = pd.Index(self.calibration.languages).get_indexer(languages)
        own = unit(vectors - self.calibration.means[places])
        held = _incidence(tokens, self.tokens.shape[1], np.arange(len(tokens)), len(tokens))
        shared = (held @ self.tokens.T).toarray() > 0
        voices = np.where(shared.reshape(len(own), n_captions, n_languages), 0, self.calibration.weights)
        voices[np.arange(len(own)), :, places] = 0
        found = np.empty((len(own), n_captions))
        for row, voice in enumerate(voices):
            consensus = np.einsum("cl,cld->cd", voice, self.units, optimize=True)
            length = np.linalg.norm(consensus, axis=1)
            cosine = np.divide(consensus @ own[row], length, out=np.full(n_captions, np.nan), where=length > SHORTEST)
            found[row] = 1 - cosine
        return found


def nearest(distances: np.ndarray) -> np.ndarray:
    """Of each text, the distance to the caption that it is nearest to, `[text]`; NaN where there is none."""
    filled = np.where(np.isnan(distances), np.inf, distances).min(axis=1)
    return np.where(np.isinf(filled), np.nan, filled)


def _incidence(tokens: Tokens, n_tokens: int, rows: np.ndarray, n_rows: int) -> csr_array:
    """How often each text has each token, `[row, token]`, the texts at some rows."""
    of_tokens = np.repeat(rows, [len(own) for own in tokens])
    columns = np.concatenate([np.asarray(own, dtype=np.int64) for own in (*tokens, ())])
    return csr_array((np.ones(len(columns), dtype=np.int32), (of_tokens, columns)), shape=(n_rows, n_tokens))
