"""A run becomes report data: every number is read through the store, aggregated there, never row by row."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pandas as pd

from emoe_audit.analysis.intervals import Estimate
from emoe_audit.analysis.rows import records, to_float
from emoe_audit.analysis.summary import COVERAGE
from emoe_audit.decisions.evidence import read_standing
from emoe_audit.decisions.judged import read_judge
from emoe_audit.decisions.ranking import quality_measure, ranking_score, ranks_by_images, read_validity
from emoe_audit.errors import StoreError
from emoe_audit.report.cloud import collect_clouds
from emoe_audit.report.collect_company import read_company
from emoe_audit.report.collect_findings import (
    abstention,
    adjusted,
    against_real,
    confounders,
    expert_use,
    gap_tables,
    image_agreements,
    refusal_tables,
    who_is_depicted,
)
from emoe_audit.report.data import (
    NOISY_SCORES,
    Correlation,
    Extremes,
    Faults,
    GroupRow,
    GroupTable,
    Quartile,
    QuartileTable,
    ReportData,
    Scope,
    scores_from,
)
from emoe_audit.report.gallery import collect_gallery
from emoe_audit.report.image_verdict import image_verdict
from emoe_audit.report.labels import clip_text, group_label
from emoe_audit.report.limits import limits
from emoe_audit.report.verdict import verdict
from emoe_audit.runs.manifest import published
from emoe_audit.runs.query import known_column
from emoe_audit.runs.sql import joined, sql
from emoe_audit.runs.store import RunStore
from emoe_audit.types import RowError

COLUMN_ORDER = ("language", "region")
FAULT_EXAMPLES = 12

SCOPE = """
    SELECT count(*) AS n_prompts, count(*) FILTER (disagreement IS NOT NULL OR n_noise = 0) AS n_scored,
           count({ranking}) AS n_ranked,
           count(DISTINCT source_id) AS n_sources, count(DISTINCT language) AS n_languages,
           count(DISTINCT region) AS n_regions, {judged} AS n_judged,
           {images} AS n_images, count(*) FILTER (truncated) AS n_truncated,
           median({noise} / sqrt(n_noise)) / stddev_samp({ranking}) AS noise_share
    FROM results
"""
GROUPS = """
    SELECT groups.*, p_bh AS p FROM groups
    LEFT JOIN (SELECT "by", "group", p_bh FROM gaps WHERE measure = ?) USING ("by", "group")
"""
EXTREMES = """
    SELECT prompt FROM results WHERE {ranking} IS NOT NULL
    GROUP BY prompt ORDER BY avg({ranking}) {order}, prompt LIMIT ?
"""
WITH_COSINE = "count(clip_cosine)"
JUDGED = "count(*) FILTER (coalesce(n_images, (clip_cosine IS NOT NULL)::INT) > 0)"
SHOWN = "coalesce(sum(least(coalesce(n_images, (clip_cosine IS NOT NULL)::INT), 64)), 0)"
"""Prompts with judged images, and these; runs of before say not how many there are of one prompt."""
N_EXTREMES = 3
"""Prompts that are named at either end."""
OVERALL = "SELECT {means} FROM results WHERE {by} IS NOT NULL"
CORRELATIONS = """
    SELECT * FROM correlations
    ORDER BY y, level = 'prompt' DESC, level, given NULLS FIRST, list_position(?, x) NULLS LAST, x
