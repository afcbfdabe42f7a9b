"""How many captions show a gap of a given size, and how small a gap a given number of captions shows.

For the paired t test of `paired.py`, two-sided, at level alpha / n_tests (Bonferroni). With n captions, a gap `g` and
differences of standard deviation `s`, t follows the noncentral distribution with n - 1 degrees of freedom and
noncentrality sqrt(n) g / s, and power = P(t > critical value): Cohen 1988, chapter 2. Outcomes that are significant
in the wrong direction are not counted. Benjamini-Hochberg asks for no more captions than this.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import nct, t

from emoe_audit.analysis.bootstrap import MIN_SOURCES
from emoe_audit.analysis.paired import within_caption_differences
from emoe_audit.errors import AuditError


def minimum_detectable_gap(
    sd: float, n_sources: int, *, alpha: float = 0.05, power: float = 0.8, n_tests: int = 1
) -> float:
    """The smallest true mean difference that is found with the given power, in units of the measure.

    Args:
        sd: Standard deviation of the differences within captions, see `sd_of_differences`.
        n_sources: Captions; fewer than two give NaN.
        alpha: Level of all tests together.
        power: Chance that a gap of this size is found.
        n_tests: Groups that are tested.

    Raises:
        AuditError: an argument is out of range.
    """
    _check(alpha=alpha, power=power, n_tests=n_tests, sd=sd)
    if n_sources < MIN_SOURCES:
        return float("nan")
    return noncentrality_for(power, n_sources - 1, alpha / n_tests) * sd / float(np.sqrt(n_sources))


@lru_cache(maxsize=4096)
def noncentrality_for(power: float, freedom: float, alpha: float) -> float:
    """How many standard errors a true difference is away from 0 that t, two-sided, finds with this power."""

    def excess(noncentrality: float) -> float:
        return _power(noncentrality, freedom, alpha) - power

    high = 1.0
    while excess(high) < 0:
        high *= 2
    return float(brentq(excess, 0.0, high))


def sources_for_gap(gap: float, sd: float, *, alpha: float = 0.05, power: float = 0.8, n_tests: int = 1) -> int:
    """The smallest number of captions with which a true mean difference of `gap` is found with the given power.

    Found by bisection: power rises with the number of captions. Arguments as in `minimum_detectable_gap`.

    Raises:
        AuditError: an argument is out of range.
    """
    _check(alpha=alpha, power=power, n_tests=n_tests, sd=sd, gap=gap)

    def enough(n: int) -> bool:
        return _power(float(np.sqrt(n)) * gap / sd, n - 1, alpha / n_tests) >= power

    low, high = MIN_SOURCES - 1, MIN_SOURCES
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def sd_of_differences(results: pd.DataFrame, by: str, measure: str, *, reference: str | None = None) -> float:
    """Standard deviation of the differences within captions, pooled over groups, from a pilot run.

    The root of the groups' variances weighted by their degrees of freedom; NaN where no group has two captions. Where
    groups differ in spread, those of wider spread need more captions than it says.

    Args:
        results: A row per prompt, with `source_id`.
        by: The group column.
        measure: The measure.
        reference: As in `paired_contrasts`, where the gap is to be tested.

    Raises:
        AuditError: the reference is not a group with values.
    """
    differences = within_caption_differences(results, by, measure, reference=reference)
    freedom = (differences.count() - 1).clip(lower=0)
    if freedom.sum() == 0:
        return float("nan")
    return float(np.sqrt((freedom * differences.var(ddof=1)).sum() / freedom.sum()))


def _power(noncentrality: float, freedom: float, alpha: float) -> float:
    return float(nct.sf(t.isf(alpha / 2, freedom), freedom, noncentrality))


def _check(*, alpha: float, power: float, n_tests: int, **above_zero: float) -> None:
    """Raise `AuditError` for an argument that is out of range, or NaN."""
    for name, value in {"alpha": alpha, "power": power}.items():
        if not 0 < value < 1:
            raise AuditError(f"{name} must be between 0 and 1, not {value:g}")
    if power <= alpha:
        raise AuditError(f"power must be above alpha, which chance alone gives: {power:g} is not above {alpha:g}")
    if n_tests < 1:
        raise AuditError(f"n_tests must be 1 or more, not {n_tests}")
    for name, value in above_zero.items():
        if not 0 < value < np.inf:
            raise AuditError(f"{name} must be a number above 0, not {value:g}")
