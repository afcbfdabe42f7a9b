"""Scores against image quality: every prompt while they are few, counts on a grid when they are many."""

from __future__ import annotations

from emoe_audit.analysis.rows import records
from emoe_audit.decisions.ranking import ranks_by_images
from emoe_audit.report.data import Cloud, CloudPoint, side_by_side
from emoe_audit.report.labels import clip_text
from emoe_audit.runs.sql import Sql, sql
from emoe_audit.runs.store import RunStore

MAX_POINTS = 1200
"""Above this many prompts a cloud is counted on a grid, so its size does not grow with the run."""
GRID = (56, 40)
"""Columns and rows of that grid."""

COUNT = """
    SELECT count(*) AS n FROM results WHERE isfinite({score}) AND isfinite({quality}) AND {score} > 0
"""
POINTS = """
    SELECT {score} AS x, {quality} AS y, prompt, language FROM results
    WHERE isfinite({score}) AND isfinite({quality}) AND {score} > 0 ORDER BY prompt_id
"""
CELLS = """
    WITH logs AS (
        SELECT ln({score}) AS u, {quality} AS v FROM results
        WHERE isfinite({score}) AND isfinite({quality}) AND {score} > 0
    ), edges AS (
        SELECT min(u) AS u0, greatest(max(u) - min(u), 1e-12) / $1 AS du,
               min(v) AS v0, greatest(max(v) - min(v), 1e-12) / $2 AS dv FROM logs
    ), cells AS (
        SELECT least(floor((u - u0) / du), $1 - 1) AS i, least(floor((v - v0) / dv), $2 - 1) AS j,
               u0, du, v0, dv FROM logs, edges
    )
    SELECT exp(any_value(u0 + (i + 0.5) * du)) AS x, any_value(v0 + (j + 0.5) * dv) AS y, count(*) AS n
    FROM cells GROUP BY i, j ORDER BY i, j
"""


def collect_clouds(store: RunStore, ranking: str, quality: str) -> tuple[Cloud, ...]:
    """The score that ranks and the plain one against a measure of quality, none where no image was judged, or no score.

    Scores lie on a logarithmic axis.
    """
    if ranks_by_images(ranking):
        return ()
    return tuple(cloud for score in side_by_side(ranking) if (cloud := _cloud(store, score, quality)).n_prompts)


def _cloud(store: RunStore, score: str, quality: str) -> Cloud:
    names = {"score": store.column(score), "quality": store.column(quality)}
    count = int(store.query(sql(COUNT, **names)).n.iloc[0])
    few = count <= MAX_POINTS
    return Cloud(
        score=score,
        measure=quality,
        kind="prompts" if few else "grid",
        n_prompts=count,
        points=_points(store, names) if few else _cells(store, names),
    )


def _points(store: RunStore, names: dict[str, Sql]) -> tuple[CloudPoint, ...]:
    frame = store.query(sql(POINTS, **names))
    return tuple(
        CloudPoint(x=float(r.x), y=float(r.y), n=1, text=f"{clip_text(r.prompt, 48)} ({r.language})")
        for r in records(frame)
    )


def _cells(store: RunStore, names: dict[str, Sql]) -> tuple[CloudPoint, ...]:
    frame = store.query(sql(CELLS, **names), [GRID[0], GRID[1]])
    return tuple(CloudPoint(x=float(r.x), y=float(r.y), n=int(r.n)) for r in records(frame))
