"""Groups compared within captions: the difference that a group makes where everything else is the same caption.

One caption gives one difference, and captions are the independent units, so a group's mean difference is tested with
Student's paired t (Student 1908), moved for skewness, and its interval is that of `skewed` over captions. With fewer
than `MIN_FOR_INTERVAL` captions there is neither. (In a real run languages differ from the others with a skewness of at
most 1.1.) With few captions and strong skewness the smallest p-values are not to be trusted.

Equivalence is two one-sided tests (TOST, Schuirmann 1987): the difference is above -margin, and below margin.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from emoe_audit.analysis.bootstrap import cluster_sums, means_of
from emoe_audit.analysis.multiplicity import check_margin, t_tested
from emoe_audit.analysis.permutation import ROUNDING
from emoe_audit.analysis.rows import different, measured_rows
from emoe_audit.analysis.skewed import MIN_FOR_INTERVAL
from emoe_audit.errors import AuditError

OTHERS = "others"
"""The reference of a group that is compared with the mean of all others."""
COLUMNS = [
    *("by", "group", "reference", "n_sources", "difference", "error", "freedom", "low", "high", "p", "effect_size"),
    *("p_equivalent", "p_bh", "p_by", "p_equivalent_bh", "n_tests", "verdict"),
]


def paired_contrasts(
    results: pd.DataFrame,
    by: str,
    measure: str,
    *,
    reference: str | None = None,
    confidence: float = 0.95,
    margin: float | None = None,
) -> pd.DataFrame:
    """One row per group, see `COLUMNS`: its mean difference from the reference within captions, sorted by group.

    `effect_size` is Cohen's d_z, the mean difference over the standard deviation of differences. Adjusted p-values are
    those of Benjamini and Hochberg 1995 and of Benjamini and Yekutieli 2001, over the `n_tests` groups that could be
    tested; the latter hold whatever the dependence of the groups. The intervals are of one group each.

    The verdict is `equivalent` where `p_equivalent_bh` is at most 1 - confidence, else `different` where `p_bh` is,
    else `unclear`. A difference that is surely there and surely smaller than the margin is thus `equivalent`.

    With fewer than `MIN_FOR_INTERVAL` captions, or where all captions of a side are alike or all differ by the same,
    which shows no spread to judge by, interval and p-values are NaN and the verdict is `unclear`.

    Args:
        results: A row per prompt, with `source_id`.
        by: The group column.
        measure: The measure compared.
        reference: The group that all others are compared with, and which has no row of its own; by default each group
            is compared with the mean of the others, and the reference is called `OTHERS`.
        confidence: Of the interval; 1 - confidence is the level of the verdict.
        margin: The smallest difference that matters, in units of the measure. Without it nothing is `equivalent`.

    Raises:
        AuditError: the reference is not a group with values, or the margin is not above 0.
    """
    check_margin(margin)
    cells = caption_means(results, by, measure)
    check_reference(cells, by, measure, reference)
    smallest = ROUNDING * results[measure].abs().max()
    alike, differences = cells.std(ddof=1) <= smallest, _differences(cells, reference)
    sd = differences.std(ddof=1)
    summary = pd.DataFrame({"n": differences.count(), "mean": differences.mean(), "skewness": differences.skew()})
    summary["sd"] = sd.where((sd > smallest) & ~alike[sd.index] & ~(reference is not None and alike[reference]))
    return contrast_table(summary, by, reference or OTHERS, confidence=confidence, margin=margin)


def contrast_table(
    summary: pd.DataFrame, by: str, reference: str, *, confidence: float = 0.95, margin: float | None = None
) -> pd.DataFrame:
    """The tests of `paired_contrasts`, from `n, mean, sd, skewness` of the differences.

    A row per group, which is the index; NaN for a standard deviation that is undefined or 0. The skewness is the one
    that pandas and databases give, unbiased for normal values (Joanes and Gill 1998, G1).
    """
    table = pd.DataFrame({"by": by, "group": summary.index, "reference": reference})
    n, mean, sd, skewness = (summary[name].reset_index(drop=True) for name in ("n", "mean", "sd", "skewness"))
    error = (sd / np.sqrt(n)).where(n >= MIN_FOR_INTERVAL)
    table = table.assign(n_sources=n, difference=mean, error=error, freedom=n - 1, effect_size=mean / sd)
    of_mean = skewness * (n - 2) / np.sqrt(n * (n - 1)) / np.sqrt(n)
    return t_tested(table, of_mean, confidence=confidence, margin=margin)[COLUMNS]


def within_caption_differences(
    results: pd.DataFrame, by: str, measure: str, *, reference: str | None = None
) -> pd.DataFrame:
    """The group minus the reference in every caption, `[caption, group]`; NaN where a caption lacks one of the two.

    Prompts of one group and one caption are averaged first. Without a reference a group is compared with the mean of
    the other groups that the caption has, each counted once: x - (sum - x) / (k - 1) = (x - mean) k / (k - 1).

    Raises:
        AuditError: the reference is not a group with values.
    """
    cells = caption_means(results, by, measure)
    check_reference(cells, by, measure, reference)
    return _differences(cells, reference)


def _differences(cells: pd.DataFrame, reference: str | None) -> pd.DataFrame:
    """The same, of `cells` `[caption, group]`."""
    if reference is not None:
        return cells.drop(columns=reference).sub(cells[reference], axis=0)
    k = cells.count(axis=1)
    return cells.sub(cells.mean(axis=1), axis=0).mul(k / (k - 1).where(k > 1), axis=0)


def caption_means(results: pd.DataFrame, by: str, measure: str) -> pd.DataFrame:
    """The mean of each group's prompts in every caption, `[caption, group]`, NaN for none."""
    rows = measured_rows(results, by, measure)
    groups, sums, sizes = cluster_sums(rows[measure], rows[by], rows["source_id"])
    captions = pd.Index(different(rows["source_id"]), name="source_id")
    return pd.DataFrame(means_of(sums, sizes), index=captions, columns=groups)


def check_reference(cells: pd.DataFrame, by: str, measure: str, reference: str | None) -> None:
    """Raise `AuditError` for a reference that is none of the groups with values, the columns of `cells`."""
    if reference is not None and reference not in cells:
        raise AuditError(f"no prompt with a {measure} has {by} {reference!r}; choose one of {', '.join(cells)}")
