"""Readings of languages whose skill is known: how far each reads what a caption means is its loading."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from emoe_audit.analysis.readings import Readings

WIDTH = 256
GOOD, POOR = 0.9, 0.1


class World:
    """Languages with loadings and accents, which read as many captions as are asked for.

    A reading is the language's accent, plus `loading` times the meaning, plus noise of its own so that what is read of
    a caption has the same length in every language. Cosines between two languages are the product of their loadings.
    """

    def __init__(self, loadings: Mapping[str, float], seed: int = 0) -> None:
        self.loadings = dict(loadings)
        self.rng = np.random.default_rng(seed)
        self.accents = {name: 3 * self.vector() for name in self.loadings}

    def vector(self) -> np.ndarray:
        """Of about length 1."""
        return self.rng.normal(size=WIDTH) / np.sqrt(WIDTH)

    def readings(self, n_captions: int, prefix: str = "c", template: float = 0.0) -> Readings:
        """Every caption in every language; a share `template` of what is read is the same for all of these captions."""
        common = self.vector()
        rows, languages, sources = [], [], []
        for caption in range(n_captions):
            meaning = np.sqrt(1 - template) * self.vector()
            for name, loading in self.loadings.items():
                own = loading * meaning + np.sqrt((1 - template) * (1 - loading**2)) * self.vector()
                rows.append(self.accents[name] + np.sqrt(template) * common + own)
                languages.append(name)
                sources.append(f"{prefix}{caption}")
        return Readings(vectors=np.array(rows, dtype=np.float32), languages=languages, sources=sources)


def joined(*parts: Readings) -> Readings:
    """The prompts of several readings."""
    return Readings(
        vectors=np.concatenate([part.vectors for part in parts]),
        languages=[name for part in parts for name in part.languages],
        sources=[name for part in parts for name in part.sources],
    )


def among(readings: Readings, *languages: str) -> Readings:
    """The prompts in these languages."""
    return readings.take(np.flatnonzero(np.isin(readings.languages, languages)))


def by_language(readings: Readings, values: np.ndarray) -> dict[str, float]:
    """Means over the prompts of each language."""
    own = np.array(readings.languages)
    return {name: float(values[own == name].mean()) for name in dict.fromkeys(readings.languages)}


def many(n_good: int, n_poor: int) -> dict[str, float]:
    """`g...` read well, `p...` hardly."""
    return {f"g{i}": GOOD for i in range(n_good)} | {f"p{i}": POOR for i in range(n_poor)}
