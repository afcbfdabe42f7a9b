"""Refusing by a score: what is left at risk, up to which score the risk is bounded, and for whom the score holds.

The loss of a prompt is 1 where its image does not show what was meant: where the source caption is not among the
judge's first `TOP` of `N_CANDIDATES` captions, the others the same for all prompts (`emoe_audit.quality.candidates`).
An image that has nothing to do with its caption fails with the probability `CHANCE`, in a run of any size. Prompts that
were not judged, or not scored, say nothing here and are left out.

What risk may be asked for depends on the run: no refusal gets one below that of its surest prompts. Where no target is
given, it is half of the risk of all, in steps of `STEP`: an accepted prompt fails half as often as any. A target that
moves with the data it is tested on would break the guarantee, so it is taken from a tenth of the captions, drawn at
random, and thresholds are learned from the other captions only.

A score is equally trustworthy for every group where it tells failures from the rest of the group as well in each: the
AUROC within a group depends neither on how often the group fails nor on how high its scores lie. It is set against the
pooled one, over the pairs of a failure and a success of the same group. A difference is tested with its standard error
over the bootstrap replicates (t, see `scopes`), all groups in the same replicates. Groups are `equal` where every one
tested is surely within `MARGIN` of the pooled one (two one-sided tests, Schuirmann 1987, of which all have to pass),
`unequal` where one surely differs (p-values adjusted after Benjamini and Hochberg 1995), else `unclear`.

Being trusted alike does not mean being accepted alike: a group that fails more is refused more. So each has its share
of prompts accepted at the threshold of all, and the smallest share over the largest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from emoe_audit.analysis.disparity import MIN_SOURCES
from emoe_audit.analysis.multiplicity import adjusted
from emoe_audit.analysis.rejection import COVERAGES, RejectionFigures, area_under_risk_coverage
from emoe_audit.analysis.risk_control import controlled_by_group, controlled_threshold
from emoe_audit.analysis.scopes import Scope, scopes

TOP, N_CANDIDATES = 10, 100
"""An image fails when its source caption is not among the judge's first ten of a hundred captions."""
CHANCE = 1 - TOP / N_CANDIDATES
"""The share of images that fail where a caption's place is drawn at random."""
PILOT_SHARE, PART_OF_RISK, STEP = 0.1, 0.5, 0.05
"""The share of captions that set the target, what part of their risk it is, and what it is a multiple of."""
MARGIN = 0.1
"""A difference in AUROC too small to matter."""
CERTIFIED = "certified"
TOO_RISKY = "risk above target everywhere"
TOO_FEW = "no threshold can be certified: {n} captions are too few"
COLUMNS = {
    "rejection_curves": ["score", "by", "group", "coverage", "risk", "low", "high"],
    "rejection": [
        *("score", "by", "group", "n_prompts", "n_sources", "risk_all", "aurc", "aurc_low", "aurc_high", "aurc_best"),
        *("prr", "prr_low", "prr_high", "auroc", "auroc_low", "auroc_high"),
    ],
    "thresholds": [
        *("score", "by", "group", "threshold", "accepted_share", "empirical_risk", "n_clusters"),
        *("target", "delta", "verdict"),
    ],
    "trust": [
        *("score", "by", "group", "n_prompts", "n_sources", "n_failed", "auroc", "auroc_low", "auroc_high"),
        *("pooled_auroc", "difference", "difference_low", "difference_high", "p", "p_bh"),
        *("accepted_share", "selection_ratio", "verdict"),
    ],
}


