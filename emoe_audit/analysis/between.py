"""Groups compared between captions: regions or skin tones, where a caption belongs to one group and has no pair.

What is independent is the caption; where captions in several languages were written for one image, it is the image. A
cluster gives one value in a group, the mean of its prompts, and one for all others. Languages are taken out first, so
that a group whose captions lack an easy language does not look hard: their effects are those of least squares on
language and group together, which no difference between groups enters. Where these two cannot be told apart, as for
groups of languages, nothing is taken out.

Means are compared by Welch's t with Satterthwaite's degrees of freedom (Welch 1947), moved for skewness (`skewed`).
Where clusters hold both sides, as images with captions in two languages do, their covariance counts: t of partially
overlapping samples (Derrick, Russ, Toher and White 2017), which is Welch's where no cluster is shared, and the paired t
where all are.

In simulated audits of five equal regions, of unequal spread and heavy tails, in twelve languages, 4.5 to 5.6% of tests
at 5% were wrong with 20, 50 and 200 captions. A bootstrap of rows, which takes translations for independent, was wrong
in 43 to 48%.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from emoe_audit.analysis.bootstrap import MIN_SOURCES, cluster_sums, means_of
from emoe_audit.analysis.multiplicity import check_margin, judged, t_tested
from emoe_audit.analysis.paired import COLUMNS as PAIRED_COLUMNS
from emoe_audit.analysis.paired import OTHERS, check_reference, paired_contrasts
from emoe_audit.analysis.permutation import ROUNDING
from emoe_audit.analysis.rows import as_labels, different, measured, n_captions, small_places
from emoe_audit.analysis.skewed import MIN_FOR_INTERVAL, skewness_of_estimate

COLUMNS = [*PAIRED_COLUMNS, "design"]
LEAST_PAIRED = 0.5
"""Share of a group's captions that must hold its reference as well for the group to be compared within captions."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two means and what their difference is judged by; NaN where there is no spread or nothing to compare."""

    n_sources: int
    difference: float
    error: float = float("nan")
    freedom: float = float("nan")
    skewness: float = float("nan")
    effect_size: float = float("nan")


def contrasts(
    results: pd.DataFrame,
    by: str,
    measure: str,
    *,
    reference: str | None = None,
    confidence: float = 0.95,
    margin: float | None = None,
) -> pd.DataFrame:
    """Each group by the design that its captions allow, see `COLUMNS`: `paired` or `between`.

    `paired` (see `paired_contrasts`) where at least half of the group's captions also hold the reference, else
    `between` (see `between_contrasts`). Captions written for one image are no translations and never paired. Adjusted
    p-values and verdicts are over the groups of both designs. Arguments and errors as in `between_contrasts`.
    """
    options: dict[str, Any] = {"reference": reference, "confidence": confidence, "margin": margin}
    table = between_contrasts(results, by, measure, **options)
    rows = measured(results, by, measure)
    for_images = written_for_images(rows)
    translated = rows[~for_images] if for_images.any() else rows
    if reference is None or (as_labels(translated[by]) == reference).any():
        paired = paired_contrasts(translated, by, measure, **options).assign(design="paired")
        n_sources = n_captions(rows.assign(**{by: as_labels(rows[by])}), by)
        enough = paired[paired["n_sources"] >= LEAST_PAIRED * paired["group"].map(n_sources).astype(float)]
        rest = table[~table["group"].isin(enough["group"])]
        table = pd.concat([part for part in (enough, rest) if len(part)] or [table])
    return judged(table.sort_values("group", ignore_index=True), confidence)[COLUMNS]


def between_contrasts(
    results: pd.DataFrame,
    by: str,
    measure: str,
    *,
    reference: str | None = None,
    confidence: float = 0.95,
    margin: float | None = None,
) -> pd.DataFrame:
    """One row per group, see `COLUMNS`: the mean of its captions minus that of all others, sorted by group.

    Columns as in `paired_contrasts`, with two differences. `effect_size` is Hedges' g: the difference over the pooled
    standard deviation of captions, times 1 - 3 / (4 m - 1) for m degrees of freedom (Hedges 1981). `n_sources` counts
    the group's captions, or images where `clusters` says so.

    With fewer than `MIN_FOR_INTERVAL` captions on a side, or where all of a side are alike, interval, p-values and
    effect size are NaN.

    Args:
        results: A row per prompt, with `source_id`; `language`, and `parallel` with `image_id`, are used if there.
        by: The group column.
        measure: The measure compared.
        reference: The group that all others are compared with, and which has no row of its own; by default each group
            is compared with all other captions, and the reference is called `OTHERS`.
        confidence: Of the interval; 1 - confidence is the level of the verdict.
        margin: The smallest difference that matters, in units of the measure. Without it nothing is `equivalent`.

    Raises:
        AuditError: the reference is not a group with values, or the margin is not above 0.
    """
    check_margin(margin)
    cells = cluster_means(measured(results, by, measure), by, measure)
    check_reference(cells, by, measure, reference)
    smallest = ROUNDING * results[measure].abs().max()
    others = cells.apply(lambda _: cells[reference]) if reference is not None else means_of_others(cells)
    groups = [group for group in cells if group != reference]
    found = [asdict(compare(cells[group].to_numpy(), others[group].to_numpy(), smallest)) for group in groups]
    table = pd.DataFrame(found, columns=list(Comparison.__dataclass_fields__), dtype=np.float64)
    table["by"], table["group"], table["reference"], table["design"] = by, groups, reference or OTHERS, "between"
    counted = table.astype({"n_sources": np.int64})
    return t_tested(counted, counted["skewness"], confidence=confidence, margin=margin)[COLUMNS]


