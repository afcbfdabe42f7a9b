"""What was measured of some prompts under the first noises, so that a run grows by noises without repeating them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Begun:
    """Of some prompts, under as many noises each."""

    noises: Mapping[str, np.ndarray]
    """What each measure gave, by name, `[prompt, noise]`."""
    features: np.ndarray
    """Sketches of the features, averaged over experts and noises, `[prompt, bucket]`."""

    @property
    def n_noise(self) -> int:
        """How many noises these are."""
        return next((values.shape[1] for values in self.noises.values()), 0)

    def take(self, rows: Sequence[int]) -> Begun:
        """Some of the prompts, by position."""
        kept = list(rows)
        return Begun(noises={name: values[kept] for name, values in self.noises.items()}, features=self.features[kept])

    def with_values(self, names: Sequence[str], further: np.ndarray) -> np.ndarray:
        """All noises together, `[measure, noise, prompt]`, from what the further ones gave in that form."""
        return np.concatenate([np.stack([self.noises[name].T for name in names]), further], axis=1)

    def with_features(self, further: np.ndarray, n_further: int) -> np.ndarray:
        """The mean over all noises, `[prompt, bucket]`, from that over the further ones."""
        if not n_further:
            return self.features
        n = self.n_noise
        return (n * self.features + n_further * further) / np.float32(n + n_further)
