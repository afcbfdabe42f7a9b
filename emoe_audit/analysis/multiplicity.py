"""Many tests at once: p-values adjusted for their number."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control


def adjusted(p: pd.Series, method: str) -> pd.Series:
    """p-values adjusted for the number of those that are defined; NaN stays NaN.

    `method` is `bh` (Benjamini and Hochberg 1995) or `by` (Benjamini and Yekutieli 2001), which holds whatever the
    dependence of the tests.
    """
    found = p.astype(np.float64)
    if p.notna().any():
        found[p.notna()] = false_discovery_control(p.dropna(), method=method)
    return found


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
