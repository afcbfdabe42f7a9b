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
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import f, norm, t

from emoe_audit.analysis.bootstrap import cluster_counts, percentile_interval
from emoe_audit.analysis.multiplicity import adjusted
from emoe_audit.errors import AuditError

MIN_SOURCES = 20
"""Captions of a group without which nothing is said about it."""
MIN_SEPARATION = 0.1
"""Rates that are closer than this cannot be told apart; with two classes, true minus false positives."""
PRIOR = 0.5
"""Labelled images, spread evenly over what may be seen, that are added to each class: no rate is surely 0."""
CYCLES, TOLERANCE = 100, 1e-7
"""At most so many steps of EM; it stops when no share can add more than this to the log likelihood of an image."""
SMALLEST, RARE = 1e-12, 1e-6
"""The share below which EM lets none fall, and that of all named classes below which they are not there."""
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
    tally = _tally(seen[seen[by].notna()], by, groups, classes)
    observed, n_sources = tally.sum(axis=0), (tally.sum(axis=2) > 0).sum(axis=0)
    fault = confusion.fault()
    usable = (n_sources >= MIN_SOURCES) & (fault is None)
    cells = _estimates_where(usable, tally, confusion, wanted, seed, confidence)
    cells["n_images"], cells["n_sources"] = observed.sum(axis=1, keepdims=True).astype(int), n_sources[:, None]
    cells["share_seen"], cells["reference"] = _normalised(observed), wanted
    cells["p_bh"] = adjusted(pd.Series(cells["p"][:, 0]), "bh").to_numpy()[:, None]
    shown = np.where(cells["p_bh"] <= 1 - confidence, "different", "unclear").astype(object)
    cells["verdict"] = np.where(usable[:, None], shown, fault or f"fewer than {MIN_SOURCES} captions")
    table = pd.DataFrame({"by": by, "group": groups.repeat(len(classes)), "class": list(classes) * len(groups)})
    for column in COLUMNS[3:]:
        table[column] = np.broadcast_to(cells[column], observed.shape).ravel()
    return table


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How a judge errs."""

    classes: tuple[str, ...]
    n_labelled: np.ndarray
    """Labelled images that count, `[class]`."""
    rates: np.ndarray
    """How often an image of a class is seen as each, `[class, seen]`; rows sum to 1."""
    replicates: np.ndarray
    """The same from resampled labelled images, `[replicate, class, seen]`; NaN where one holds none of a class."""

    @classmethod
    def of(cls, labelled: pd.DataFrame, classes: Sequence[str], *, n_boot: int, seed: int) -> Confusion:
        """From labelled images, see `prevalence`."""
        counts = _tally(labelled, "class", pd.Index(list(classes)), classes)
        return cls(
            classes=tuple(classes),
            n_labelled=counts.sum(axis=(0, 2)),
            rates=_rates(counts.sum(axis=0)),
            replicates=_rates(_resampled(counts, n_boot, seed)),
        )

    def fault(self) -> str | None:
        """Why nothing can be corrected by it, or None."""
        missing = [name for name, n in zip(self.classes, self.n_labelled, strict=True) if n == 0]
        if missing:
            return f"no labelled image of {', '.join(missing)}"
        if self.separation() >= MIN_SEPARATION:
            return None
        distances = np.abs(self.rates[:, None] - self.rates).sum(axis=2) / 2
        np.fill_diagonal(distances, np.inf)
        first, second = sorted(divmod(int(distances.argmin()), len(self.classes)))
        return f"judge cannot tell these apart: {self.classes[first]}, {self.classes[second]}"

    def separation(self) -> float:
        """The least change of what is seen for a change of shares by 1, in Euclidean length: 1 for a perfect judge.

        It is the smallest singular value of the rates on changes that sum to 0, and of its replicates the 5% quantile,
        so that a judge who guesses does not pass by luck of few labelled images.
        """
        whole = self.replicates[~np.isnan(self.replicates).any(axis=(1, 2))]
        if not len(whole):
            return 0.0
        values = np.linalg.svd(whole - whole.mean(axis=1, keepdims=True), compute_uv=False)
        return float(np.quantile(values[:, len(self.classes) - 2], 0.05))


def mixing_shares(seen: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """The shares that make the counts likeliest, `[..., class]`; NaN where nothing is seen or a rate is NaN.

    EM multiplies each share by what its class adds to the likelihood; its steps are lengthened as in SQUAREM (Varadhan
    and Roland 2008), and a long step that is not better is not taken.

    Args:
        seen: Counts, `[..., seen]`.
        rates: How often each class is seen as each, above 0, `[..., class, seen]`; the leading axes are broadcast.
    """
    with np.errstate(all="ignore"):
        frequency, across = seen / seen.sum(axis=-1, keepdims=True), np.swapaxes(rates, -1, -2)

        def gain(shares: np.ndarray) -> np.ndarray:
            return np.matmul(frequency / (shares @ rates), across)

        def step(shares: np.ndarray) -> np.ndarray:
            return _normalised(np.maximum(shares * gain(shares), SMALLEST))

        def likelihood(shares: np.ndarray) -> np.ndarray:
            found: np.ndarray = (frequency * np.log(shares @ rates)).sum(axis=-1, keepdims=True)
            return found

        shares = np.ones(rates.shape[-2]) / rates.shape[-2] + 0 * frequency[..., :1]
        for _ in range(CYCLES):
            once = step(shares)
            twice = step(once)
            ahead, bend = once - shares, twice - 2 * once + shares
            length = np.linalg.norm(ahead, axis=-1, keepdims=True) / np.linalg.norm(bend, axis=-1, keepdims=True)
            far = _normalised(np.maximum(shares + 2 * length * ahead + length**2 * bend, SMALLEST))
            shares = np.where(likelihood(far) > likelihood(twice), step(far), twice)
            if not (gain(shares).max(axis=-1) > 1 + TOLERANCE).any():
                break
        return shares


def _estimates_where(
    usable: np.ndarray, tally: np.ndarray, confusion: Confusion, reference: np.ndarray, seed: int, confidence: float
) -> dict[str, np.ndarray]:
    """The columns `ESTIMATED`, `[group, class]`; NaN for the groups that are not usable."""
    cells = {column: np.full(tally.shape[1:], np.nan) for column in ESTIMATED}
    if usable.any():
        for column, values in _estimates(tally[:, usable], confusion, reference, seed, confidence).items():
            cells[column][usable] = values
    return cells


def _estimates(
    tally: np.ndarray, confusion: Confusion, reference: np.ndarray, seed: int, confidence: float
) -> dict[str, np.ndarray]:
    """The columns `ESTIMATED` of some groups, `[group, class]` or `[group, 1]`; `tally` is `[caption, group, seen]`."""
    observed, drawn = tally.sum(axis=0), _resampled(tally, len(confusion.replicates), seed)
    shares, replicates = mixing_shares(observed, confusion.rates), mixing_shares(drawn, confusion.replicates)
    named = ~np.isnan(reference)
    among, among_replicates = (_among(part, named) for part in (shares, replicates))
    n_sources = (tally.sum(axis=2) > 0).sum(axis=0)
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
    pearson = n * (np.square(_normalised(observed) - expected) / expected).sum(axis=1)
    by_captions, by_judge = (
        n * (np.nanvar(noise, axis=0, ddof=1) / expected).sum(axis=1) / (len(reference) - 1)
        for noise in (_normalised(drawn), shares @ confusion.replicates)
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


def _resampled(tally: np.ndarray, n_boot: int, seed: int) -> np.ndarray:
    """Counts of resampled sources, `[replicate, row, seen]`."""
    if not len(tally):
        return np.zeros((n_boot, *tally.shape[1:]))
    flat = tally.reshape(len(tally), -1)
    drawn = np.concatenate([counts @ flat for counts in cluster_counts(len(tally), n_boot, seed)])
    return drawn.reshape(n_boot, *tally.shape[1:])


def _rates(counts: np.ndarray) -> np.ndarray:
    rates = _normalised(counts + PRIOR / counts.shape[-1])
    return np.where(counts.sum(axis=-1, keepdims=True) > 0, rates, np.nan)


def _normalised(values: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        normalised: np.ndarray = values / values.sum(axis=-1, keepdims=True)
    return normalised


def _tally(frame: pd.DataFrame, column: str, rows: pd.Index, classes: Sequence[str]) -> np.ndarray:
    """How many images of each source and row are seen as each class, `[source, row, seen]`; null is not counted."""
    for name, known in ((column, rows), ("seen", pd.Index(list(classes)))):
        unknown = frame.loc[frame[name].notna() & ~frame[name].isin(known), name]
        if len(unknown):
            raise AuditError(f"column {name}: {unknown.iloc[0]!r} is not one of {', '.join(map(str, known))}")
    kept = frame.dropna(subset=[column, "seen"])
    sources, names = pd.factorize(kept["source_id"])
    tally = np.zeros((len(names), len(rows), len(classes)))
    places = rows.get_indexer(kept[column]), pd.Index(list(classes)).get_indexer(kept["seen"])
    np.add.at(tally, (sources, *places), 1)
    return tally


def _checked(reference: Mapping[str, float], classes: Sequence[str]) -> np.ndarray:
    """The reference `[class]`, NaN where it names none."""
    shares = np.array([reference.get(name, np.nan) for name in classes])
    unknown = set(reference) - set(classes)
    if unknown:
        raise AuditError(f"reference: {min(unknown)!r} is not a class; there are {', '.join(classes)}")
    if len(reference) < 2 or min(reference.values()) < 0 or abs(sum(reference.values()) - 1) > 1e-6:
        raise AuditError(f"reference: {dict(reference)} is no distribution: two or more shares that sum to 1")
    return shares
