"""The gaps between groups: which are there, which are surely too small to matter, and how small a one could be seen.

"No gap was seen" says little where only a large one could have been. So every contrast carries the smallest true gap
that its captions find with a power of 80%, and a margin below which a gap does not matter.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from emoe_audit.analysis.between import COLUMNS, contrasts
from emoe_audit.analysis.power import noncentrality_for

MARGIN = 0.2
"""Of a standard deviation of the measure between prompts: what Cohen 1988 calls a small effect."""
POWER = 0.8
GAP_COLUMNS = ["measure", *(c for c in COLUMNS if c not in ("error", "freedom")), "margin", "detectable"]


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

    From the standard error and the degrees of freedom of its own test; NaN where there is none.
    """
    rows = zip(table["error"], table["freedom"], table["n_tests"], strict=True)
    return [_detectable(float(error), float(freedom), (1 - confidence) / max(n, 1)) for error, freedom, n in rows]


def _detectable(error: float, freedom: float, alpha: float) -> float:
    return noncentrality_for(POWER, freedom, alpha) * error if error > 0 else float("nan")
