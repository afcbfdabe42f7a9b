"""What the pages read, cached until the run on disk changes. A page of prompts is a query; no table is read whole."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import streamlit as st

from emoe_audit.analysis.gaps import MARGIN, detectable_gaps
from emoe_audit.analysis.paired import contrast_table
from emoe_audit.analysis.refusal import TOP
from emoe_audit.analysis.summary import QUALITY, SCORES
from emoe_audit.decisions.compare import compare_runs
from emoe_audit.decisions.comparison import Comparison
from emoe_audit.decisions.ranking import RELATIVE_SCORE, ranks_by_images
from emoe_audit.errors import StoreError
from emoe_audit.report import ReportData, collect
from emoe_audit.report.collect_findings import gap_table
from emoe_audit.report.findings import GapTable
from emoe_audit.report.labels import group_label
from emoe_audit.runs.listing import list_runs
from emoe_audit.runs.query import known_column
from emoe_audit.runs.readings import nearest
from emoe_audit.runs.sql import Sql, identifier, joined, literal, sql
from emoe_audit.runs.store import RunStore
from emoe_audit.types import RunManifest

WATCHED = ("", "prompts", "scores", "readings", "quality", "analysis")
"""Folders of a run, its own among them, whose files make what is shown."""
PAGE_SIZE = 25
MAX_TRANSLATIONS = 60
Order = Literal["worst", "best", "as written"]
"""By whatever ranks: the worst first, or the best."""
HIGHEST = "{ranking} DESC NULLS LAST, prompt_id"
LOWEST = "{ranking} ASC NULLS LAST, prompt_id"
AS_WRITTEN = "prompt_id"
TABLE_PAGE = """
    WITH page AS (SELECT prompt_id FROM results WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?)
    SELECT {shown} FROM results WHERE prompt_id IN (SELECT prompt_id FROM page) ORDER BY {order}
"""
PROMPT_ROWS = """
    SELECT * FROM results WHERE source_id IN (SELECT source_id FROM prompts WHERE prompt_id = ?)
    ORDER BY prompt_id <> ?, {order} LIMIT ?
"""
BETWEEN = """
    SELECT language, prompt_id, prompt, {names} FROM results WHERE {within}
    ORDER BY {first} DESC, prompt_id LIMIT ?
"""
GROUP_COLUMNS = """
    SELECT DISTINCT "by" FROM groups ORDER BY ("by" <> 'language'), "by"
"""
GAPS = """
    WITH cells AS (
        SELECT source_id, {by}::VARCHAR AS "group", avg({measure}) AS value FROM results
        WHERE isfinite({measure}) AND {by} IS NOT NULL GROUP BY ALL
    )
    SELECT own."group", count(*) AS n, avg(own.value - other.value) AS mean,
           CASE WHEN stddev_samp(own.value) > 0 AND stddev_samp(other.value) > 0
                THEN nullif(stddev_samp(own.value - other.value), 0) END AS sd,
           skewness(own.value - other.value) AS skewness,
           (SELECT stddev_samp({measure}) FROM results WHERE isfinite({measure})) AS spread
    FROM cells own JOIN cells other USING (source_id)
    WHERE other."group" = ? AND own."group" <> ? GROUP BY own."group" ORDER BY own."group"
"""
REFUSED = """
    SELECT {by}::VARCHAR AS "group", count({score}) AS n_prompts, avg(({score} > $1)::INT) AS refused,
           avg((source_rank > $2)::INT) FILTER ({score} <= $1) AS fails_accepted,
           avg((source_rank > $2)::INT) FILTER ({score} > $1) AS fails_refused
    FROM results WHERE {by} IS NOT NULL AND isfinite({score}) GROUP BY 1 ORDER BY refused DESC, 1