"""


def collect(store: RunStore, *, gallery_concepts: int = 6) -> ReportData:
    """Read everything that a report says about a run.

    Raises:
        StoreError: the run holds no analysis yet, or one whose tables do not hold what they should.
    """
    if not store.has_analysis("groups"):
        raise StoreError(f"{store.path}: not analysed yet; run `emoe-audit analyze {store.path}` first")
    try:
        with store.many_queries():
            return _collected(store, gallery_concepts)
    except (LookupError, TypeError, ValueError, AttributeError) as fault:  # of a received run, whoever wrote its tables
        raise StoreError(
            f"{store.path}: its tables do not fit together ({fault!r:.200}); run `emoe-audit analyze` on it again"
        ) from fault


def _collected(store: RunStore, gallery_concepts: int) -> ReportData:
    manifest = published(store.manifest() or store.plan())
    validity = read_validity(store)
    ranking = ranking_score(store, validity)
    quality, standing = quality_measure(store), read_standing(store)
    groups, scope = group_tables(store, ranking, quality), read_scope(store, ranking)
    columns = [table.by for table in groups]
    quartiles, correlations = quartile_tables(store, ranking), correlation_rows(store, ranking)
    judge, agreement = read_judge(store), image_agreements(store)
    extremes = None if groups and len(groups[0].rows) > 1 else read_extremes(store, ranking)
    return ReportData(
        run=store.path.name,
        complete=store.is_complete,
        manifest=manifest,
        ranking=ranking,
        quality=quality,
        verdict=image_verdict(
            manifest.ensemble.name,
            ranking,
            groups,
            standing=standing,
            judge=judge,
            agreement=agreement,
            extremes=extremes,
        )
        if ranks_by_images(ranking)
        else verdict(
            manifest.ensemble.name,
            ranking,
            groups,
            quartiles,
            correlations,
            standing=standing,
            scope=scope,
            extremes=extremes,
            validity=validity,
            quality=quality,
            judge=judge,
        ),
        standing=standing,
        judge=judge,
        agreement=agreement,
        validity=validity,
        scope=scope,
        groups=groups,
        gaps=gap_tables(store, columns, tuple(dict.fromkeys((ranking, quality)))),
        refusals=refusal_tables(store, columns, ranking),
        confounders=confounders(store, (ranking, quality)),
        adjusted=adjusted(store, ranking),
        against_real=against_real(store),
        depicted=who_is_depicted(store),
        expert_use=expert_use(store),
        abstention=abstention(store),
        clouds=collect_clouds(store, ranking, quality),
        quartiles=quartiles,
        correlations=correlations,
        gallery=collect_gallery(store, ranking, gallery_concepts),
        limits=limits(manifest, scope, groups, ranking=ranking, judge=judge, complete=store.is_complete),
    )


def read_extremes(store: RunStore, ranking: str) -> Extremes | None:
    """The worst and the best prompts by what ranks; None where these are not so many that they differ."""
    orders = (sql("ASC"), sql("DESC")) if ranks_by_images(ranking) else (sql("DESC"), sql("ASC"))
    ordered = [sql(EXTREMES, ranking=store.column(ranking), order=order) for order in orders]
    unsure, sure = (tuple(store.query(select, [N_EXTREMES])["prompt"]) for select in ordered)
    return None if len(unsure) < N_EXTREMES or set(unsure) & set(sure) else Extremes(unsure=unsure, sure=sure)


def read_scope(store: RunStore, ranking: str) -> Scope:
    """Count what was audited."""
    noise = store.column(f"{ranking}_noise_sd") if ranking in NOISY_SCORES else sql("NULL::DOUBLE")
    is_counted = "n_images" in store.columns()
    judged, images = (sql(JUDGED), sql(SHOWN)) if is_counted else (sql(WITH_COSINE), sql(WITH_COSINE))
    row = store.query(sql(SCOPE, ranking=store.column(ranking), noise=noise, judged=judged, images=images)).iloc[0]
    counts = {name: int(row[name]) for name in row.index if str(name).startswith("n_")}
    noise_share = to_float(row.noise_share)
    return Scope(**counts, noise_share=noise_share, company=read_company(store), faults=_faults(store.errors()))


def _faults(errors: list[RowError]) -> Faults:
    return Faults(
        total=len(errors),
        by_stage=dict(Counter(error.stage for error in errors)),
        examples=tuple(_in_words(error) for error in errors[:FAULT_EXAMPLES]),
    )


def _in_words(error: RowError) -> str:
    where = [f"line {error.line}"] if error.line is not None else []
    where += [f"column {error.column}"] if error.column else []
    where += [f"prompt {clip_text(error.prompt_id, 40)}"] if error.prompt_id else []
    return f"{error.stage}{' (' + ', '.join(where) + ')' if where else ''}: {clip_text(error.message, 200)}"


def group_tables(store: RunStore, ranking: str, quality: str) -> tuple[GroupTable, ...]:
    """One table per group column: language, region, then the others by name; worst group first."""
    frame = store.query(GROUPS, [ranking])
    order = [by for by in COLUMN_ORDER if (frame["by"] == by).any()]
    order += sorted(set(frame["by"]) - set(order))
    return tuple(_group_table(by, ranking, quality, frame[frame["by"] == by], store) for by in order)


def _group_table(by: str, ranking: str, quality: str, frame: pd.DataFrame, store: RunStore) -> GroupTable:
    rows = [_group_row(by, str(group), ranking, part) for group, part in frame.groupby("group", sort=False)]
    return GroupTable(
        by=by,
        title=f"By {by.replace('_', ' ')}",
        score=ranking,
        quality=quality,
        overall=_overall(by, sorted(set(frame["measure"]) - {COVERAGE}), store),
        rows=tuple(sorted(rows, key=lambda row: _worst_first(row, ranking))),
    )


def _overall(by: str, measures: list[str], store: RunStore) -> dict[str, float]:
    """The mean of each measure over all prompts that are in a group, those of groups too small to be shown included."""
    columns = store.columns()
    named = [known_column(measure, columns, store.path) for measure in measures]
    means = joined(sql("avg({c}) AS {c}", c=column) for column in named)
    row = store.query(sql(OVERALL, means=means, by=known_column(by, columns, store.path))).iloc[0]
    return {measure: float(row[measure]) for measure in measures if pd.notna(row[measure])}


def _worst_first(row: GroupRow, ranking: str) -> tuple[bool, float, str]:
    mean, sign = row.mean(ranking), 1 if ranks_by_images(ranking) else -1
    return (math.isnan(mean), sign * mean if not math.isnan(mean) else 0.0, row.group)


def _group_row(by: str, group: str, ranking: str, part: pd.DataFrame) -> GroupRow:
    estimates, gap = {}, Estimate(mean=math.nan, low=math.nan, high=math.nan, n_prompts=0)
    for r in records(part):
        estimates[r.measure] = Estimate(
            mean=to_float(r.mean), low=to_float(r.low), high=to_float(r.high), n_prompts=int(r.n_prompts)
        )
        if r.measure == ranking:
            gap = Estimate(
                mean=to_float(r.gap), low=to_float(r.gap_low), high=to_float(r.gap_high), n_prompts=int(r.n_prompts)
            )
    return GroupRow(
        group=group,
        label=group_label(by, group),
        n_prompts=int(part.n_prompts.max()),
        n_sources=int(part.n_sources.max()),
        estimates=estimates,
        gap=gap,
        p=to_float(part.p.iloc[0]),
    )


def quartile_tables(store: RunStore, ranking: str) -> tuple[QuartileTable, ...]:
    """The quality measures over the quarters of each score, ranking score first."""
    frame = store.query("SELECT * FROM quartiles ORDER BY measure, quartile")
    tables = []
    for score in scores_from(ranking):
        for measure, part in frame[frame.score == score].groupby("measure"):
            quarters = tuple(_quartile(r) for r in records(part))
            tables.append(QuartileTable(score=score, measure=str(measure), quartiles=quarters))
    return tuple(tables)


def _quartile(r: Any) -> Quartile:
    quality = Estimate(mean=to_float(r.mean), low=to_float(r.low), high=to_float(r.high), n_prompts=int(r.n_prompts))
    return Quartile(quartile=int(r.quartile), score_mean=to_float(r.score_mean), quality=quality)


def correlation_rows(store: RunStore, ranking: str) -> tuple[Correlation, ...]:
    """The rank correlations, ordered so that the scores stand next to each other, ranking score first."""
    frame = store.query(CORRELATIONS, (list(scores_from(ranking)),))
    return tuple(
        Correlation(
            x=r.x,
            y=r.y,
            level=r.level,
            given=None if pd.isna(r.given) else str(r.given),
            n=int(r.n),
            rho=to_float(r.rho),
            low=to_float(r.low),
            high=to_float(r.high),
        )
        for r in records(frame)
    )
