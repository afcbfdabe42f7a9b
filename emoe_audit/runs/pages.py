"""What the pages of the dashboard ask of a run: its worst groups, and its prompts a page at a time."""

from __future__ import annotations

import pandas as pd

from emoe_audit.errors import StoreError
from emoe_audit.runs.query import RunReader
from emoe_audit.runs.views import identifier


def worst_groups(run: RunReader, by: str, measure: str, *, limit: int = 10) -> pd.DataFrame:
    """Groups by falling mean of a measure: `group, mean, n_prompts`. Raises `StoreError` for an unknown column."""
    by, measure = _column(run, by), _column(run, measure)
    return run.query(
        f'SELECT {by} AS "group", avg({measure}) AS mean, count(*) AS n_prompts FROM results '
        f"WHERE {measure} IS NOT NULL GROUP BY ALL ORDER BY mean DESC, 1 LIMIT ?",
        [limit],
    )


def prompts_page(
    run: RunReader, page: int, page_size: int = 50, *, order_by: str = "prompt_id", ascending: bool = True
) -> pd.DataFrame:
    """One page of `results`, counted from 1, in a stable order. Raises `StoreError` for an unknown column."""
    column, direction = _column(run, order_by), "ASC" if ascending else "DESC"
    table = "prompts" if order_by in run.query("SELECT * FROM prompts LIMIT 0") else "results"
    order = f"{column} {direction} NULLS LAST, prompt_id"
    return run.query(
        f"WITH page AS (SELECT prompt_id FROM {table} ORDER BY {order} LIMIT ? OFFSET ?) "
        f"SELECT * FROM results WHERE prompt_id IN (SELECT prompt_id FROM page) ORDER BY {order}",
        [page_size, (page - 1) * page_size],
    )


def _column(run: RunReader, name: str) -> str:
    if name not in run.columns():
        raise StoreError(f"{run.path}: no column {name!r}; there are {', '.join(run.columns())}")
    return identifier(name)