def refusal_tables(
    results: pd.DataFrame,
    score: str,
    *,
    by: Sequence[str],
    target: float | None = None,
    delta: float = 0.1,
    n_boot: int = 200,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, pd.DataFrame]:
    """The tables named in `COLUMNS`; all are empty where nothing was judged.

    - `rejection_curves`: the risk of what is accepted, at `COVERAGES`.
    - `rejection`: the risk of all, the area under that curve and that of the best order, and how well the score tells
      failures apart. Losses are 0 or 1, so `prr` is 2 AUROC - 1, see `prediction_rejection_ratio`.
    - `thresholds`: of `controlled_threshold`, for all prompts and for the groups of each column; `delta` holds for all
      prompts, and for all the groups of one column together. The verdict is `CERTIFIED`, `TOO_RISKY` where the risk is
      above the target at each of `COVERAGES`, else `TOO_FEW`.
    - `trust`: see the module. Verdict, pooled AUROC and selection ratio are of the column `by`, the same in all its
      rows. What the threshold of all prompts accepts is NaN where there is none.

    The rows of all prompts come first and have empty `by` and `group`. A group with fewer than `MIN_SOURCES` captions
    has NaN, and no part in verdicts.

    Args:
        results: A row per prompt, with `source_id`; `source_rank` where images were judged.
        score: The column that is refused by; high is unsure.
        by: Group columns.
        target: Share of the accepted that may fail; by default about half of the share of all, see the module.
        delta: Probability of a threshold that breaks its promise.
        n_boot: Bootstrap replicates, see `scopes`.
        confidence: Of the intervals; 1 - confidence is the level of the verdict on trust.
        seed: Of the resampling and of the order in which captions are bet on.

    Raises:
        AuditError: `target` or `delta` is not between 0 and 1.
    """
    rows = judged(results, score, by)
    if rows.empty:
        return {name: pd.DataFrame(columns=columns) for name, columns in COLUMNS.items()}
    found = list(scopes(rows, by, n_boot=n_boot, confidence=confidence, seed=seed))
    thresholds = _thresholds(rows, found, target=target, delta=delta, seed=seed)
    tables = {
        "rejection_curves": pd.concat([_curve(scope) for scope in found], ignore_index=True),
        "rejection": pd.DataFrame([_rejection(scope) for scope in found]),
        "thresholds": thresholds,
        "trust": _trust_by_column(found, by, float(thresholds["threshold"].iloc[0])),
    }
    return _published(tables, score)


def _published(tables: Mapping[str, pd.DataFrame], score: str) -> dict[str, pd.DataFrame]:
    """The tables with their `COLUMNS`, in order."""
    return {
        name: tables[name].assign(score=score).reindex(columns=columns).reset_index(drop=True)
        for name, columns in COLUMNS.items()
    }


def judged(results: pd.DataFrame, score: str, by: Sequence[str]) -> pd.DataFrame:
    """The rows with a score and a judged image: `score, loss`, `source_id` as a number, groups and languages as text.

    A group is None where there is none. The numbers are in the order of the ids.
    """
    if "source_rank" not in results:
        return pd.DataFrame(columns=["score", "loss", "source_id", *by])
    rows = results.dropna(subset=[score, "source_rank", "source_id"])
    kept = [column for column in dict.fromkeys((*by, "language")) if column in rows]
    groups = {column: rows[column].astype(str).where(rows[column].notna(), None) for column in kept}
    failed = (rows["source_rank"] > TOP).astype(np.float64)
    source = pd.factorize(rows["source_id"], sort=True)[0]
    columns = {"score": rows[score].astype(np.float64), "loss": failed, "source_id": source}
    return pd.DataFrame(columns | groups).reset_index(drop=True)


def _curve(scope: Scope) -> pd.DataFrame:
    low, high = scope.interval(attrgetter("curve"))
    risk = scope.observed.curve[0] if scope.is_shown else np.nan
    names = {"by": scope.by, "group": scope.group}
    return pd.DataFrame({**names, "coverage": COVERAGES, "risk": risk, "low": low, "high": high})


def _rejection(scope: Scope) -> dict[str, Any]:
    counts = {"n_prompts": len(scope.rows), "n_sources": scope.n_sources}
    names = {"by": scope.by, "group": scope.group} | counts
    if not scope.is_shown:
        return names
    loss = scope.rows["loss"].to_numpy()
    figures = {"risk_all": float(scope.observed.risk[0]), "aurc_best": area_under_risk_coverage(loss, loss)}
    for name in ("aurc", "auroc"):
        low, high = scope.interval(attrgetter(name))
        value = getattr(scope.observed, name)[0]
        figures |= {name: float(value), f"{name}_low": float(low), f"{name}_high": float(high)}
    for end in ("", "_low", "_high"):
        figures[f"prr{end}"] = 2 * figures[f"auroc{end}"] - 1
    return names | figures


def _thresholds(
    rows: pd.DataFrame, scopes: Sequence[Scope], *, target: float | None, delta: float, seed: int
) -> pd.DataFrame:
    """The certified threshold of every scope; groups that are not shown have no part in the shared `delta`."""
    if target is None:
        target, rows = _half_of_the_risk(rows, seed)
    options: dict[str, Any] = {"target": target, "delta": delta, "seed": seed}
    found = {("", ""): asdict(controlled_threshold(rows["score"], rows["loss"], rows["source_id"], **options))}
    for column in dict.fromkeys(scope.by for scope in scopes if scope.by):
        shown = [scope.group for scope in scopes if scope.by == column and scope.is_shown]
        table = controlled_by_group(rows[rows[column].isin(shown)], column, **options)
        found |= {(column, row["group"]): row for row in table.to_dict("records")}
    table = [_threshold(scope, found.get((scope.by, scope.group), {}), target) for scope in scopes]
    return pd.DataFrame(table).assign(target=target, delta=delta)


