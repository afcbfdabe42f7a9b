"""The gaps between groups: which are there, which are surely too small to matter, and how small a one could be seen.

"No gap was seen" says little where only a large one could have been. So every contrast carries the smallest true gap
that its captions find with a power of 80%, and a margin below which a gap does not matter.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import t

from emoe_audit.analysis.between import COLUMNS, contrasts
from emoe_audit.analysis.bootstrap import MIN_SOURCES
from emoe_audit.analysis.power import minimum_detectable_gap

MARGIN = 0.2
"""Of a standard deviation of the measure between prompts: what Cohen 1988 calls a small effect."""
GAP_COLUMNS = ["measure", *COLUMNS, "margin", "detectable"]


def gaps(
    results: pd.DataFrame,
    by: str,
    measure: str,
    *,
    margin: float | None = None,
    reference: str | None = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """The contrasts of `between.contrasts` with `measure`, the `margin` and the smallest `detectable` gap.

    Args:
        results: A row per prompt, with `source_id`.
        by: The group column.
        measure: The measure compared.
        margin: The smallest gap that matters, in units of the measure; by default `MARGIN` standard deviations.
        reference: The group that all others are compared with; by default the others.
        confidence: Of the intervals; 1 - confidence is the level of the verdicts.

    Raises:
        AuditError: the reference is not a group with values, or the margin is not above 0.
    """
    spread = MARGIN * float(results[measure].astype(np.float64).std())
    own = margin if margin is not None else spread if spread > 0 else None
    table = contrasts(results, by, measure, reference=reference, confidence=confidence, margin=own)
    table = table.assign(measure=measure, margin=np.nan if own is None else own)
    return table.assign(detectable=detectable_gaps(table, confidence))[GAP_COLUMNS]


def detectable_gaps(table: pd.DataFrame, confidence: float = 0.95) -> list[float]:
    """For each row of a table of contrasts the smallest true gap that its captions find with a power of 80%.

    The spread is taken from the width of the interval; NaN where there is none.
    """
    rows = zip(table["high"] - table["low"], table["n_sources"], table["n_tests"], strict=True)
    return [_detectable(float(width), int(n), int(n_tests), confidence) for width, n, n_tests in rows]


def _detectable(width: float, n_sources: int, n_tests: int, confidence: float) -> float:
    if n_sources < MIN_SOURCES or not width > 0:
        return float("nan")
    sd = width / 2 * np.sqrt(n_sources) / t.isf((1 - confidence) / 2, n_sources - 1)
    return minimum_detectable_gap(float(sd), n_sources, alpha=1 - confidence, n_tests=max(n_tests, 1))