"""
STEPS = "SELECT quantile_cont({score}, [{shares}]::DOUBLE[]) AS q FROM results"
SHARES = joined(literal(str(percent / 100)) for percent in range(101))
N_NEIGHBOURS = 12
SHOWN = sql(
    "key, prompt_id, prompt, language, {scores}, clip_cosine, image IS NOT NULL AS drawn",
    scores=joined(map(identifier, SCORES)),
)


@dataclass(frozen=True, kw_only=True)
class PromptFilter:
    """Which prompts a table shows; an empty string leaves a filter out."""

    by: str = ""
    group: str = ""
    text: str = ""

    def where(self, run: Path) -> tuple[Sql, list[str]]:
        """The SQL condition and its parameters. Raises `StoreError` where the run has no such column."""
        conditions, params = [sql("true")], []
        if self.by and self.group:
            conditions.append(sql("CAST({by} AS VARCHAR) = ?", by=column(run, self.by)))
            params.append(self.group)
        if self.text:
            conditions.append(sql("contains(lower(prompt), lower(?))"))
            params.append(self.text)
        return joined(conditions, " AND "), params


def runs(root: Path) -> dict[str, RunManifest]:
    """The runs under a folder by name, newest first."""
    return {store.path.name: store.plan() for store in list_runs(root)}


def plan(run: Path) -> RunManifest:
    """What was asked of a run."""
    return RunStore(run).plan()


def stamp(run: Path) -> str:
    """A hash of which files a run holds and how they lie on the disk; part of every cache key.

    A file that is written anew is another one to the disk, also where the clock went back.
    """
    seen = sorted(entry for name in WATCHED for entry in _entries(run / name))
    return hashlib.sha256(repr(seen).encode("utf-8", "surrogateescape")).hexdigest()


def report(run: Path) -> ReportData:
    """The numbers of the report, without its gallery.

    Raises StoreError while the run is not analysed.
    """
    return _report(str(run), stamp(run))


def ranking(run: Path) -> str:
    """The score that ranks the prompts of a run, one of `SCORES`; the relative one while the run is not analysed."""
    try:
        return report(run).ranking
    except StoreError:
        return RELATIVE_SCORE


def count_prompts(run: Path, chosen: PromptFilter) -> int:
    """How many prompts a filter leaves."""
    where, params = chosen.where(run)
    count = sql("SELECT count(*) AS n FROM results WHERE {where}", where=where)
    return int(_query(str(run), stamp(run), count, tuple(params)).n.iloc[0])


def prompts_page(run: Path, chosen: PromptFilter, order: Order, page: int) -> pd.DataFrame:
    """One page of prompts, counted from 1; only ids are sorted, texts are read for the page alone."""
    where, params = chosen.where(run)
    page_of = sql(TABLE_PAGE, where=where, order=_order(run, order), shown=_shown(run))
    return _query(str(run), stamp(run), page_of, (*params, PAGE_SIZE, (page - 1) * PAGE_SIZE))


def prompt_rows(run: Path, prompt_id: str) -> pd.DataFrame:
    """A prompt and its translations, worst first; empty when the run has no such prompt."""
    rows = sql(PROMPT_ROWS, order=_order(run, "worst"))
    return _query(str(run), stamp(run), rows, (prompt_id, prompt_id, MAX_TRANSLATIONS))


def share_below(run: Path, value: float, score: str | None = None) -> float:
    """The share of prompts with a lower score, by default the one that ranks."""
    share = sql("SELECT avg(({score} < ?)::INT) AS share FROM results", score=column(run, score or ranking(run)))
    return float(_query(str(run), stamp(run), share, (value,)).share.iloc[0])


def group_columns(run: Path) -> list[str]:
    """The columns by which the prompts of a run are grouped; none while it is not analysed."""
    if not RunStore.open(run).has_analysis("groups"):
        return []
    return list(_query(str(run), stamp(run), GROUP_COLUMNS, ()).by)


def group_names(run: Path, by: str) -> dict[str, str]:
    """The groups of a column by the name that is shown."""
    groups = _query(str(run), stamp(run), 'SELECT DISTINCT "group" FROM groups WHERE "by" = ?', (by,))["group"]
    return dict(sorted((_named(group_label(by, group), group), group) for group in groups))


def gap_measures(report: ReportData) -> list[str]:
    """The measures in which groups are compared, the score that ranks first."""
    return list(dict.fromkeys((report.ranking, report.quality, *SCORES, *QUALITY)))


def reference_gaps(run: Path, by: str, measure: str, reference: str) -> GapTable | None:
    """The gap of every group to a reference within captions; None where no caption has both."""
    gaps = sql(GAPS, by=column(run, by), measure=column(run, measure))
    summary = _query(str(run), stamp(run), gaps, (reference, reference)).set_index("group")
    if summary.empty:
        return None
    margin = MARGIN * float(summary["spread"].iloc[0])
    table = contrast_table(summary, by, reference, margin=margin if margin > 0 else None)
    return gap_table(by, measure, table.assign(design="paired", margin=margin, detectable=detectable_gaps(table)))


def neighbours(run: Path, key: str) -> pd.DataFrame:
    """The prompts of the same language that are read most like one, with the cosine of their readings."""
    near = _nearest(str(run), stamp(run), key)
    alike = sql("SELECT {shown} FROM results WHERE list_contains(?, key)", shown=_shown(run))
    rows = _query(str(run), stamp(run), alike, (tuple(near["key"]),))
    return near.merge(rows, on="key")


def prompts_between(run: Path, ranges: dict[str, tuple[float, float]]) -> pd.DataFrame:
    """The prompts whose measures lie in these ranges, the highest by the first measure first."""
    names = [column(run, measure) for measure in ranges]
    within = joined([sql("{name} BETWEEN ? AND ?", name=name) for name in names], " AND ")
    rows = sql(BETWEEN, names=joined(names), within=within, first=names[0])
    ends = tuple(end for ends in ranges.values() for end in ends)
    return _query(str(run), stamp(run), rows, (*ends, 4 * PAGE_SIZE))


def score_steps(run: Path, score: str) -> list[float]:
    """The scores below which 0, 1, ... 100 percent of the prompts lie, each once."""
    steps = _query(str(run), stamp(run), sql(STEPS, score=column(run, score), shares=SHARES), ()).q.iloc[0]
    return sorted({float(step) for step in steps}) if steps is not None else []


def refused(run: Path, by: str, score: str, threshold: float) -> pd.DataFrame:
    """Of every group the share above a threshold, and what fails on both sides of it, most refused first."""
    refused_by = sql(REFUSED, by=column(run, by), score=column(run, score))
    rows = _query(str(run), stamp(run), refused_by, (threshold, TOP))
    return rows.assign(label=[_named(group_label(by, group), group) for group in rows["group"]])


def comparison(a: Path, b: Path, by: str) -> Comparison:
    """Two runs compared.

    Raises AuditError where they cannot be.
    """
    return _comparison(str(a), str(b), by, stamp(a), stamp(b))


def column(run: Path, name: str) -> Sql:
    """A column of the results of a run for SQL. Raises `StoreError` where there is none, with the nearest."""
    return known_column(name, _columns(str(run), stamp(run)), run)


def _shown(run: Path) -> Sql:
    """The columns of a table of prompts, what ranks them among these."""
    ranked_by = ranking(run)
    is_there = ranked_by in (*SCORES, "clip_cosine")
    return SHOWN if is_there else joined([SHOWN, column(run, ranked_by)])


def _order(run: Path, order: Order) -> Sql:
    if order == "as written":
        return sql(AS_WRITTEN)
    ranked_by = ranking(run)
    is_lowest = ranks_by_images(ranked_by) == (order == "worst")
    by = column(run, ranked_by)
    return sql(LOWEST, ranking=by) if is_lowest else sql(HIGHEST, ranking=by)


def _entries(folder: Path) -> Iterator[tuple[str, int, int, int]]:
    """Every entry of a folder with its size, its time of change and its number on the disk."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                about = entry.stat(follow_symlinks=False)
                yield entry.path, about.st_size, about.st_mtime_ns, about.st_ino


def _named(label: str, group: str) -> str:
    return group if label == group else f"{label} ({group})"


@st.cache_data(show_spinner=False, max_entries=8)
def _comparison(a: str, b: str, by: str, changed_a: str, changed_b: str) -> Comparison:
    return compare_runs(RunStore.open(a), RunStore.open(b), by=by)


@st.cache_data(show_spinner=False, max_entries=8)
def _report(run: str, changed: str) -> ReportData:
    return collect(RunStore.open(run), gallery_concepts=0)


@st.cache_data(show_spinner=False, max_entries=128)
def _nearest(run: str, changed: str, key: str) -> pd.DataFrame:
    return nearest(RunStore.open(run), key, N_NEIGHBOURS)


@st.cache_data(show_spinner=False, max_entries=8)
def _columns(run: str, changed: str) -> list[str]:
    return RunStore.open(run).columns()


@st.cache_data(show_spinner=False, max_entries=128)
def _query(run: str, changed: str, sql: str, params: tuple[Any, ...]) -> pd.DataFrame:
    return RunStore.open(run).query(sql, params)
