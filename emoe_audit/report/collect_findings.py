"""The statistics of a run become findings: rows of its analysis tables, named and ordered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

import pandas as pd

from emoe_audit.analysis.rows import records, to_float
from emoe_audit.analysis.summary import SCORES
from emoe_audit.decisions.ranking import ranks_by_images
from emoe_audit.report.findings import (
    Abstention,
    Adjusted,
    AgainstReal,
    Confounder,
    Depicted,
    ExpertUse,
    Gap,
    GapTable,
    ImageAgreement,
    Refusal,
    RefusalTable,
    RiskPoint,
    Spread,
)
from emoe_audit.report.labels import group_label
from emoe_audit.runs.store import RunStore

T = TypeVar("T")

REFUSALS = """
    SELECT r.*, t.threshold, t.accepted_share AS own_accepted, t.target, t.delta, t.verdict,
           u.accepted_share AS accepted, u.difference, u.p_bh, u.verdict AS trust, u.pooled_auroc, u.selection_ratio
    FROM rejection r JOIN thresholds t USING (score, "by", "group") LEFT JOIN trust u USING (score, "by", "group")
    WHERE score = ? ORDER BY "by", "group"
"""
AGAINST_REAL = """
    SELECT b.*, k.kid, k.kid_sd FROM judge_bias b LEFT JOIN kid k USING ("by", "group")
    ORDER BY b."by", b.reference_rank / b.chance_rank DESC, b."group"
