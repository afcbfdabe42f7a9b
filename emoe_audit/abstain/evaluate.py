"""What abstaining is worth in languages never seen, next to simpler ways of doing it.

A split holds out a quarter of the languages, five at least, and half of the captions. Models learn from the other
captions in the other languages and are measured on held-out captions: in the held-out languages, and for comparison in
the others. Figures, of the confidence that a prompt is good:

- `auprc_recall_0.2`: precision for good, averaged over the recalls up to 0.2, that is the purity of the first fifth of
  the good prompts that would be accepted (the measure of Qu et al., arXiv 2406.01825).
- `auroc`: how often a good prompt lies above a bad one.
- `risk_coverage_0.8`: share of bad prompts among the four fifths that are accepted first.

A figure is the mean over the splits, so that no two models are ranked in one list. A difference of two ways has an
interval by cluster bootstrap: the same captions are drawn for both, and in all splits. It says what other captions
would have shown with the languages held out as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emoe_audit.abstain.abstainer import Abstainer
from emoe_audit.abstain.decision import ACCEPT, REFUSE, TARGET
from emoe_audit.abstain.features import Features
from emoe_audit.abstain.labellers import N_LABELLERS, boosted
from emoe_audit.abstain.matching import match
from emoe_audit.analysis.bootstrap import cluster_counts, percentile_interval
from emoe_audit.analysis.rejection import COVERAGES, AcceptedOrder

METHOD = "expansive matching"
CONTROLS = (
    "one boosted model",
    "labellers without student",
    "student without expansion",
    "all heads on the mean label",
    "score alone",
)
HELD_OUT, MIN_HELD_OUT = 0.25, 5
EARLY = 0.2
COVERAGE = 0.8
SMALLER_IS_BETTER = ("risk_coverage_0.8",)
COLUMNS = ["figure", "control", "method_value", "control_value", "value", "low", "high", "verdict"]
Statistic = Callable[[pd.DataFrame, np.ndarray], np.ndarray]
"""From the rows of one split, with `place` of their captions, and `[replicate, caption]` counts, to `[replicate]`."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Which rows are learned from, and which are measured on."""

    learned: np.ndarray
    unseen: np.ndarray
    """Held-out captions in held-out languages."""
    seen: np.ndarray
    """Held-out captions in the other languages."""

    @classmethod
    def draw(cls, rows: pd.DataFrame, seed: int) -> Split:
        """From rows with `source_id` and `language`."""
        rng = np.random.default_rng(seed)
        captions, languages = (np.sort(rows[column].unique()) for column in ("source_id", "language"))
        n_languages = max(MIN_HELD_OUT, round(HELD_OUT * len(languages)))
        new_caption = rows["source_id"].isin(rng.permutation(captions)[: len(captions) // 2]).to_numpy()
        new_language = rows["language"].isin(rng.permutation(languages)[:n_languages]).to_numpy()
        return cls(
            learned=~new_caption & ~new_language,
            unseen=new_caption & new_language,
            seen=new_caption & ~new_language,
        )


def leave_languages_out(
    features: Features, score: pd.Series, *, n_splits: int = 5, n_labellers: int = N_LABELLERS, seed: int = 0
) -> pd.DataFrame:
    """A row for each split and held-out prompt.

    Columns: `split, source_id, language, unseen, good, decision`, and the confidence of `METHOD` and of each of
    `CONTROLS`.

    Args:
        features: Judged prompts; those that lack a feature or the score are left out.
        score: The score that is refused by alone, of each prompt; high is unsure.
        n_splits: Each draws other languages and captions.
        n_labellers: Of every model.
        seed: Of the first split; the others follow.
    """
    kept = np.isfinite(features.x).all(axis=1) & score.notna().to_numpy()
    whole, refused_by = features.where(kept), score[kept]
    splits = range(seed, seed + n_splits)
    return pd.concat([_measured(whole, refused_by, own, n_labellers) for own in splits], ignore_index=True)


def _measured(features: Features, score: pd.Series, seed: int, n_labellers: int) -> pd.DataFrame:
    split = Split.draw(features.rows, seed)
    learned, tested = features.where(split.learned), features.where(split.unseen | split.seen)
    abstainer = Abstainer.fit(learned, n_labellers=n_labellers, seed=seed)
    decided = abstainer.decide(tested)
    columns = {METHOD: decided["p_good"], **_controls(abstainer, learned, tested, seed)}
    rows = tested.rows[["source_id", "language", "good"]].assign(
        split=seed, decision=decided["decision"], unseen=~tested.rows["language"].isin(abstainer.languages)
    )
    return rows.assign(**columns, **{"score alone": -score[split.unseen | split.seen].to_numpy()})


def _controls(abstainer: Abstainer, learned: Features, tested: Features, seed: int) -> dict[str, np.ndarray]:
    """The confidence of each of `CONTROLS` but the score, from the same directions and labellers."""
    model = abstainer.matching
    z, new = model.projection(learned.x), model.projection(tested.x)
    labelled = model.labellers(new)

    def with_student(**changes: bool) -> np.ndarray:
        heads = match(z, model.labellers, seed=seed, **changes).probabilities(new)
        mean: np.ndarray = np.hstack([labelled, heads]).mean(axis=1)
        return mean

    return {
        "one boosted model": boosted(z, learned.good).probability(0, new),
        "labellers without student": labelled.mean(axis=1),
        "student without expansion": with_student(expansion=False),
        "all heads on the mean label": with_student(own_labels=False),
    }


def figures_of(confidence: str) -> dict[str, Statistic]:
    """The figures of the module's page for a column of confidences."""
    return {
        "auprc_recall_0.2": lambda rows, counts: early_precision(_order(rows, confidence), counts),
        "auroc": lambda rows, counts: _order(rows, confidence).resampled(counts).auroc,
        "risk_coverage_0.8": lambda rows, counts: _risk_at(_order(rows, confidence), counts),
    }


def early_precision(order: AcceptedOrder, counts: np.ndarray, *, recall: float = EARLY) -> np.ndarray:
    """Mean precision for losses of 0 over the recalls up to `recall`, in each replicate `[replicate, cluster]`.

    Precision is constant between two recalls and is that at the higher one, as in average precision, which this is at a
    recall of 1. NaN where a replicate holds none that is good.
    """
    drawn = counts[:, order.clusters]
    rows = np.add.reduceat(drawn, order.starts, axis=1, dtype=np.float64).cumsum(axis=1)
    good = np.add.reduceat(drawn * (1 - order.loss), order.starts, axis=1, dtype=np.float64).cumsum(axis=1)
    precision = np.divide(good, rows, out=np.zeros_like(good), where=rows > 0)
    reached = np.divide(good, good[:, -1:], out=np.full_like(good, np.nan), where=good[:, -1:] > 0)
    gained = np.diff(np.minimum(reached, recall), axis=1, prepend=0.0)
    mean: np.ndarray = (gained * precision).sum(axis=1) / recall
    return mean


def compare(measured: pd.DataFrame, *, n_boot: int = 1000, confidence: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """`METHOD` minus each of `CONTROLS` in languages never seen: one row per figure and control, see `COLUMNS`.

    The verdict is `held` where the interval lies on the better side of 0, `not_held` where it lies on the worse one,
    else `inconclusive`.
    """
    rows, counts = measured[measured["unseen"]], _draws(measured, n_boot, seed)
    methods = {name: figures_of(name) for name in (METHOD, *CONTROLS)}
    drawn = {name: {f: _mean_of_splits(rows, s, counts) for f, s in own.items()} for name, own in methods.items()}
    table = []
    for figure in methods[METHOD]:
        for control in CONTROLS:
            ours, theirs = drawn[METHOD][figure], drawn[control][figure]
            low, high = _ends(ours - theirs, confidence)
            sign = -1 if figure in SMALLER_IS_BETTER else 1
            values = (figure, control, ours[0], theirs[0], ours[0] - theirs[0], low, high)
            table.append((*values, _verdict(*sorted((sign * low, sign * high)))))
    return pd.DataFrame(table, columns=COLUMNS)


def compare_decisions(
    measured: pd.DataFrame, *, target: float = TARGET, n_boot: int = 1000, confidence: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """What the decisions do in languages never seen, next to languages seen, in the form of `compare`.

    - `accepted_share`: of the prompts; compared with that in languages seen, a fact without a verdict.
    - `accepted_risk`: share of bad ones among the accepted; `held` where it is surely at most the target.
    - `good_refused`: share of the good prompts that are refused; `held` where languages never seen surely lose no more
      of them than languages seen do, `not_held` where they surely lose more.
    """
    counts = _draws(measured, n_boot, seed)
    new, old = measured[measured["unseen"]], measured[~measured["unseen"]]
    accepted, missed = (
        (_mean_of_splits(new, own, counts), _mean_of_splits(old, own, counts))
        for own in (_accepted_share, _good_refused)
    )
    risk = _mean_of_splits(new, _accepted_risk, counts)
    cases: list[tuple[str, str, np.ndarray, np.ndarray]] = [
        ("accepted_share", "languages seen", *accepted),
        ("accepted_risk", "target", risk, np.full_like(risk, target)),
        ("good_refused", "languages seen", *missed),
    ]
    table = []
    for figure, control, ours, theirs in cases:
        low, high = _ends(ours - theirs, confidence)
        verdict = "" if figure == "accepted_share" else _verdict(-high, -low)
        table.append((figure, control, ours[0], theirs[0], ours[0] - theirs[0], low, high, verdict))
    return pd.DataFrame(table, columns=COLUMNS)


def _draws(measured: pd.DataFrame, n_boot: int, seed: int) -> np.ndarray:
    """Counts `[replicate, caption]`, the first one as observed."""
    n = measured["source_id"].nunique()
    return np.concatenate([np.ones((1, n)), *cluster_counts(n, n_boot, seed)]).astype(np.uint8)


def _mean_of_splits(rows: pd.DataFrame, statistic: Statistic, counts: np.ndarray) -> np.ndarray:
    """`[replicate]`; a split in which a replicate is undefined has no part in it."""
    placed = rows.assign(place=np.unique(rows["source_id"], return_inverse=True)[1])
    found = np.stack([statistic(own, counts) for _, own in placed.groupby("split")])
    defined = ~np.isnan(found)
    summed, n = np.where(defined, found, 0).sum(axis=0), defined.sum(axis=0)
    mean: np.ndarray = np.divide(summed, n, out=np.full(len(summed), np.nan), where=n > 0)
    return mean


def _order(rows: pd.DataFrame, confidence: str) -> AcceptedOrder:
    return AcceptedOrder.of(-rows[confidence].to_numpy(), 1 - rows["good"].to_numpy(), rows["place"].to_numpy())


def _risk_at(order: AcceptedOrder, counts: np.ndarray) -> np.ndarray:
    risk: np.ndarray = order.resampled(counts).curve[:, np.flatnonzero(np.isclose(COVERAGES, COVERAGE))[0]]
    return risk


def _accepted_share(rows: pd.DataFrame, counts: np.ndarray) -> np.ndarray:
    return _share(rows, counts, rows["decision"] == ACCEPT, rows["decision"].notna())


def _accepted_risk(rows: pd.DataFrame, counts: np.ndarray) -> np.ndarray:
    accepted = rows["decision"] == ACCEPT
    return _share(rows, counts, accepted & (rows["good"] == 0), accepted)


def _good_refused(rows: pd.DataFrame, counts: np.ndarray) -> np.ndarray:
    good = rows["good"] == 1
    return _share(rows, counts, good & (rows["decision"] == REFUSE), good)


def _share(rows: pd.DataFrame, counts: np.ndarray, part: pd.Series, whole: pd.Series) -> np.ndarray:
    drawn = counts[:, rows["place"]].astype(np.float64)
    of = drawn @ whole.to_numpy(dtype=np.float64)
    share: np.ndarray = np.divide(
        drawn @ part.to_numpy(dtype=np.float64), of, out=np.full(len(of), np.nan), where=of > 0
    )
    return share


def _ends(replicates: np.ndarray, confidence: float) -> tuple[float, float]:
    """Of the replicates but the first, which is what was observed."""
    low, high = percentile_interval(replicates[1:], confidence)
    return float(low[0]), float(high[0])


def _verdict(low: float, high: float) -> str:
    """Of an interval that is better the higher it lies."""
    if low > 0:
        return "held"
    return "not_held" if high < 0 else "inconclusive"
