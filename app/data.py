"""What the pages read, cached until the run on disk changes. A page of prompts is a query; no table is read whole."""

from __future__ import annotations

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
from emoe_audit.decisions.ranking import RELATIVE_SCORE
from emoe_audit.errors import StoreError
from emoe_audit.report import ReportData, collect
from emoe_audit.report.collect_findings import gap_table
from emoe_audit.report.findings import GapTable
from emoe_audit.report.labels import group_label
from emoe_audit.runs.readings import nearest
from emoe_audit.runs.store import RunStore, list_runs
from emoe_audit.runs.views import identifier
from emoe_audit.types import RunManifest

PAGE_SIZE = 25
MAX_TRANSLATIONS = 60
Order = Literal["most unsure", "surest", "as written"]
ORDER_BY: dict[Order, str] = {
    "most unsure": "{ranking} DESC NULLS LAST, prompt_id",
    "surest": "{ranking} ASC NULLS LAST, prompt_id",
    "as written": "prompt_id",
}
GAPS = """
    WITH cells AS (
        SELECT source_id, {by}::VARCHAR AS "group", avg({measure}) AS value FROM results
        WHERE isfinite({measure}) AND {by} IS NOT NULL GROUP BY ALL
    )
    SELECT own."group", count(*) AS n, avg(own.value - other.value) AS mean,
           nullif(stddev_samp(own.value - other.value), 0) AS sd,
           (SELECT stddev_samp({measure}) FROM results WHERE isfinite({measure})) AS spread
    FROM cells own JOIN cells other USING (source_id)
    WHERE other."group" = ? AND own."group" <> ? GROUP BY own."group" ORDER BY own."group"
"""
REFUSED = """
    SELECT {by}::VARCHAR AS "group", count({score}) AS n_prompts, avg(({score} > ?)::INT) AS refused,
           avg((source_rank > {top})::INT) FILTER ({score} <= ?) AS fails_accepted,
           avg((source_rank > {top})::INT) FILTER ({score} > ?) AS fails_refused
    FROM results WHERE {by} IS NOT NULL AND isfinite({score}) GROUP BY 1 ORDER BY refused DESC, 1
"""
N_NEIGHBOURS = 12
SHOWN = f"key, prompt_id, prompt, language, {', '.join(SCORES)}, clip_cosine, image IS NOT NULL AS drawn"


@dataclass(frozen=True, kw_only=True)
class PromptFilter:
    """Which prompts a table shows; an empty string leaves a filter out."""

    by: str = ""
    group: str = ""
    text: str = ""

    def where(self) -> tuple[str, list[str]]:
        """The SQL condition and its parameters."""
        conditions, params = ["true"], []
        if self.by and self.group:
            conditions.append(f"CAST({identifier(self.by)} AS VARCHAR) = ?")
            params.append(self.group)
        if self.text:
            conditions.append("contains(lower(prompt), lower(?))")
            params.append(self.text)
        return " AND ".join(conditions), params


def runs(root: Path) -> dict[str, RunManifest]:
    """The runs under a folder by name, newest first."""
    return {store.path.name: store.plan() for store in list_runs(root)}


def stamp(run: Path) -> float:
    """When the run last changed; part of every cache key."""
    watched = [run, *(run / name for name in ("scores", "quality", "analysis", "manifest.json"))]
    return max(path.stat().st_mtime for path in watched if path.exists())


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
    where, params = chosen.where()
    return int(
        _query(str(run), stamp(run), f"SELECT count(*) AS n FROM results WHERE {where}", tuple(params)).n.iloc[0]
    )


def prompts_page(run: Path, chosen: PromptFilter, order: Order, page: int) -> pd.DataFrame:
    """One page of prompts, counted from 1; only ids are sorted, texts are read for the page alone."""
    where, params = chosen.where()
    ordered = ORDER_BY[order].format(ranking=ranking(run))
    sql = (
        f"WITH page AS (SELECT prompt_id FROM results WHERE {where} ORDER BY {ordered} LIMIT ? OFFSET ?) "
        f"SELECT {SHOWN} FROM results WHERE prompt_id IN (SELECT prompt_id FROM page) ORDER BY {ordered}"
    )
    return _query(str(run), stamp(run), sql, (*params, PAGE_SIZE, (page - 1) * PAGE_SIZE))


def prompt_rows(run: Path, key: str) -> pd.DataFrame:
    """A prompt and its translations, most unsure first; empty when the run has no such key."""
    sql = (
        "SELECT * FROM results WHERE source_id IN (SELECT source_id FROM prompts WHERE key = ?) "
        f"ORDER BY key <> ?, {ORDER_BY['most unsure'].format(ranking=ranking(run))} LIMIT ?"
    )
    return _query(str(run), stamp(run), sql, (key, key, MAX_TRANSLATIONS))


