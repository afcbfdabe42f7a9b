"""What the pages of the dashboard ask of a run: its worst groups, and its prompts a page at a time."""

from __future__ import annotations

import pandas as pd

from emoe_audit.runs.query import RunReader, known_column
from emoe_audit.runs.sql import identifier, sql

WORST = """
    SELECT {by} AS "group", avg({measure}) AS mean, count(*) AS n_prompts FROM results
    WHERE {measure} IS NOT NULL GROUP BY ALL ORDER BY mean DESC, 1 LIMIT ?
"""
PAGE = """
    WITH page AS (SELECT prompt_id FROM {table} ORDER BY {order} LIMIT ? OFFSET ?)
    SELECT * FROM results WHERE prompt_id IN (SELECT prompt_id FROM page) ORDER BY {order}
"""


def worst_groups(run: RunReader, by: str, measure: str, *, limit: int = 10) -> pd.DataFrame:
    """Groups by falling mean of a measure: `group, mean, n_prompts`. Raises `StoreError` for an unknown column."""
    columns = run.columns()
    named = {"by": known_column(by, columns, run.path), "measure": known_column(measure, columns, run.path)}
    return run.query(sql(WORST, **named), [limit])


def prompts_page(
    run: RunReader, page: int, page_size: int = 50, *, order_by: str = "prompt_id", ascending: bool = True
) -> pd.DataFrame:
    """One page of `results`, counted from 1, in a stable order. Raises `StoreError` for an unknown column."""
    direction = sql("ASC") if ascending else sql("DESC")
    order = sql("{column} {direction} NULLS LAST, prompt_id", column=run.column(order_by), direction=direction)
    table = "prompts" if order_by in run.query("SELECT * FROM prompts LIMIT 0") else "results"
    return run.query(sql(PAGE, table=identifier(table), order=order), [page_size, (page - 1) * page_size])
