"""True shares of classes in images that an erring judge sorted, and how far they are from a reference.

A judge that takes some images of one class for another gives wrong shares even of many images. Labelled images tell
its rates R[class, seen], and what is seen of shares p is p R. The corrected shares are those p, at least 0 and summing
to 1, that make the counts likeliest: adjusted counting (Buonaccorsi 2010, chapter 2) by the EM of Saerens, Latinne and
Decaestecker 2002. With two classes it is (seen - false positives) / (true positives - false positives), cut to [0, 1]
(Rogan and Gladen 1978). It rests on one assumption: the judge errs on the images as it does on the labelled ones.

Intervals are percentiles of a bootstrap of captions (`source_id`) and, independently, of what the labelled images
show: an uncertain correction makes them wider. Resamples of n captions are too alike by a factor of sqrt((n - 1) / n),
and normal where t would be right, so the percentiles taken are those further out that make up for it (Hesterberg 2015,
the expanded percentile interval). Where none or all of n captions show a class, resamples show nothing
else; there the open end is the one of Clopper and Pearson 1934 for n captions. The total variation distance to the
reference, half the sum of absolute differences, is biased upwards by noise; its lower end is therefore that of the
triangle inequality, as in `disparity`.

The test asks whether images whose classes have exactly the shares of the reference would be seen as these were. It
needs no corrected share, which may lie at an end of its range: Pearson's X2 of the counts seen, divided by the design
effect of captions and labelled images together, against F (Rao and Scott 1981; Thomas and Rao 1987).

In 200 simulated runs of three classes and three languages, whose images are alike within captions, intervals of 95%
held the true share in 93 to 96% with 60 captions and 60 labelled images a class, and in 93 to 98% with 20 of each; the
test rejected the truth at 5% in 1 to 4%.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import f, norm, t

from emoe_audit.analysis.bootstrap import percentile_interval
from emoe_audit.analysis.confusion import Confusion, mixing_shares, normalised, resampled, tally
from emoe_audit.analysis.multiplicity import adjusted
from emoe_audit.errors import AuditError

MIN_SOURCES = 20
"""Captions of a group without which nothing is said about it."""
RARE = 1e-6
"""The share of all named classes below which they are not there."""
ESTIMATED = [
    *("share_corrected", "low", "high", "difference", "difference_low", "difference_high"),
    *("total_variation", "total_variation_low", "total_variation_high", "p"),
]
COLUMNS = [
    *("by", "group", "class", "n_images", "n_sources", "share_seen", "share_corrected", "low", "high"),
    *("reference", "difference", "difference_low", "difference_high"),
    *("total_variation", "total_variation_low", "total_variation_high", "p", "p_bh", "verdict"),
]


def prevalence(
    seen: pd.DataFrame,
    labelled: pd.DataFrame,
    classes: Sequence[str],
    *,
    by: str,
    reference: Mapping[str, float],
    n_boot: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """One row per group and class, see `COLUMNS`.

    The reference gives shares of some or all classes. Differences and distance compare with the shares among the
    classes it names, so that one about skin tones says nothing about images that show none; for the others they are
    NaN. p is one test a group, `p_bh` adjusted over groups (Benjamini and Hochberg 1995). The verdict is `different`
    where `p_bh` is at most 1 - confidence, else `unclear`, or says why everything but `share_seen` is NaN.

    Args:
        seen: A row per image with `source_id`, the group and the class `seen`; null: the image does not count.
        labelled: A row per labelled image with `source_id` (images of one are resampled together), `class`, `seen`.
        classes: All of them, in the order of the rows.
        by: The group column.
        reference: Shares that sum to 1.
        n_boot: Number of replicates.
        seed: Of the resampling.
        confidence: Of the intervals; 1 - confidence is the level of the verdict.

    Raises:
        AuditError: the reference is no distribution over at least two of the classes, or an image has another class.
    """
    wanted = _checked(reference, classes)
    confusion = Confusion.of(labelled, classes, n_boot=n_boot, seed=seed + 1)
    groups = pd.Index(sorted(seen[by].dropna().unique()))
    counts = tally(seen[seen[by].notna()], by, groups, classes)
    observed, n_sources = counts.sum(axis=0), (counts.sum(axis=2) > 0).sum(axis=0)
    fault = confusion.fault()
    usable = (n_sources >= MIN_SOURCES) & (fault is None)
    cells = _estimates_where(usable, counts, confusion, wanted, seed, confidence)
    cells["n_images"], cells["n_sources"] = observed.sum(axis=1, keepdims=True).astype(int), n_sources[:, None]
    cells["share_seen"], cells["reference"] = normalised(observed), wanted
    cells["p_bh"] = adjusted(pd.Series(cells["p"][:, 0]), "bh").to_numpy()[:, None]
    shown = np.where(cells["p_bh"] <= 1 - confidence, "different", "unclear").astype(object)
    cells["verdict"] = np.where(usable[:, None], shown, fault or f"fewer than {MIN_SOURCES} captions")
    table = pd.DataFrame({"by": by, "group": groups.repeat(len(classes)), "class": list(classes) * len(groups)})
    for column in COLUMNS[3:]:
        table[column] = np.broadcast_to(cells[column], observed.shape).ravel()
    return table


def _estimates_where(
    usable: np.ndarray, counts: np.ndarray, confusion: Confusion, reference: np.ndarray, seed: int, confidence: float
) -> dict[str, np.ndarray]:
    """The columns `ESTIMATED`, `[group, class]`; NaN for the groups that are not usable."""
    cells = {column: np.full(counts.shape[1:], np.nan) for column in ESTIMATED}
    if usable.any():
        for column, values in _estimates(counts[:, usable], confusion, reference, seed, confidence).items():
            cells[column][usable] = values
    return cells


def _estimates(
    counts: np.ndarray, confusion: Confusion, reference: np.ndarray, seed: int, confidence: float
) -> dict[str, np.ndarray]:
    """The columns `ESTIMATED`, `[group, class]` or `[group, 1]`, of counts `[caption, group, seen]`."""
    observed, drawn = counts.sum(axis=0), resampled(counts, len(confusion.replicates), seed)
    shares, replicates = mixing_shares(observed, confusion.rates), mixing_shares(drawn, confusion.replicates)
    named = ~np.isnan(reference)
    among, among_replicates = (_among(part, named) for part in (shares, replicates))
    n_sources = (counts.sum(axis=2) > 0).sum(axis=0)
    low, high = _share_interval(replicates, observed, n_sources, confidence)
    ends = _share_interval(among_replicates, np.where(named, observed, 0), n_sources, confidence)
    wider = expanded(confidence, n_sources)
    distance, farthest = _distance(among, reference, named), _distance(among_replicates, reference, named)
    noise = _distance(among_replicates, among, named)
    return {
        "share_corrected": shares,
        "low": low,
        "high": high,
        "difference": among - reference,
        "difference_low": ends[0] - reference,
        "difference_high": ends[1] - reference,
        "total_variation": distance[:, None],
        "total_variation_low": np.maximum(0, distance - _interval(noise, wider)[1])[:, None],
        "total_variation_high": _interval(farthest, wider)[1][:, None],
        "p": _p(observed, drawn, confusion, reference, n_sources)[:, None],
    }


def _p(
    observed: np.ndarray, drawn: np.ndarray, confusion: Confusion, reference: np.ndarray, n_sources: np.ndarray
) -> np.ndarray:
    """p-values `[group]` of the shares of the reference among the classes it names; the other shares are fitted."""
    unnamed = np.isnan(reference)
    fixed = np.vstack([np.nan_to_num(reference), np.eye(len(reference))[unnamed]])
    shares = mixing_shares(observed, fixed @ confusion.rates) @ fixed
    expected = shares @ confusion.rates
    n, freedom = observed.sum(axis=1), len(reference) - len(fixed)
    if freedom < 1:
        return np.full(len(observed), np.nan)
    pearson = n * (np.square(normalised(observed) - expected) / expected).sum(axis=1)
    by_captions, by_judge = (
        n * (np.nanvar(noise, axis=0, ddof=1) / expected).sum(axis=1) / (len(reference) - 1)
        for noise in (normalised(drawn), shares @ confusion.replicates)
    )
    design = np.maximum(by_captions, 1) + by_judge
    p: np.ndarray = f.sf(pearson / design / freedom, freedom, freedom * (n_sources - 1))
    return p


def _among(shares: np.ndarray, named: np.ndarray) -> np.ndarray:
    """Shares among the named classes; NaN for the others, and where none of the named is there."""
    total = shares[..., named].sum(axis=-1, keepdims=True)
    return np.where(named, shares, np.nan) / np.where(total > RARE, total, np.nan)


def _distance(shares: np.ndarray, others: np.ndarray, named: np.ndarray) -> np.ndarray:
    """Total variation distance over the named classes."""
    distance: np.ndarray = np.abs(shares - others)[..., named].sum(axis=-1) / 2
    return distance


def _share_interval(
    replicates: np.ndarray, observed: np.ndarray, n_sources: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Percentiles, but where none or all is seen, which no resample changes, at least what n captions leave open."""
    low, high = _interval(replicates, expanded(confidence, n_sources))
    least = ((1 - confidence) / 2) ** (1 / n_sources[:, None])
    none, all_of_it = observed == 0, observed == observed.sum(axis=1, keepdims=True)
    return np.where(all_of_it, np.minimum(low, least), low), np.where(none, np.maximum(high, 1 - least), high)


