"""Simulated predictions for languages never seen, whose truth is known: languages with effects of their own.

A prompt has a predicted risk and a true one. In log odds the true risk is that which the prediction stands for, plus
what its language does to all its captions, plus what its caption does in all languages; neither is seen by the
prediction. So one language is worse than predicted as a whole, another better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

Draw = Callable[[np.random.Generator, int, int], tuple[np.ndarray, np.ndarray]]
"""Languages and captions to predicted risks and what they stand for, both `[language, caption]`."""
LEAST_RISK = 1e-6


def calibrated(rng: np.random.Generator, n_languages: int, n_captions: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions that are right on average, most of them sure."""
    risk = rng.beta(0.5, 0.5, (n_languages, n_captions))
    return risk, risk


def starved(rng: np.random.Generator, n_languages: int, n_captions: int) -> tuple[np.ndarray, np.ndarray]:
    """The same, and three languages in ten of which next to nothing is readable, as predicted."""
    unreadable = rng.random((n_languages, 1)) < 0.3
    size = n_languages, n_captions
    risk: np.ndarray = np.where(unreadable, rng.beta(5, 0.7, size), rng.beta(0.5, 0.8, size))
    return risk, risk


def overconfident(rng: np.random.Generator, n_languages: int, n_captions: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions whose log odds are twice what they should be."""
    risk, _ = calibrated(rng, n_languages, n_captions)
    return risk, expit(_log_odds(risk) / 2)


def blind(rng: np.random.Generator, n_languages: int, n_captions: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions that mean nothing in one language of five, where a third of all is misread."""
    risk, _ = calibrated(rng, n_languages, n_captions)
    return risk, np.where(rng.random((n_languages, 1)) < 0.2, 1 / 3, risk)


def unrelated(rng: np.random.Generator, n_languages: int, n_captions: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions that mean nothing anywhere; a quarter of all is misread."""
    risk = rng.random((n_languages, n_captions))
    return risk, np.full_like(risk, 0.25)


PREDICTIONS: dict[str, Draw] = {own.__name__: own for own in (calibrated, starved, overconfident, blind, unrelated)}


@dataclass(frozen=True, kw_only=True)
class World:
    """Where languages come from."""

    predictions: str
    """One of `PREDICTIONS`."""
    language_effect: float
    """Standard deviation, in log odds."""
    caption_effect: float

    def drawn(self, rng: np.random.Generator, n_languages: int, n_captions: int) -> tuple[np.ndarray, np.ndarray]:
        """Predicted risks and whether misread, `[language, caption]`."""
        predicted, truth = self.truth(rng, n_languages, n_captions)
        return predicted, (rng.random(truth.shape) < truth).astype(np.float64)

    def truth(self, rng: np.random.Generator, n_languages: int, n_captions: int) -> tuple[np.ndarray, np.ndarray]:
        """Predicted and true risks, `[language, caption]`."""
        predicted, meant = PREDICTIONS[self.predictions](rng, n_languages, n_captions)
        language = self.language_effect * rng.normal(size=(n_languages, 1))
        caption = self.caption_effect * rng.normal(size=n_captions)
        return predicted, expit(_log_odds(meant) + language + caption)


def share_broken(predicted: np.ndarray, lost: np.ndarray, threshold: float, target: float, least: float = 0.0) -> float:
    """Of the languages those in which more of the accepted is lost than the target.

    Args:
        predicted: `[language, caption]`.
        lost: Whether misread, or the probability of it, `[language, caption]`.
        threshold: Predicted risks up to it are accepted.
        target: Share of the accepted that may be lost.
        least: A language that accepts less than this share of its captions is not counted as broken.
    """
    accepted = predicted <= threshold
    excess = (accepted * (lost - target)).sum(axis=1)
    return float(((excess > 1e-9) & (accepted.mean(axis=1) >= least)).mean())


def _log_odds(risk: np.ndarray) -> np.ndarray:
    odds: np.ndarray = logit(np.clip(risk, LEAST_RISK, 1 - LEAST_RISK))
    return odds
