"""Refusing what a score says is uncertain: how well it tells apart, and what risk is left as more is accepted."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy.stats import rankdata

COVERAGES = np.arange(1, 21) / 20
"""Shares of rows accepted at which a resampled curve is read."""
CELLS = 4_000_000
"""Bound on replicates x rows held at once."""


def auroc(high: np.ndarray, low: np.ndarray) -> float:
    """How often a value of `high` lies above one of `low`, ties counting half; NaN where either is empty.

    The Mann-Whitney U statistic over its maximum (Hanley and McNeil 1982).
    """
    if not len(high) or not len(low):
        return float("nan")
    ranks = rankdata(np.concatenate([high, low]))[: len(high)]
    return float((ranks.sum() - len(high) * (len(high) + 1) / 2) / (len(high) * len(low)))


def risk_coverage(score: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Mean loss of the accepted as the k lowest scores are accepted, for k = 1 to n.

    (El-Yaniv and Wiener 2010.) Equal scores are accepted in random order: what is given is the expected curve.
    """
    curve: np.ndarray = np.cumsum(by_rising_score(score, loss)) / np.arange(1, len(loss) + 1)
    return curve


def by_rising_score(score: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values in the order of their scores; equal scores share their mean, so their order does not matter."""
    levels, place = np.unique(score, return_inverse=True)
    mean = np.bincount(place, weights=values, minlength=len(levels)) / np.bincount(place, minlength=len(levels))
    ordered: np.ndarray = mean[np.sort(place)]
    return ordered


def area_under_risk_coverage(score: np.ndarray, loss: np.ndarray) -> float:
    """Mean of the risk-coverage curve over all coverages (AURC; Geifman, Uziel and El-Yaniv 2019); NaN if empty.

    Minus that of the best order, `area_under_risk_coverage(loss, loss)`, it is their E-AURC, what the score costs.
    """
    return float(risk_coverage(score, loss).mean()) if len(score) else float("nan")


def prediction_rejection_ratio(score: np.ndarray, loss: np.ndarray) -> float:
    """How far a score gets from refusing at random, 0, to refusing the largest losses first, 1; below 0 if worse.

    (PRR; Malinin and Gales 2021.) What is refused is handed to somebody who makes no mistake, so that the loss left
    over all n rows is the sum of the accepted losses over n; the ratio is that of the areas between this curve and the
    straight line of refusing at random, of the score over the best order. Summed by parts, with mean ranks for ties:

        PRR = sum_i loss_i (rank(score_i) - (n + 1) / 2) / sum_i loss_i (rank(loss_i) - (n + 1) / 2)

    Where losses are 0 or 1 it is 2 AUROC - 1, and says nothing that the AUROC does not. NaN where all losses are equal.
    """
    middle = (len(loss) + 1) / 2
    best = float(loss @ (rankdata(loss) - middle))
    return float(loss @ (rankdata(score) - middle)) / best if best else float("nan")


@dataclass(frozen=True, kw_only=True)
class RejectionFigures:
    """What refusing by a score does to losses of 0 or 1, in every replicate; NaN where one holds no row."""

    risk: np.ndarray
    """Mean loss of all rows, `[replicate]`."""
    aurc: np.ndarray
    """As `area_under_risk_coverage`, `[replicate]`."""
    won: np.ndarray
    """Of the pairs of a loss and a row without, those in which the loss scores higher, ties half, `[replicate]`."""
    pairs: np.ndarray
    """Of these pairs how many there are, `[replicate]`."""
    curve: np.ndarray
    """Mean loss of the accepted at `COVERAGES`, losses between whole rows linear, `[replicate, coverage]`."""

    @property
    def auroc(self) -> np.ndarray:
        """`[replicate]`; NaN where there is no pair."""
        return np.divide(self.won, self.pairs, out=np.full(len(self.pairs), np.nan), where=self.pairs > 0)


@dataclass(frozen=True, kw_only=True)
class AcceptedOrder:
    """Rows in the order in which they are accepted. It is found once: a replicate only counts rows differently."""

    loss: np.ndarray
    """0 or 1, `[row]`."""
    clusters: np.ndarray
    """The place of each row's cluster among those that are drawn, `[row]`."""
    starts: np.ndarray
    """The first row of every score, equal ones together, `[level]`."""

    @classmethod
    def of(cls, score: np.ndarray, loss: np.ndarray, clusters: np.ndarray) -> AcceptedOrder:
        """From rows in any order, at least one, without NaN."""
        order = np.argsort(score, kind="stable")
        rising = score[order]
        starts = np.flatnonzero(np.append(True, rising[1:] > rising[:-1]))
        return cls(loss=loss[order].astype(np.uint8), clusters=clusters[order], starts=starts)

    def observed(self) -> RejectionFigures:
        """The figures of the rows as they are, as the only replicate."""
        return self.resampled(np.ones((1, self.clusters.max() + 1), dtype=np.uint8))

    def resampled(self, counts: np.ndarray) -> RejectionFigures:
        """The figures where each cluster counts as often as it was drawn, `[replicate, cluster]` of uint8."""
        size = max(1, CELLS // len(self.loss))
        parts = [self._figures(counts[start : start + size]) for start in range(0, len(counts), size)]
        names = [field.name for field in fields(RejectionFigures)]
        return RejectionFigures(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def _figures(self, counts: np.ndarray) -> RejectionFigures:
        drawn = counts[:, self.clusters]
        rows = np.add.reduceat(drawn, self.starts, axis=1, dtype=np.float64)
        lost = np.add.reduceat(drawn * self.loss, self.starts, axis=1, dtype=np.float64)
        all_rows, all_lost = np.cumsum(rows, axis=1), np.cumsum(lost, axis=1)
        n, n_lost = all_rows[:, -1], all_lost[:, -1]
        with np.errstate(invalid="ignore", divide="ignore"):
            return RejectionFigures(
                risk=n_lost / n,
                aurc=_summed_risk(rows, lost, all_rows, all_lost) / n,
                won=(lost * (all_rows - rows - all_lost + lost + (rows - lost) / 2)).sum(axis=1),
                pairs=n_lost * (n - n_lost),
                curve=_risk_at_coverages(rows, lost, all_rows, all_lost),
            )


def _summed_risk(rows: np.ndarray, lost: np.ndarray, all_rows: np.ndarray, all_lost: np.ndarray) -> np.ndarray:
    """The risk-coverage curve summed over its rows, `[replicate]`, from rows and losses at, and up to, each level.

    In a level of mean loss m that comes after a rows with s losses, `risk(k) = (s + (k - a) m) / k`. The sum over its r
    rows is `r m + (s - a m) (H(a + r) - H(a))`, H being harmonic numbers.
    """
    harmonic = np.append(0, np.cumsum(1 / np.arange(1, all_rows[:, -1].max(initial=0) + 1)))
    spans = np.diff(harmonic[all_rows.astype(np.intp)], axis=1, prepend=0)
    mean = np.divide(lost, rows, out=np.zeros_like(rows), where=rows > 0)
    summed: np.ndarray = (lost + (all_lost - lost - (all_rows - rows) * mean) * spans).sum(axis=1)
    return summed


def _risk_at_coverages(rows: np.ndarray, lost: np.ndarray, all_rows: np.ndarray, all_lost: np.ndarray) -> np.ndarray:
    """Risk at `COVERAGES`, `[replicate, coverage]`, from rows and losses at, and up to, each level.

    The level that reaches a coverage is looked up for all replicates at once: each is moved past the one before it.
    """
    accepted = COVERAGES * all_rows[:, -1:]
    replicate = np.arange(len(rows))[:, None]
    offsets = replicate * (all_rows[:, -1].max(initial=0) + 1)
    reached = np.searchsorted((all_rows + offsets).ravel(), accepted + offsets) - replicate * rows.shape[1]
    at = (replicate, reached)
    risk: np.ndarray = (all_lost[at] - (all_rows[at] - accepted) * lost[at] / rows[at]) / accepted
    return risk
