"""Many tests at once: p-values adjusted for their number."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from emoe_audit.analysis.skewed import skewed_interval, skewed_tails
from emoe_audit.errors import AuditError


def adjusted(p: pd.Series, method: str) -> pd.Series:
    """p-values adjusted for the number of those that are defined; NaN stays NaN.

    `method` is `bh` (Benjamini and Hochberg 1995) or `by` (Benjamini and Yekutieli 2001), which holds whatever the
    dependence of the tests.
    """
    found = p.astype(np.float64)
    if p.notna().any():
        found[p.notna()] = false_discovery_control(p.dropna(), method=method)
    return found


def check_margin(margin: float | None) -> None:
    """Raise `AuditError` for a margin that is not above 0."""
    if margin is not None and not margin > 0:
        raise AuditError(f"the margin is the smallest difference that matters and must be above 0, not {margin:g}")


def t_tested(
    table: pd.DataFrame, skewness: pd.Series, *, confidence: float = 0.95, margin: float | None = None
) -> pd.DataFrame:
    """A table with `difference`, `error` and `freedom`, its intervals, p-values and verdict, see `skewed` and `judged`.

    `skewness` is that of the differences, in the order of the rows; where one of these is NaN, so is what follows.
    """
    columns = ("difference", "error", "freedom")
    (difference, error, freedom), k = (table[name].to_numpy(np.float64) for name in columns), skewness.to_numpy()
    low, high = skewed_interval(difference, error, freedom, k, confidence)
    nearer = np.minimum(*skewed_tails(difference / error, freedom, k))
    tested = table.assign(low=low, high=high, p=np.minimum(2 * nearer, 1))
    tested["p_equivalent"] = np.nan
    if margin is not None:
        above, _ = skewed_tails((difference + margin) / error, freedom, k)
        _, below = skewed_tails((difference - margin) / error, freedom, k)
        tested["p_equivalent"] = np.maximum(above, below)
    return judged(tested, confidence)


def judged(table: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """A table of contrasts with the p-values `p` and `p_equivalent` adjusted for its tests, and what follows from them.

    The verdict is `equivalent` where `p_equivalent_bh` is at most 1 - confidence, else `different` where `p_bh` is,
    else `unclear`.
    """
    table = table.assign(p_bh=adjusted(table["p"], "bh"), p_by=adjusted(table["p"], "by"))
    table["p_equivalent_bh"] = adjusted(table["p_equivalent"], "bh")
    table["n_tests"] = table["p"].count()
    shown = [table["p_equivalent_bh"] <= 1 - confidence, table["p_bh"] <= 1 - confidence]
    table["verdict"] = np.select(shown, ["equivalent", "different"], "unclear")
    return table
