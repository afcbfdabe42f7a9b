"""Refusing with a guarantee: a threshold on a score below which the risk is at most what was asked for.

Learn then Test (Angelopoulos, Bates, Candès, Jordan and Lei 2021, arXiv 2110.01052): for every threshold of a grid the
hypothesis "the risk of what it accepts is above the target" is tested, and the largest threshold that is rejected is
taken, with all errors together below `delta`. The risk is the selective one, the expected losses of accepted rows over
the expected number of accepted rows.

The translations of one caption are not independent, captions are. So a caption, not a row, is one draw: with `m`
accepted rows of which `l` are losses it gives `l - target * m`, whose mean is above 0 if and only if the risk is above
the target.

A grid made of the same data would not be fixed before the test. Here a tenth of the captions, drawn at random, makes
the grid and says where to start, and the tests bet on the other captions only.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from emoe_audit.errors import AuditError

PILOT_SHARE = 0.1
"""Share of the clusters that make the grid and are not bet on."""
MAX_STAKE = 0.9
"""Share of the capital that the worst possible cluster may take."""
COLUMNS = ["by", "group", "threshold", "accepted_share", "empirical_risk", "n_clusters", "n_groups"]


@dataclass(frozen=True, kw_only=True)
class RiskControl:
    """A threshold and what it does to the rows it was learned from."""

    threshold: float
    """Rows with a score up to it are accepted; NaN where no threshold can be certified."""
    accepted_share: float
    """Of the rows; 0 where no threshold can be certified, NaN where there are no rows."""
    empirical_risk: float
    """Mean loss of the accepted rows; NaN where none is accepted."""
    n_clusters: int
    """Independent draws that the guarantee rests on."""


def controlled_threshold(
    score: pd.Series,
    loss: pd.Series,
    clusters: pd.Series,
    *,
    target: float,
    delta: float = 0.1,
    n_grid: int = 100,
    seed: int = 0,
) -> RiskControl:
    """The largest threshold that is certified to keep the risk at `target` or below.

    With probability at least `1 - delta` over the draw of clusters, the risk on new clusters from the same source is
    at most `target`; it says nothing of clusters of another kind, nor of one language among those mixed here, and of a
    language that is not among them least of all: see `new_groups`. The largest cluster counts as the largest there can
    be: that is exact where the design fixes the size.

    Args:
        score: High is unsure.
        loss: 0 or 1. Rows that lack one of the three are left out.
        clusters: Rows of one cluster may depend on each other in any way.
        target: Risk allowed, between 0 and 1.
        delta: Probability of a threshold that breaks the promise, between 0 and 1.
        n_grid: Thresholds tried at the most.
        seed: Of the order of the clusters. To try several and take the best breaks the promise.

    Raises:
        AuditError: `target` or `delta` is not between 0 and 1, or a loss is neither 0 nor 1.
    """
    check_share("target", target)
    check_share("delta", delta)
    frame = {
        "score": np.asarray(score, np.float64),
        "loss": np.asarray(loss, np.float64),
        "cluster": np.asarray(clusters),
    }
    rows = pd.DataFrame(frame).dropna()
    check_loss(rows["loss"])
    codes, names = pd.factorize(rows["cluster"], sort=True)
    place = np.random.default_rng(seed).permutation(len(names))[codes]
    threshold = _certified(
        rows["score"].to_numpy(), rows["loss"].to_numpy(), place, target=target, delta=delta, n_grid=n_grid
    )
    accepted = rows["score"] <= threshold
    return RiskControl(
        threshold=threshold,
        accepted_share=float(accepted.mean()),
        empirical_risk=float(rows["loss"][accepted].mean()),
        n_clusters=len(names),
    )


def controlled_by_group(
    rows: pd.DataFrame,
    by: str,
    *,
    target: float,
    delta: float = 0.1,
    family_wise: bool = True,
    n_grid: int = 100,
    seed: int = 0,
) -> pd.DataFrame:
    """A threshold for every group, one row each, see `COLUMNS`; `rows` has `score`, `loss`, `source_id` and `by`.

    With `family_wise` the probability that any of the thresholds breaks its promise is at most `delta`, which each
    group gets an equal part of (Bonferroni); without, it is `delta` for each. Groups without a usable row have no row.
    """
    check_share("delta", delta)
    usable = rows[["score", "loss", "source_id", by]].dropna()
    groups = usable.groupby(usable[by].astype(str))
    part = delta / max(len(groups), 1) if family_wise else delta
    table = [
        {"by": by, "group": name, "n_groups": len(groups)}
        | asdict(
            controlled_threshold(
                group["score"], group["loss"], group["source_id"], target=target, delta=part, n_grid=n_grid, seed=seed
            )
        )
        for name, group in groups
    ]
    return pd.DataFrame(table, columns=COLUMNS)


def hindsight_threshold(score: pd.Series, loss: pd.Series, target: float) -> float:
    """The largest score up to which the mean loss of these very rows is at most `target`; NaN where there is none.

    It promises nothing for other rows, and is what the price of a promise is measured against. Rows without score or
    loss are left out; raises like `controlled_threshold`.
    """
    check_share("target", target)
    rows = pd.DataFrame({"score": np.asarray(score, np.float64), "loss": np.asarray(loss, np.float64)}).dropna()
    check_loss(rows["loss"])
    levels = rows.groupby("score")["loss"].agg(["sum", "size"]).cumsum()
    kept = levels.index[levels["sum"] / levels["size"] <= target]
    return float(kept[-1]) if len(kept) else float("nan")


def betting_p(values: np.ndarray, null: float, *, n_past: int = 0, level: float = 0.1) -> np.ndarray:
    """p-values of "the mean is at least `null`" for independent values in [0, 1], valid for any number of them.

    A gambler stakes on each value being below `null`; if the mean is not, his capital K is a supermartingale from 1 on,
    and 1 / max K is a p-value (Ville's inequality):

        K_t = prod_(i <= t) (1 + s_i * (null - z_i)),  s_i = min(sqrt(2 * log(1 / level) / (n * v_(i-1))), bound)
        v_i = (1/4 + sum_(j <= i) (z_j - m_j)^2) / (i + 1),  m_i = (null + sum_(j <= i) z_j) / (i + 1)

    with n the number of stakes and `bound = MAX_STAKE / (1 - null)`: the predictable plug-in of Waudby-Smith and Ramdas
    2023 (arXiv 2010.15110), as in Bates et al. 2021 (arXiv 2101.02703).

    Args:
        values: `[draw, hypothesis]`, in an order that does not depend on them.
        null: Between 0 and 1.
        n_past: First draws that only inform the variance v and are not staked on.
        level: At which stakes are the best; the p-values are valid at every level.

    Returns:
        `[hypothesis]`, at most 1.
    """
    n = len(values)
    count = np.arange(2, n + 2)[:, None]
    means = (null + np.cumsum(values, axis=0)) / count
    variances = (0.25 + np.cumsum((values - means) ** 2, axis=0)) / count
    before = np.vstack([np.full((1, values.shape[1]), 0.25), variances])[n_past:n]
    stakes = np.minimum(np.sqrt(2 * math.log(1 / level) / (max(n - n_past, 1) * before)), MAX_STAKE / (1 - null))
    log_capital = np.cumsum(np.log1p(stakes * (null - values[n_past:])), axis=0)
    return np.exp(-log_capital.max(axis=0, initial=0))


def last_rejected(p: np.ndarray, starts: np.ndarray, delta: float) -> int | None:
    """Place of the last hypothesis rejected by fixed-sequence testing with several starts; None where there is none.

    `delta` is shared out among the starts. Each share goes along the sequence as long as hypotheses are rejected, is
    added to that of a start it reaches, and is lost at the first hypothesis that is not rejected: the fallback
    procedure (Wiens 2003). Until an error is made no share has passed a true hypothesis, so each is spent on one at the
    most, and the probability of any error is at most `delta` however the p-values depend on each other.
    """
    last, level = None, 0.0
    for place in range(len(p)):
        level += delta / len(starts) if place in starts else 0.0
        if p[place] <= level:
            last = place
        else:
            level = 0.0
    return last


def _certified(
    score: np.ndarray, loss: np.ndarray, place: np.ndarray, *, target: float, delta: float, n_grid: int
) -> float:
    """The largest certified threshold or NaN; `place` is that of a row's cluster in the random order."""
    if not len(score):
        return float("nan")
    n_pilot = math.ceil(PILOT_SHARE * (place.max() + 1))
    steps = np.arange(1, n_grid + 1) / n_grid
    grid = np.unique(np.quantile(score[place < n_pilot], steps, method="inverted_cdf"))
    excess = _cluster_excess(score, loss, place, grid, target)
    most_gain = int(excess[:n_pilot].sum(axis=0).argmin())
    values = target + excess / np.bincount(place).max()
    p = betting_p(values, target, n_past=n_pilot, level=delta)
    last = last_rejected(p, np.unique([most_gain // 2, most_gain]), delta)
    return float("nan") if last is None else float(grid[last])


def _cluster_excess(
    score: np.ndarray, loss: np.ndarray, place: np.ndarray, grid: np.ndarray, target: float
) -> np.ndarray:
    """Losses above those allowed among the accepted rows, `[cluster, threshold]`."""
    shape = (place.max() + 1, len(grid) + 1)
    cells = place * shape[1] + np.searchsorted(grid, score)
    losses, accepted = (
        np.bincount(cells, weights=weights, minlength=shape[0] * shape[1]).reshape(shape).cumsum(axis=1)[:, :-1]
        for weights in (loss, None)
    )
    return losses - target * accepted


def check_loss(loss: pd.Series) -> None:
    """Raise `AuditError` where a loss is neither 0 nor 1."""
    wrong = loss[~loss.isin([0, 1])]
    if len(wrong):
        raise AuditError(f"a loss is 0 or 1, found {wrong.iloc[0]:g}: compare the measure with a bound first")


def check_share(name: str, value: float) -> None:
    """Raise `AuditError` where a value does not lie between 0 and 1."""
    if not 0 < value < 1:
        raise AuditError(f"{name} lies between 0 and 1, both excluded; found {value:g}")
