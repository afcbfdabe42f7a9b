"""What the pages read, cached until the run on disk changes. A page of prompts is a query; no table is read whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import streamlit as st

from emoe_audit.analysis.summary import SCORES
from emoe_audit.errors import StoreError
from emoe_audit.report import ReportData, collect
from emoe_audit.report.data import RELATIVE_SCORE
from emoe_audit.store import RunStore, list_runs
from emoe_audit.types import RunManifest

PAGE_SIZE = 25
MAX_TRANSLATIONS = 60
Order = Literal["most unsure", "surest", "as written"]
ORDER_BY: dict[Order, str] = {
    "most unsure": "{ranking} DESC NULLS LAST, prompt_id",
    "surest": "{ranking} ASC NULLS LAST, prompt_id",
    "as written": "prompt_id",
}
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
            conditions.append(f"CAST({quoted(self.by)} AS VARCHAR) = ?")
            params.append(self.group)
        if self.text:
            conditions.append("contains(lower(prompt), lower(?))")
            params.append(self.text)
        return " AND ".join(conditions), params


def quoted(column: str) -> str:
    """A column name as SQL; names come from a user's table and can hold anything."""
    return '"' + column.replace('"', '""') + '"'


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
    """One page of prompts, counted from 1."""
    where, params = chosen.where()
    ordered = ORDER_BY[order].format(ranking=ranking(run))
    sql = f"SELECT {SHOWN} FROM results WHERE {where} ORDER BY {ordered} LIMIT ? OFFSET ?"
    return _query(str(run), stamp(run), sql, (*params, PAGE_SIZE, (page - 1) * PAGE_SIZE))


def prompt_rows(run: Path, key: str) -> pd.DataFrame:
    """A prompt and its translations, most unsure first; empty when the run has no such key."""
    sql = (
        "SELECT * FROM results WHERE source_id IN (SELECT source_id FROM prompts WHERE key = ?) "
        f"ORDER BY key <> ?, {ORDER_BY['most unsure'].format(ranking=ranking(run))} LIMIT ?"
    )
    return _query(str(run), stamp(run), sql, (key, key, MAX_TRANSLATIONS))


def share_below(run: Path, score: float) -> float:
    """The share of ranked prompts with a lower score."""
    sql = f"SELECT avg(({ranking(run)} < ?)::INT) AS share FROM results"
    return float(_query(str(run), stamp(run), sql, (score,)).share.iloc[0])


@st.cache_data(show_spinner=False, max_entries=8)
def _report(run: str, changed: float) -> ReportData:
    return collect(RunStore.open(run), gallery_concepts=0)


@st.cache_data(show_spinner=False, max_entries=128)
def _query(run: str, changed: float, sql: str, params: tuple[str | int | float, ...]) -> pd.DataFrame:
    return RunStore.open(run).query(sql, params)