def share_below(run: Path, value: float, score: str | None = None) -> float:
    """The share of prompts with a lower score, by default the one that ranks."""
    sql = f"SELECT avg(({score or ranking(run)} < ?)::INT) AS share FROM results"
    return float(_query(str(run), stamp(run), sql, (value,)).share.iloc[0])


def group_columns(run: Path) -> list[str]:
    """The columns by which the prompts of a run are grouped; none while it is not analysed."""
    if not RunStore.open(run).has_analysis("groups"):
        return []
    return list(
        _query(str(run), stamp(run), 'SELECT DISTINCT "by" FROM groups ORDER BY ("by" <> \'language\'), "by"', ()).by
    )


def group_names(run: Path, by: str) -> dict[str, str]:
    """The groups of a column by the name that is shown."""
    groups = _query(str(run), stamp(run), 'SELECT DISTINCT "group" FROM groups WHERE "by" = ?', (by,))["group"]
    return dict(sorted((_named(group_label(by, group), group), group) for group in groups))


def gap_measures(report: ReportData) -> list[str]:
    """The measures in which groups are compared, the score that ranks first."""
    return list(dict.fromkeys((report.ranking, report.quality, *SCORES, *QUALITY)))


def reference_gaps(run: Path, by: str, measure: str, reference: str) -> GapTable | None:
    """The gap of every group to a reference within captions; None where no caption has both."""
    sql = GAPS.format(by=identifier(by), measure=identifier(measure))
    summary = _query(str(run), stamp(run), sql, (reference, reference)).set_index("group")
    if summary.empty:
        return None
    margin = MARGIN * float(summary["spread"].iloc[0])
    table = contrast_table(summary, by, reference, margin=margin if margin > 0 else None)
    return gap_table(by, measure, table.assign(design="paired", margin=margin, detectable=detectable_gaps(table)))


def neighbours(run: Path, key: str) -> pd.DataFrame:
    """The prompts of the same language that are read most like one, with the cosine of their readings."""
    near = _nearest(str(run), stamp(run), key)
    rows = _query(
        str(run), stamp(run), f"SELECT {SHOWN} FROM results WHERE list_contains(?, key)", (tuple(near["key"]),)
    )
    return near.merge(rows, on="key")


def prompts_between(run: Path, ranges: dict[str, tuple[float, float]]) -> pd.DataFrame:
    """The prompts whose measures lie in these ranges, the highest by the first measure first."""
    names = [identifier(measure) for measure in ranges]
    within = " AND ".join(f"{name} BETWEEN ? AND ?" for name in names)
    sql = (
        f"SELECT language, prompt_id, prompt, {', '.join(names)} FROM results WHERE {within} "
        f"ORDER BY {names[0]} DESC, prompt_id LIMIT {4 * PAGE_SIZE}"
    )
    return _query(str(run), stamp(run), sql, tuple(end for ends in ranges.values() for end in ends))


def score_steps(run: Path, score: str) -> list[float]:
    """The scores below which 0, 1, ... 100 percent of the prompts lie, each once."""
    shares = [percent / 100 for percent in range(101)]
    steps = _query(str(run), stamp(run), f"SELECT quantile_cont({score}, {shares}) AS q FROM results", ()).q.iloc[0]
    return sorted({float(step) for step in steps}) if steps is not None else []


def refused(run: Path, by: str, score: str, threshold: float) -> pd.DataFrame:
    """Of every group the share above a threshold, and what fails on both sides of it, most refused first."""
    sql = REFUSED.format(by=identifier(by), score=score, top=TOP)
    rows = _query(str(run), stamp(run), sql, (threshold,) * 3)
    return rows.assign(label=[_named(group_label(by, group), group) for group in rows["group"]])


def comparison(a: Path, b: Path, by: str) -> Comparison:
    """Two runs compared.

    Raises AuditError where they cannot be.
    """
    return _comparison(str(a), str(b), by, stamp(a), stamp(b))


def _named(label: str, group: str) -> str:
    return group if label == group else f"{label} ({group})"


@st.cache_data(show_spinner=False, max_entries=8)
def _comparison(a: str, b: str, by: str, changed_a: float, changed_b: float) -> Comparison:
    return compare_runs(RunStore.open(a), RunStore.open(b), by=by)


@st.cache_data(show_spinner=False, max_entries=8)
def _report(run: str, changed: float) -> ReportData:
    return collect(RunStore.open(run), gallery_concepts=0)


@st.cache_data(show_spinner=False, max_entries=128)
def _nearest(run: str, changed: float, key: str) -> pd.DataFrame:
    return nearest(RunStore.open(run), key, N_NEIGHBOURS)


@st.cache_data(show_spinner=False, max_entries=128)
def _query(run: str, changed: float, sql: str, params: tuple[Any, ...]) -> pd.DataFrame:
    return RunStore.open(run).query(sql, params)
