"""All prompts of a run, or those of one group: what refusing them by a score does, and how sure that is.

Every figure is recomputed with whole captions resampled, and, where prompts of several languages are pooled, with
whole languages resampled as well: a score and failures that both differ between languages tell each other by chance
(see `crossed`). The two variances are added, which is too careful where neither captions nor languages matter, and
intervals are those of t with Satterthwaite's degrees of freedom (1946). Shares and areas lie between 0 and 1 and get
theirs on the scale of logits. Groups of the column `language` are these very languages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import t

from emoe_audit.analysis.bootstrap import cluster_counts
from emoe_audit.analysis.crossed import MIN_CLUSTERS
from emoe_audit.analysis.disparity import MIN_SOURCES
from emoe_audit.analysis.rejection import AcceptedOrder, RejectionFigures

MIN_OF_EACH = 10
"""Captions with a failure, and with a success, without which nothing is tested and no interval drawn."""
Figure = Callable[[RejectionFigures], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Scope:
    """All prompts (`by` and `group` empty), or those of one group, and what refusing does to them."""

    by: str
    group: str
    rows: pd.DataFrame
    n_sources: int
    observed: RejectionFigures
    resampled: tuple[RejectionFigures, ...]
    """Replicates of captions, and of languages where prompts of several are pooled."""
    n_clusters: tuple[int, ...]
    """Of each of these."""
    confidence: float

    @property
    def is_shown(self) -> bool:
        """Whether there are captions enough; all prompts are always shown."""
        return not self.by or self.n_sources >= MIN_SOURCES

    @cached_property
    def is_testable(self) -> bool:
        """Whether there are captions and languages enough for intervals."""
        captions = self.rows.groupby("loss")["source_id"].nunique().reindex([0, 1], fill_value=0)
        return self.is_shown and captions.min() >= MIN_OF_EACH and min(self.n_clusters) >= MIN_CLUSTERS

    def error(self, replicates: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Standard error and degrees of freedom of a figure, from its replicates of each way, `[replicate, ...]`.

        NaN where nothing is tested, or shows no spread.
        """
        if not self.is_testable:
            undefined = np.full(replicates[0].shape[1:], np.nan)
            return undefined, undefined
        ways = list(zip(replicates, self.n_clusters, strict=True))
        parts = np.array([np.nanvar(own, axis=0) * n / (n - 1) for own, n in ways])
        total, squares = parts.sum(axis=0), sum(part**2 / (n - 1) for part, (_, n) in zip(parts, ways, strict=True))
        freedom = np.divide(total**2, squares, out=np.full(total.shape, np.nan), where=total > 0)
        return np.sqrt(np.where(total > 0, total, np.nan)), freedom

    def interval(self, figure: Figure) -> tuple[np.ndarray, np.ndarray]:
        """Of a figure between 0 and 1; NaN where there is no error, and at 0 and 1."""
        value, (error, freedom) = figure(self.observed)[0], self.error([figure(own) for own in self.resampled])
        inside = np.where((value > 0) & (value < 1), value, np.nan)
        half = t.isf((1 - self.confidence) / 2, freedom) * error / (inside * (1 - inside))
        return expit(logit(inside) - half), expit(logit(inside) + half)


def scopes(rows: pd.DataFrame, by: Sequence[str], *, n_boot: int, confidence: float, seed: int) -> Iterator[Scope]:
    """All prompts, then the groups of every column; every scope sees the same captions and languages drawn.

    Args:
        rows: Of `refusal.judged`.
        by: Group columns.
        n_boot: Replicates, of each way.
        confidence: Of intervals.
        seed: Of the resampling.
    """
    ways = [rows["source_id"].to_numpy()]
    if "language" in rows:
        ways.append(pd.factorize(rows["language"], sort=True, use_na_sentinel=False)[0])
    drawn = [_draws(int(codes.max()) + 1, n_boot, [seed, place]) for place, codes in enumerate(ways)]
    parts = [(column, str(group), part) for column in by for group, part in rows.groupby(column)]
    for column, group, part in [("", "", rows), *parts]:
        own = [codes[part.index] for codes in ways]
        used = [place for place, codes in enumerate(own) if not place or (column != "language" and np.ptp(codes) > 0)]
        score, loss = part["score"].to_numpy(), part["loss"].to_numpy()
        orders = [AcceptedOrder.of(score, loss, own[place]) for place in used]
        yield Scope(
            by=column,
            group=group,
            rows=part,
            n_sources=part["source_id"].nunique(),
            observed=orders[0].observed(),
            resampled=tuple(order.resampled(drawn[place]) for order, place in zip(orders, used, strict=True)),
            n_clusters=tuple(len(np.unique(own[place])) for place in used),
            confidence=confidence,
        )


def _draws(n_clusters: int, n_boot: int, seed: Sequence[int]) -> np.ndarray:
    """How often each cluster is drawn, `[replicate, cluster]`; up to 255 times, as `AcceptedOrder` counts."""
    return np.concatenate([counts.astype(np.uint8) for counts in cluster_counts(n_clusters, n_boot, seed)])
