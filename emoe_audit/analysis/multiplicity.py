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