def written_for_images(results: pd.DataFrame) -> pd.Series:
    """Which rows hold captions written for an image in their own language, `[prompt]`: no translations of another."""
    if "parallel" not in results:
        return pd.Series(False, index=results.index)
    return results["parallel"].isin(["image"])


def clusters(results: pd.DataFrame) -> pd.Series:
    """What is independent, `[prompt]`: the image of captions that were written for one, else the caption."""
    images = written_for_images(results)
    if not images.any() or "image_id" not in results:
        return results["source_id"]
    named = ("image " + results["image_id"].astype(str)).where(images & results["image_id"].notna())
    return named.fillna("caption " + results["source_id"].astype(str))


def cluster_means(rows: pd.DataFrame, by: str, measure: str) -> pd.DataFrame:
    """The mean of each cluster in each group without the effects of languages, `[cluster, group]`, NaN for none."""
    values, labels, own = rows[measure].astype(np.float64), as_labels(rows[by]), clusters(rows)
    if "language" in rows and len(rows):
        values = values - language_effects(values.to_numpy(), small_places(labels)[0], rows["language"])
    groups, sums, sizes = cluster_sums(values, labels, own)
    return pd.DataFrame(means_of(sums, sizes), index=pd.Index(different(own)), columns=groups)


def means_of_others(cells: pd.DataFrame) -> pd.DataFrame:
    """The mean of the other groups that each cluster has, each counted once, `[cluster, group]`; NaN for none."""
    total, count = cells.sum(axis=1), cells.count(axis=1)
    rest = cells.notna().rsub(count, axis=0)
    return cells.fillna(0).rsub(total, axis=0) / rest.where(rest > 0)


def language_effects(values: np.ndarray, group_codes: np.ndarray, languages: pd.Series) -> np.ndarray:
    """The effect of each row's language beside that of its group, `[prompt]`, but for a constant.

    From the normal equations of least squares on both, the first group's effect being 0. All 0 where they have no
    single solution: languages and groups that fall into parts which share nothing.
    """
    codes, names = pd.factorize(languages, use_na_sentinel=False)
    n_groups = int(group_codes.max(initial=0)) + 1
    counts = np.bincount(codes * n_groups + group_codes, minlength=len(names) * n_groups).reshape(-1, n_groups)
    gram = np.block([[np.diag(counts.sum(axis=1)), counts], [counts.T, np.diag(counts.sum(axis=0))]])
    sums = np.concatenate([np.bincount(codes, weights=values), np.bincount(group_codes, weights=values)])
    kept = np.arange(len(gram)) != len(names)
    effects, _, rank, _ = np.linalg.lstsq(gram[np.ix_(kept, kept)].astype(np.float64), sums[kept], rcond=1e-10)
    if rank < kept.sum():
        return np.zeros(len(values))
    own: np.ndarray = effects[codes]
    return own


def compare(own: np.ndarray, others: np.ndarray, smallest: float) -> Comparison:
    """Two samples of values by cluster, NaN where a cluster has none; the same place is the same cluster.

    A single shared cluster shows no covariance and counts as two. Spread up to `smallest` is rounding, hence none.
    """
    mine, theirs = own[~np.isnan(own)], others[~np.isnan(others)]
    n_1, n_2 = len(mine), len(theirs)
    difference = float(mine.mean() - theirs.mean()) if n_1 and n_2 else float("nan")
    undefined = Comparison(n_sources=n_1, difference=difference)
    if min(n_1, n_2) < MIN_FOR_INTERVAL or not min(mine.std(), theirs.std()) > smallest:
        return undefined
    shared = ~np.isnan(own) & ~np.isnan(others)
    n_12 = int(shared.sum()) if shared.sum() >= MIN_SOURCES else 0
    square_1, square_2 = mine.var(ddof=1) / n_1, theirs.var(ddof=1) / n_2
    covariance = _correlation(own[shared], others[shared]) * np.sqrt(square_1 * square_2 / (n_1 * n_2)) * n_12
    error = float(np.sqrt(np.maximum(square_1 + square_2 - 2 * covariance, 0)))
    if not error > smallest:
        return undefined
    welch = (square_1 + square_2) ** 2 / (square_1**2 / (n_1 - 1) + square_2**2 / (n_2 - 1))
    influences = np.nan_to_num((own - mine.mean()) / n_1) - np.nan_to_num((others - theirs.mean()) / n_2)
    m = n_1 + n_2 - 2
    pooled = np.sqrt(((n_1 - 1) * n_1 * square_1 + (n_2 - 1) * n_2 * square_2) / m)
    return Comparison(
        n_sources=n_1,
        difference=difference,
        error=error,
        freedom=float(n_12 - 1 + (welch - n_12 + 1) * (m + 2 - 2 * n_12) / (m + 2)),
        skewness=float(skewness_of_estimate(influences)),
        effect_size=float(difference / pooled * (1 - 3 / (4 * m - 1))),
    )


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's r; 0 for fewer than two points or a constant, where nothing shows that one goes with the other."""
    if len(x) < MIN_SOURCES:
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale > 0 else 0.0
