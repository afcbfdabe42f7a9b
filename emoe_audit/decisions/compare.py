"""Two runs compared: which groups rose and which fell in the ranking of the prompts that both scored.

Scores of two ensembles have no common scale: how large a variance between experts is depends on which experts they
are and on the magnitude of their features, and no factor takes that out. What can be compared is the order. So each
run's score becomes a rank among the common prompts, as a share from 0 to 1, and a prompt's difference is its rank in B
minus its rank in A. The price: ranks say nothing of all prompts together. Differences sum to 0, so that where one group
rises, others fall, and an ensemble that is less sure of everything looks the same as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np
import pandas as pd

from emoe_audit.analysis.groups import group_estimates
from emoe_audit.analysis.multiplicity import adjusted
from emoe_audit.analysis.permutation import N_PERMUTATIONS, sign_flip_p
from emoe_audit.analysis.rows import records
from emoe_audit.analysis.skewed import MIN_FOR_INTERVAL
from emoe_audit.analysis.summary import MEASURES, QUALITY, SOURCE_QUALITY
from emoe_audit.decisions.comparison import ComparedRun, Comparison, GroupChange, ImagePair, Outcome
from emoe_audit.decisions.ranking import count_values, quality_measure, ranking_score, read_validity
from emoe_audit.errors import StoreError
from emoe_audit.runs.columns import group_columns_of
from emoe_audit.runs.manifest import published
from emoe_audit.runs.query import known_column
from emoe_audit.runs.sql import identifier, joined, sql
from emoe_audit.runs.store import RunStore

PAIRED_BY = ["prompt", "language", "source_id"]
PAIRED_ROWS = """
    SELECT {key}, {named} FROM results
    QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY prompt_id) = 1 ORDER BY {key}
