"""How a judge errs, from labelled images, and the true shares that explain what it saw: EM, resampled by caption.

See `prevalence` for the model and its sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emoe_audit.analysis.bootstrap import cluster_counts
from emoe_audit.errors import AuditError

MIN_SEPARATION = 0.1
"""Rates that are closer than this cannot be told apart; with two classes, true minus false positives."""
PRIOR = 0.5
"""Labelled images, spread evenly over what may be seen, that are added to each class: no rate is surely 0."""
CYCLES, TOLERANCE = 100, 1e-7
"""At most so many steps of EM; it stops when no share can add more than this to the log likelihood of an image."""
SMALLEST = 1e-12
"""The share below which EM lets none fall."""


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How a judge errs."""

    classes: tuple[str, ...]
    n_labelled: np.ndarray
    """Labelled images that count, `[class]`."""
    rates: np.ndarray
    """How often an image of a class is seen as each, `[class, seen]`; rows sum to 1."""
    replicates: np.ndarray
    """The same from resampled labelled images, `[replicate, class, seen]`; NaN where one holds none of a class."""

    @classmethod
    def of(cls, labelled: pd.DataFrame, classes: Sequence[str], *, n_boot: int, seed: int) -> Confusion:
        """From labelled images, see `prevalence`."""
        counts = tally(labelled, "class", pd.Index(list(classes)), classes)
        return cls(
            classes=tuple(classes),
            n_labelled=counts.sum(axis=(0, 2)),
            rates=_rates(counts.sum(axis=0)),
            replicates=_rates(resampled(counts, n_boot, seed)),
        )

    def fault(self) -> str | None:
        """Why nothing can be corrected by it, or None."""
        missing = [name for name, n in zip(self.classes, self.n_labelled, strict=True) if n == 0]
        if missing:
            return f"no labelled image of {', '.join(missing)}"
        if self.separation() >= MIN_SEPARATION:
            return None
        distances = np.abs(self.rates[:, None] - self.rates).sum(axis=2) / 2
        np.fill_diagonal(distances, np.inf)
        first, second = sorted(divmod(int(distances.argmin()), len(self.classes)))
        return f"judge cannot tell these apart: {self.classes[first]}, {self.classes[second]}"

    def separation(self) -> float:
        """The least change of what is seen for a change of shares by 1, in Euclidean length: 1 for a perfect judge.

        It is the smallest singular value of the rates on changes that sum to 0, and of its replicates the 5% quantile,
        so that a judge who guesses does not pass by luck of few labelled images.
        """
        whole = self.replicates[~np.isnan(self.replicates).any(axis=(1, 2))]
        if not len(whole):
            return 0.0
        values = np.linalg.svd(whole - whole.mean(axis=1, keepdims=True), compute_uv=False)
        return float(np.quantile(values[:, len(self.classes) - 2], 0.05))


def mixing_shares(seen: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """The shares that make the counts likeliest, `[..., class]`; NaN where nothing is seen or a rate is NaN.

    EM multiplies each share by what its class adds to the likelihood; its steps are lengthened as in SQUAREM (Varadhan
    and Roland 2008), and a long step that is not better is not taken.

    Args:
        seen: Counts, `[..., seen]`.
        rates: How often each class is seen as each, above 0, `[..., class, seen]`; the leading axes are broadcast.
    """
    with np.errstate(all="ignore"):
        frequency, across = seen / seen.sum(axis=-1, keepdims=True), np.swapaxes(rates, -1, -2)

        def gain(shares: np.ndarray) -> np.ndarray:
            return np.matmul(frequency / (shares @ rates), across)

        def step(shares: np.ndarray) -> np.ndarray:
            return normalised(np.maximum(shares * gain(shares), SMALLEST))

        def likelihood(shares: np.ndarray) -> np.ndarray:
            found: np.ndarray = (frequency * np.log(shares @ rates)).sum(axis=-1, keepdims=True)
            return found

        shares = np.ones(rates.shape[-2]) / rates.shape[-2] + 0 * frequency[..., :1]
        for _ in range(CYCLES):
            once = step(shares)
            twice = step(once)
            ahead, bend = once - shares, twice - 2 * once + shares
            length = np.linalg.norm(ahead, axis=-1, keepdims=True) / np.linalg.norm(bend, axis=-1, keepdims=True)
            far = normalised(np.maximum(shares + 2 * length * ahead + length**2 * bend, SMALLEST))
            shares = np.where(likelihood(far) > likelihood(twice), step(far), twice)
            if not (gain(shares).max(axis=-1) > 1 + TOLERANCE).any():
                break
        return shares


def resampled(counts: np.ndarray, n_boot: int, seed: int) -> np.ndarray:
    """Counts of resampled sources, `[replicate, row, seen]`."""
    if not len(counts):
        return np.zeros((n_boot, *counts.shape[1:]))
    flat = counts.reshape(len(counts), -1)
    drawn = np.concatenate([times @ flat for times in cluster_counts(len(counts), n_boot, seed)])
    return drawn.reshape(n_boot, *counts.shape[1:])


def _rates(counts: np.ndarray) -> np.ndarray:
    rates = normalised(counts + PRIOR / counts.shape[-1])
    return np.where(counts.sum(axis=-1, keepdims=True) > 0, rates, np.nan)


def normalised(values: np.ndarray) -> np.ndarray:
    """Shares that sum to 1 along the last axis; NaN for nothing."""
    with np.errstate(invalid="ignore"):
        shares: np.ndarray = values / values.sum(axis=-1, keepdims=True)
    return shares


def tally(frame: pd.DataFrame, column: str, rows: pd.Index, classes: Sequence[str]) -> np.ndarray:
    """How many images of each source and row are seen as each class, `[source, row, seen]`; null is not counted."""
    for name, known in ((column, rows), ("seen", pd.Index(list(classes)))):
        unknown = frame.loc[frame[name].notna() & ~frame[name].isin(known), name]
        if len(unknown):
            raise AuditError(f"column {name}: {unknown.iloc[0]!r} is not one of {', '.join(map(str, known))}")
    kept = frame.dropna(subset=[column, "seen"])
    sources, names = pd.factorize(kept["source_id"])
    counts = np.zeros((len(names), len(rows), len(classes)))
    places = rows.get_indexer(kept[column]), pd.Index(list(classes)).get_indexer(kept["seen"])
    np.add.at(counts, (sources, *places), 1)
    return counts