def _half_of_the_risk(rows: pd.DataFrame, seed: int) -> tuple[float, pd.DataFrame]:
    """A target, and the rows of the captions that it was not taken from."""
    n_sources = int(rows["source_id"].max()) + 1
    pilot = np.random.default_rng(seed).permutation(n_sources)[: math.ceil(PILOT_SHARE * n_sources)]
    is_pilot = rows["source_id"].isin(pilot)
    steps = round(PART_OF_RISK * rows.loc[is_pilot, "loss"].mean() / STEP)
    return round(max(1, steps) * STEP, 2), rows[~is_pilot]


def _threshold(scope: Scope, control: Mapping[str, Any], target: float) -> dict[str, Any]:
    """One row of `thresholds`, from the fields of `RiskControl`, or none where nothing was learned."""
    row = {"by": scope.by, "group": scope.group, "n_clusters": control.get("n_clusters", scope.n_sources)}
    row |= {name: control.get(name, np.nan) for name in ("threshold", "accepted_share", "empirical_risk")}
    too_risky = scope.n_sources >= MIN_SOURCES and (scope.observed.curve > target).all()
    failed = TOO_RISKY if too_risky else TOO_FEW.format(n=row["n_clusters"])
    return row | {"verdict": CERTIFIED if np.isfinite(row["threshold"]) else failed}


def _trust_by_column(scopes: Sequence[Scope], by: Sequence[str], threshold: float) -> pd.DataFrame:
    by_column = [[scope for scope in scopes if scope.by == column] for column in by]
    return pd.concat([_trust(groups, threshold) for groups in by_column if groups] or [pd.DataFrame()])


def _trust(groups: Sequence[Scope], threshold: float) -> pd.DataFrame:
    """One row for each group of a column, from its own AUROC and the pooled one, in the same replicates."""
    shown = [scope for scope in groups if scope.is_shown]
    pooled = float(_pooled([scope.observed for scope in shown])[0])
    n_ways = max(len(scope.resampled) for scope in groups)
    drawn = [_pooled([scope.resampled[min(way, len(scope.resampled) - 1)] for scope in shown]) for way in range(n_ways)]
    table = pd.DataFrame([_group_trust(scope, pooled, drawn, threshold) for scope in groups])
    table["p_bh"] = adjusted(table["p"], "bh")
    share = table["accepted_share"]
    return table.assign(
        pooled_auroc=pooled,
        selection_ratio=share.min() / share.max() if share.max() > 0 else np.nan,
        verdict=_verdict(table, 1 - groups[0].confidence),
    )


def _pooled(figures: Sequence[RejectionFigures]) -> np.ndarray:
    """AUROC over the pairs of a failure and a success in the same group, `[replicate]`."""
    won, pairs = (np.sum([getattr(own, name) for own in figures] or [[0.0]], axis=0) for name in ("won", "pairs"))
    return np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0)


def _group_trust(scope: Scope, pooled: float, drawn: Sequence[np.ndarray], threshold: float) -> dict[str, Any]:
    """`drawn` are the replicates of the pooled AUROC, of each way."""
    row: dict[str, Any] = {"by": scope.by, "group": scope.group}
    row |= {"n_prompts": len(scope.rows), "n_sources": scope.n_sources, "p": np.nan, "p_equivalent": np.nan}
    if not scope.is_shown:
        return row | {"accepted_share": np.nan}
    auroc = float(scope.observed.auroc[0])
    low, high = scope.interval(attrgetter("auroc"))
    difference = auroc - pooled
    pairs = zip(scope.resampled, drawn, strict=False)
    error, freedom = map(float, scope.error([own.auroc - reference for own, reference in pairs]))
    half = t.isf((1 - scope.confidence) / 2, freedom) * error
    accepted = float((scope.rows["score"] <= threshold).mean()) if np.isfinite(threshold) else np.nan
    return row | {
        "n_failed": int(scope.rows["loss"].sum()),
        "auroc": auroc,
        "auroc_low": float(low),
        "auroc_high": float(high),
        "difference": difference,
        "difference_low": difference - half,
        "difference_high": difference + half,
        "p": 2 * t.sf(abs(difference) / error, freedom),
        "p_equivalent": t.sf((MARGIN - abs(difference)) / error, freedom),
        "accepted_share": accepted,
    }


def _verdict(table: pd.DataFrame, level: float) -> str:
    tested = table.dropna(subset="p")
    if len(tested) > 1 and (tested["p_equivalent"] <= level).all():
        return "equal"
    return "unequal" if len(tested) > 1 and (tested["p_bh"] <= level).any() else "unclear"