"""
DIVERGENCE = ("layer", "divergence", "expected", "p", "p_by")
CURVES = 'SELECT * FROM rejection_curves WHERE score = ? ORDER BY "by", "group", coverage'


def gap_tables(store: RunStore, columns: Sequence[str], measures: Sequence[str]) -> tuple[GapTable, ...]:
    """The gaps of every group column in the ranking score and in image quality, where they were measured."""
    gaps, spread = store.query("SELECT * FROM gaps"), store.query("SELECT * FROM disparity")
    pairs = [(by, measure) for by in columns for measure in measures]
    return tuple(
        gap_table(by, measure, _of(gaps, by, measure), _of(spread, by, measure))
        for by, measure in pairs
        if len(_of(gaps, by, measure))
    )


def gap_table(by: str, measure: str, gaps: pd.DataFrame, spread: pd.DataFrame | None = None) -> GapTable:
    """Rows as `analysis.gaps` gives them, the largest gap to the worse first; how unequal the groups are, if known."""
    worse = -1 if measure in SCORES else 1
    order = (worse * gaps["difference"]).argsort(kind="stable")
    named = gaps.assign(label=[group_label(by, group) for group in gaps["group"]]).iloc[order]
    figures = () if spread is None else rows_as(spread, Spread)
    return GapTable(
        by=by, title=f"By {by.replace('_', ' ')}", measure=measure, gaps=rows_as(named, Gap), spread=figures
    )


def confounders(store: RunStore, measures: Sequence[str]) -> tuple[Confounder, ...]:
    """What covariates explain of these measures."""
    frame = store.query("SELECT * FROM confounders WHERE list_contains(?, measure)", [list(measures)])
    return rows_as(frame, Confounder)


def adjusted(store: RunStore, ranking: str) -> tuple[Adjusted, ...]:
    """Every language at equal token counts in the ranking score, the largest difference first."""
    frame = store.query("SELECT * FROM adjusted WHERE measure = ?", [ranking])
    frame = frame.sort_values("difference", ascending=ranks_by_images(ranking), kind="stable", na_position="last")
    return rows_as(frame.assign(label=[group_label("language", group) for group in frame["group"]]), Adjusted)


def against_real(store: RunStore) -> tuple[AgainstReal, ...]:
    """Every group against real images, where the run has any; the group that the judge reads worst first."""
    if not store.has_analysis("judge_bias"):
        return ()
    frame = store.query(AGAINST_REAL)
    return rows_as(_labelled(frame), AgainstReal)


def image_agreements(store: RunStore) -> tuple[ImageAgreement, ...]:
    """Whether the images of translations show the same, by language, the language in which they do least first."""
    if not store.has_analysis("image_bounds"):
        return ()
    frame = store.query("SELECT * FROM image_bounds ORDER BY agreement NULLS LAST, language")
    labels = [group_label("language", language) for language in frame["language"]]
    return rows_as(frame.assign(label=labels), ImageAgreement)


def expert_use(store: RunStore) -> tuple[ExpertUse, ...]:
    """The layers of an ensemble from one checkpoint, those in which languages differ most first."""
    if not store.has_analysis("expert_use"):
        return ()
    layers = store.query("SELECT * FROM expert_use_divergence WHERE language = '' ORDER BY divergence - expected DESC")
    drawn = store.query("SELECT * FROM expert_use WHERE layer = ?", [layers["layer"].iloc[0]])
    shares = drawn.pivot(index="language", columns="expert", values="share")
    labels = tuple(group_label("language", str(language)) for language in shares.index)
    found = [ExpertUse(**{name: row[name] for name in DIVERGENCE}) for row in layers.to_dict("records")]
    values = tuple(tuple(map(float, row)) for row in shares.to_numpy())
    return (replace(found[0], languages=labels, shares=values), *found[1:])


def abstention(store: RunStore) -> tuple[Abstention, ...]:
    """How often each group is refused, where a model has decided on the run, most refused first."""
    if not store.has_analysis("abstention"):
        return ()
    return rows_as(_labelled(store.query("SELECT * FROM abstention ORDER BY abstained DESC NULLS LAST")), Abstention)


def who_is_depicted(store: RunStore) -> tuple[Depicted, ...]:
    """Who the images show, where that was asked, all images first."""
    if not store.has_analysis("depicted"):
        return ()
    return rows_as(_labelled(store.query("SELECT * FROM depicted").rename(columns={"class": "class_"})), Depicted)


def refusal_tables(store: RunStore, columns: Sequence[str], ranking: str) -> tuple[RefusalTable, ...]:
    """What refusing by the ranking score does, by group column; nothing where no image was judged."""
    frame, curves = store.query(REFUSALS, [ranking]), store.query(CURVES, [ranking])
    if frame.empty:
        return ()
    points = {key: rows_as(part, RiskPoint) for key, part in curves.groupby(["by", "group"])}
    overall = _refusal(frame[frame["by"] == ""].iloc[0], points)
    return tuple(
        _refusal_table(by, ranking, frame[frame["by"] == by], overall, points)
        for by in columns
        if (frame["by"] == by).any()
    )


def _refusal_table(
    by: str, ranking: str, own: pd.DataFrame, overall: Refusal, points: Mapping[Any, tuple[RiskPoint, ...]]
) -> RefusalTable:
    first = own.iloc[0]
    return RefusalTable(
        by=by,
        title=f"By {by.replace('_', ' ')}",
        score=ranking,
        target=float(first.target),
        delta=float(first.delta),
        overall=overall,
        groups=tuple(_refusal(row, points) for _, row in own.sort_values("risk_all", ascending=False).iterrows()),
        trust=str(first.trust),
        pooled_auroc=to_float(first.pooled_auroc),
        selection_ratio=to_float(first.selection_ratio),
    )


def _refusal(row: pd.Series, points: Mapping[Any, tuple[RiskPoint, ...]]) -> Refusal:
    values: dict[str, Any] = {f.name: to_float(row[f.name]) for f in fields(Refusal) if f.type == "float"}
    values |= {name: int(row[name]) for name in ("n_prompts", "n_sources")}
    label, curve = group_label(row["by"], row["group"]) or "All prompts", points[(row["by"], row["group"])]
    return Refusal(group=row["group"], label=label, verdict=row["verdict"], curve=curve, **values)


def rows_as(frame: pd.DataFrame, kind: type[T]) -> tuple[T, ...]:
    """Each row as a dataclass whose fields are named as the columns; what is missing in a text column is None."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    texts = {name for name in names if not pd.api.types.is_numeric_dtype(frame[name])}
    return tuple(kind(**{name: _plain(getattr(row, name), name in texts) for name in names}) for row in records(frame))


def _labelled(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(label=[group_label(by, group) for by, group in zip(frame["by"], frame["group"], strict=True)])


def _of(frame: pd.DataFrame, by: str, measure: str) -> pd.DataFrame:
    return frame[(frame["by"] == by) & (frame["measure"] == measure)]


def _plain(value: Any, is_text: bool) -> Any:
    if is_text:
        return None if pd.isna(value) else str(value)
    return value.item() if hasattr(value, "item") else value
