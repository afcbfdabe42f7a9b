"""Refusing with a promise for a group that nothing was learned from: a further language, judged by those held out.

Rows of one group share what nobody can see from their scores, so that for a further group the groups are the
independent units, not the rows, nor the captions that run through all groups. Split conformal prediction over groups
(Vovk et al. 2005): a group breaks at the lowest score up to which more than the target of what it accepts are losses,

    B_g = min {t : sum over the rows of g with score <= t of (loss - target) > 0}, infinite where there is no such t,

and the threshold lies below the k-th smallest of the G breaking scores, k = floor(delta (G + 1)). A further group that
is exchangeable with these is among the k that break first with probability k / (G + 1) <= delta, whatever the
distributions, and however large or small the groups.

What is promised is what is counted: of as many rows of a further group as each of these has, at most the target of the
accepted are losses, in all but `delta` of such groups. A group that accepts nothing keeps it. Nothing is promised of
all groups taken together, nor of a group of another kind. Rows that are captions common to all groups make the groups
alike, and a further group is promised something for these captions; for others as far as there are enough of them.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from emoe_audit.analysis.risk_control import check_loss, check_share

ROUNDING = 1e-9
"""Of sums that are 0 on paper."""


def threshold_for_a_new_group(
    score: pd.Series, loss: pd.Series, groups: pd.Series, *, target: float, delta: float = 0.1
) -> float:
    """The largest score up to which a further group keeps the target, with probability `1 - delta`; NaN if none.

    There is none with fewer than `1 / delta - 1` groups, nor where fewer than that accept `1 / target` rows: below
    that number a group that breaks the promise cannot be told from one that keeps it.

    Args:
        score: High is unsure.
        loss: 0 or 1. Rows that lack one of the three are left out.
        groups: Of each row.
        target: Share of the accepted that may be losses, between 0 and 1.
        delta: Probability of a further group that breaks it, between 0 and 1.

    Raises:
        AuditError: `target` or `delta` is not between 0 and 1, or a loss is neither 0 nor 1.
    """
    check_share("target", target)
    check_share("delta", delta)
    frame = {
        "score": np.asarray(score, np.float64),
        "loss": np.asarray(loss, np.float64),
        "group": np.asarray(groups),
    }
    rows = pd.DataFrame(frame).dropna()
    check_loss(rows["loss"])
    breaks = breaking_scores(rows, target)
    may_break = math.floor(delta * (len(breaks) + 1) + ROUNDING)
    if not may_break:
        return float("nan")
    threshold = float(rows["score"][rows["score"] < np.sort(breaks)[may_break - 1]].max())
    accepted = rows["group"][rows["score"] <= threshold].value_counts()
    tell = int((accepted >= 1 / target - ROUNDING).sum())
    return threshold if tell >= 1 / delta - 1 - ROUNDING else float("nan")


def breaking_scores(rows: pd.DataFrame, target: float) -> pd.Series:
    """B_g of the module by group, infinite where a group never breaks; `rows` has `score`, `loss` and `group`."""
    levels = rows.groupby(["group", "score"])["loss"].agg(["sum", "size"])
    excess = (levels["sum"] - target * levels["size"]).groupby(level="group").cumsum()
    broken = excess[excess > ROUNDING].reset_index("score")["score"]
    return broken.groupby(level="group").min().reindex(rows["group"].unique(), fill_value=np.inf)