def expanded(confidence: float, n_sources: np.ndarray) -> np.ndarray:
    """The share of a bootstrap's replicates whose ends are those of t for n captions, `[group]`."""
    far = np.sqrt(n_sources / (n_sources - 1)) * t.isf((1 - confidence) / 2, n_sources - 1)
    share: np.ndarray = 1 - 2 * norm.sf(far)
    return share


def _interval(replicates: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of `[replicate, group, ...]` at the confidence of each group, `[group, ...]`."""
    ends = [
        percentile_interval(replicates[:, group].reshape(len(replicates), -1), float(own))
        for group, own in enumerate(confidence)
    ]
    low, high = (np.stack(side).reshape(replicates.shape[1:]) for side in zip(*ends, strict=True))
    return low, high


def _checked(reference: Mapping[str, float], classes: Sequence[str]) -> np.ndarray:
    """The reference `[class]`, NaN where it names none."""
    shares = np.array([reference.get(name, np.nan) for name in classes])
    unknown = set(reference) - set(classes)
    if unknown:
        raise AuditError(f"reference: {min(unknown)!r} is not a class; there are {', '.join(classes)}")
    if len(reference) < 2 or min(reference.values()) < 0 or abs(sum(reference.values()) - 1) > 1e-6:
        raise AuditError(f"reference: {dict(reference)} is no distribution: two or more shares that sum to 1")
    return shares
