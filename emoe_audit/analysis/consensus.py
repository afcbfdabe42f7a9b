"""What languages agree on, from the cosines between their readings of the same captions.

All that is needed are cosines `[caption, language, language]`, 1 on the diagonal where a language has the caption, and
0 wherever it has not: the length of a weighted sum of unit readings, and its cosine with each of them, follow.
"""

from __future__ import annotations

import numpy as np

ITERATIONS = 10
FACTOR_ITERATIONS = 100


def cosines_with_others(cosines: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of each language's reading with the weighted consensus of all others, `[caption, language]`.

    NaN where the language has not the caption, or no other that counts has it.
    """
    own = np.einsum("cll->cl", cosines)
    voices = cosines @ weights
    squared = (voices @ weights)[:, None] - 2 * weights * voices + weights**2 * own
    length = np.sqrt(np.clip(squared, 0, None))
    defined = (own > 0) & (length > 1e-6)
    return np.divide(voices - weights * own, length, out=np.full_like(voices, np.nan), where=defined)


def believe(cosines: np.ndarray) -> np.ndarray:
    """The weight of each language, `[language]`, summing to 1; all 0 where no two languages agree.

    A language counts for as much as it agrees with the others: its weight is the square of its mean cosine with their
    weighted consensus, a negative mean counting as 0, iterated from equal weights. Languages that the encoder cannot
    read agree with nobody, so they lose their voice.
    """
    held = np.einsum("cll->l", cosines)
    weights = np.full(len(held), 1 / max(1, len(held)))
    for _ in range(ITERATIONS):
        agreement = np.nansum(cosines_with_others(cosines, weights), axis=0) / np.maximum(held, 1)
        weights = np.clip(agreement, 0, None) ** 2
        weights = weights / max(weights.sum(), 1e-12)
    return weights


def mean_cosines(cosines: np.ndarray) -> np.ndarray:
    """Over the captions that both have, `[language, language]`; 0 on the diagonal, and where they share none."""
    has = np.einsum("cll->cl", cosines) > 0
    shared = has.T.astype(np.float64) @ has
    means: np.ndarray = cosines.sum(axis=0) / np.maximum(shared, 1)
    np.fill_diagonal(means, 0)
    return means


def loadings(means: np.ndarray) -> np.ndarray:
    """How far each language reads what all mean, `[language]`: the one factor whose products fit the mean cosines.

    Least squares off the diagonal (minres; Harman and Jones 1966), a language at a time.
    """
    total = np.sqrt(max(means.sum(), 1e-12))
    rho = np.clip(means.sum(axis=1) / total, 0, 1)
    for _ in range(FACTOR_ITERATIONS):
        others = np.maximum((rho**2).sum() - rho**2, 1e-9)
        rho = (rho + np.clip(means @ rho / others, 0, 1)) / 2
    return rho


def reliability_of_others(means: np.ndarray, weights: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """Cosine of the consensus of all others with what all mean, by the one factor, `[language]`; 0 for none."""
    voices = np.where(np.eye(len(weights), dtype=bool), 0, weights[None])
    squared = np.einsum("lm,mn,ln->l", voices, means, voices) + (voices**2).sum(axis=1)
    length = np.sqrt(np.clip(squared, 0, None))
    found: np.ndarray = np.divide(voices @ rho, length, out=np.zeros_like(length), where=length > 1e-9)
    return np.clip(found, 0, 1)