"""
RANK = "source_rank"
"""The place of a source caption among others; a prompt whose place is low is misread."""
MAX_PAIRS = 12


def compare_runs(
    a: RunStore,
    b: RunStore,
    *,
    by: str = "language",
    score: str | None = None,
    fdr: float = 0.1,
    n_permutations: int = N_PERMUTATIONS,
    seed: int = 0,
) -> Comparison:
    """Pair the prompts of two runs, rank them in each, and test every group's mean change of rank.

    Args:
        a: The run to start from; its group column is used.
        b: The run to compare with it.
        by: A group column.
        score: A measure of both runs, or `RANK`; by default the score that ranks run A, or where one of them was not
            scored the quality of images.
        fdr: The expected share of false alarms among the groups that are said to have risen or fallen.
        n_permutations: Draws of signs for the p-values.
        seed: Of these draws.

    Raises:
        StoreError: a run is unfinished, the score or the group column is not there, no prompt is in both, images were
            judged by different judges, or ranks are asked for that are not among the same captions.
    """
    check_finished(a, b)
    score = choose_score(a, b, score)
    check_group_column(a, by)
    rows_a, rows_b = _rows(a, score=score, image="image", group=by), _rows(b, score=score, image="image")
    both = pair(rows_a, rows_b)
    check_common(both, a, b, score=score, by=by)
    ranked = rank(both.dropna(subset=["group"]))
    groups = group_changes(ranked, fdr=fdr, n_permutations=n_permutations, seed=seed)
    return Comparison(
        a=ComparedRun(path=a.path, ensemble=a.plan().ensemble.name),
        b=ComparedRun(path=b.path, ensemble=b.plan().ensemble.name),
        score=score,
        by=by,
        n_prompts=len(ranked),
        n_only_a=len(rows_a) - len(both),
        n_only_b=len(rows_b) - len(both),
        fdr=fdr,
        groups=groups,
        pairs=image_pairs(ranked, groups),
    )


def check_finished(*stores: RunStore) -> None:
    """Raise `StoreError` for a run that is not finished: what it lacks would count as a difference."""
    for store in stores:
        if not store.is_complete:
            raise StoreError(f"{store.path}: the run is not finished; finish it first: {store.plan().command}")


def choose_score(a: RunStore, b: RunStore, score: str | None) -> str:
    """The score asked for, or the one that ranks run A, or the quality of images where one run was not scored.

    Raises:
        StoreError: not both runs measured it, or not alike.
    """
    measured = {store.path: _measured(store) for store in (a, b)}
    chosen = score or ranking_score(a, read_validity(a))
    if score is None and not (a.plan().is_scored and b.plan().is_scored):
        wanted = (quality_measure(a), SOURCE_QUALITY, *QUALITY)
        chosen = next((name for name in wanted if all(name in known for known in measured.values())), wanted[0])
    for path, own in measured.items():
        if chosen not in own:
            common = [name for name in measured[a.path] if name in measured[b.path]]
            raise StoreError(f"{path}: no score {chosen!r} was measured; {_choice('--score', chosen, common)}")
    if chosen == RANK:
        check_candidates(a, b)
    if chosen in (*QUALITY, RANK):
        check_judges(a, b)
    return chosen


def check_candidates(a: RunStore, b: RunStore) -> None:
    """Raise `StoreError` where two runs rank source captions among different others: their risks do not compare."""
    before, now = a.plan(), b.plan()
    if before.candidates_hash != now.candidates_hash:
        raise StoreError(
            f"{a.path} ranks source captions among {before.n_candidates} captions ({before.candidates_hash[:8]}) and "
            f"{b.path} among {now.n_candidates} others ({now.candidates_hash[:8]}), so neither ranks nor shares of "
            "misread prompts can be compared; draw both with ensembles of the same captions"
        )


def check_judges(a: RunStore, b: RunStore) -> None:
    """Raise `StoreError` where two runs had their images judged by different judges."""
    before, now = (published(own.plan()).ensemble.judge for own in (a, b))
    if before != now:
        raise StoreError(
            f"the images of {a.path} were judged by {before} and those of {b.path} by {now}, so neither cosines nor "
            "ranks can be compared; give both runs the same --judge"
        )


def check_group_column(store: RunStore, by: str) -> None:
    """Raise `StoreError` unless the prompts can be grouped by this column."""
    known = group_columns_of(store)
    if by not in known:
        raise StoreError(f"{store.path}: no group column {by!r}; {_choice('--by', by, known)}")


def check_common(both: pd.DataFrame, a: RunStore, b: RunStore, *, score: str, by: str) -> None:
    """Raise `StoreError` where the runs have no prompt with this score in common, or none of a group."""
    if both.empty:
        raise StoreError(
            f"{a.path} and {b.path} have no prompt with {score} in common; prompts are the same where prompt, language "
            "and source_id are: score one table with both ensembles"
        )
    if both["group"].isna().all():
        raise StoreError(f"{a.path}: no prompt that both runs scored has a value in column {by!r}; choose another --by")


def pair(rows_a: pd.DataFrame, rows_b: pd.DataFrame) -> pd.DataFrame:
    """The prompts in both runs, with `score_a` and `score_b`."""
    return rows_a.merge(rows_b, on=PAIRED_BY, suffixes=("_a", "_b"), validate="one_to_one")


def rank(both: pd.DataFrame) -> pd.DataFrame:
    """The prompts with `rank_a`, `rank_b`, their `difference`, which is above 0 for a rise, and the group as text."""
    rank_a, rank_b = rank_shares(both["score_a"]), rank_shares(both["score_b"])
    return both.assign(rank_a=rank_a, rank_b=rank_b, difference=rank_b - rank_a, group=both["group"].astype(str))


def rank_shares(scores: pd.Series) -> pd.Series:
    """The share of prompts that score lower, ties and the prompt itself counted half; its mean is 1/2."""
    return (scores.rank() - 0.5) / max(1, len(scores))


def group_changes(
    rows: pd.DataFrame, *, fdr: float, n_permutations: int = N_PERMUTATIONS, seed: int = 0
) -> tuple[GroupChange, ...]:
    """The change of every group, largest rise first; groups of fewer than `MIN_FOR_INTERVAL` captions are not tested.

    Adjusted p-values are those of Benjamini and Hochberg 1995 and of Benjamini and Yekutieli 2001; the former decide,
    the latter hold whatever the dependence of the groups. Intervals, like p-values, are of the group's mean minus the
    mean over all rows, which is 0 here but not in a resample.
    """
    table = group_estimates(rows, "group", "difference")
    p = sign_flip_p(
        rows["difference"], rows["group"], rows["source_id"], n_permutations=n_permutations, seed=seed
    ).reindex(table["group"])
    tested = (table["n_sources"] >= MIN_FOR_INTERVAL).to_numpy()
    table["p"] = np.where(tested, p.to_numpy(), np.nan)
    for method in ("bh", "by"):
        table[f"p_{method}"] = adjusted(table["p"], method)
    table = table.sort_values(["mean", "group"], ascending=[False, True])
    return tuple(
        GroupChange(
            group=r.group,
            n_prompts=int(r.n_prompts),
            n_sources=int(r.n_sources),
            difference=float(r.mean),
            low=float(r.gap_low),
            high=float(r.gap_high),
            p=float(r.p),
            p_bh=float(r.p_bh),
            p_by=float(r.p_by),
            verdict=_verdict(r.mean, r.p_bh, fdr),
        )
        for r in records(table)
    )


def image_pairs(rows: pd.DataFrame, groups: Sequence[GroupChange]) -> tuple[ImagePair, ...]:
    """Prompts of which both runs hold an image: those of groups with a clear change first, then by change of rank."""
    clear = {change.group for change in groups if change.is_clear}
    drawn = rows.dropna(subset=["image_a", "image_b"])
    order = drawn.assign(clear=drawn["group"].isin(clear), size=drawn["difference"].abs().round(12))
    order = order.sort_values(["clear", "size", *PAIRED_BY], ascending=[False, False, True, True, True])
    return tuple(
        ImagePair(
            prompt=r.prompt,
            language=r.language,
            group=r.group,
            rank_a=float(r.rank_a),
            rank_b=float(r.rank_b),
            image_a=r.image_a,
            image_b=r.image_b,
        )
        for r in records(order.head(MAX_PAIRS))
    )


def _verdict(difference: float, p_bh: float, fdr: float) -> Outcome:
    if np.isnan(p_bh):
        return "not tested"
    if p_bh > fdr:
        return "no clear change"
    return "rose" if difference > 0 else "fell"


def _measured(store: RunStore) -> list[str]:
    """The measures that a run has values of."""
    columns = store.columns()
    known = [name for name in (*MEASURES, RANK, *store.ratings()) if name in columns]
    counts = count_values(store, [known_column(name, columns, store.path) for name in known])
    return [name for name, n in zip(known, counts, strict=True) if n]


def _rows(store: RunStore, *, score: str, **columns: str) -> pd.DataFrame:
    """One row for each prompt that has this score, in a fixed order; the first by id of rows that are the same."""
    chosen, known = {"score": score, **columns}, store.columns()
    named = joined(
        sql("{c} AS {alias}", c=known_column(name, known, store.path), alias=identifier(alias))
        for alias, name in chosen.items()
    )
    return store.query(sql(PAIRED_ROWS, named=named, key=joined(map(identifier, PAIRED_BY)))).dropna(subset=["score"])


def _choice(option: str, name: str, known: Sequence[str]) -> str:
    """What can be given instead, the nearest first."""
    nearest = get_close_matches(name, known, n=1)
    others = [other for other in known if other not in nearest]
    return f"give {option} {' or '.join([*nearest, *others])}" if known else "there is none to choose from"
