"""Many tests at once: p-values adjusted for their number."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, t

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
    table: pd.DataFrame, error: pd.Series, freedom: pd.Series, *, confidence: float, margin: float | None
) -> pd.DataFrame:
    """A table with the column `difference`, its t interval, p-values and verdict, see `judged`.

    Standard errors and degrees of freedom in the order of its rows; where they are NaN, so is what follows from them.
    """
    difference, distance = table["difference"], table["difference"].abs()
    half = t.isf((1 - confidence) / 2, freedom) * error
    tested = table.assign(low=difference - half, high=difference + half, p=2 * t.sf(distance / error, freedom))
    tested["p_equivalent"] = np.nan if margin is None else t.sf((margin - distance) / error, freedom)
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
