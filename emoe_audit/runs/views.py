"""The tables of a run folder as SQL names them: views over Parquet files, made for the names that a query uses."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import duckdb

from emoe_audit.analysis.familiarity import UNFAMILIARITY
from emoe_audit.errors import StoreError
from emoe_audit.runs.checked import ADVICE, UNREAD, check_table, columns_of, read_files
from emoe_audit.runs.files import own_file
from emoe_audit.runs.shards import shards
from emoe_audit.runs.sql import Sql, identifier, joined, sql
from emoe_audit.runs.tables import TABLES

COLUMNS: dict[str, str] = {
    "prompts": "key VARCHAR, prompt_id VARCHAR, source_id VARCHAR, prompt VARCHAR, language VARCHAR, region VARCHAR",
    "scores": "key VARCHAR, disagreement DOUBLE, relative_disagreement DOUBLE, feature_power DOUBLE, "
    "disagreement_noise_sd DOUBLE, relative_disagreement_noise_sd DOUBLE, unfamiliarity DOUBLE, n_noise BIGINT, "
    "n_tokens BIGINT, tokens_per_word DOUBLE, truncated BOOLEAN",
    "readings": "key VARCHAR, reading BLOB",
    "noises": "key VARCHAR, n_noise BIGINT, features BLOB",
    "sights": "key VARCHAR, n_seen BIGINT, features BLOB",
    "quality": "key VARCHAR, source_id VARCHAR, image VARCHAR, image_seed BIGINT, n_images BIGINT, clip_cosine DOUBLE, "
    "clip_cosine_source DOUBLE, source_rank DOUBLE, flagged BOOLEAN",
}
"""Columns of a table that has no shard yet."""
NO_TRANSLATIONS = (
    "CREATE TEMP TABLE translations (key VARCHAR, source_id VARCHAR, translation_disagreement DOUBLE, "
    "translation_reliability DOUBLE, read_as VARCHAR)"
)
ANALYSES = (
    *("groups", "gaps", "disparity", "quartiles", "correlations", "validity", "text_encoder"),
    *("rejection_curves", "rejection", "thresholds", "trust"),
    *("real_images", "judge_bias", "kid", "confounders", "adjusted", "depicted"),
    *("expert_use", "expert_use_divergence", "abstain", "abstention", "calibration", "familiarity"),
    *("image_bounds",),
)
RATINGS = "ratings"
"""Quality that was measured elsewhere, by `prompt_id`."""
RESULTS = "results"
"""The table that `join` writes beside those of the analysis."""
AGREEMENT = "image_agreement"
"""Whether the images of translations show the same."""
GUARD = "judge_reading"
"""Which languages the judge of the images reads."""
JOINED = ("translations", RATINGS, AGREEMENT, GUARD)
"""Those of the analysis that `results` is made of."""
OF_RESULTS = ("prompts", "scores", "quality", *JOINED)
JOIN = (
    "SELECT * FROM prompts LEFT JOIN translations USING (key, source_id) "
    "LEFT JOIN scores USING (key) LEFT JOIN quality USING (key, source_id)"
)
WITH_AGREEMENT = "{join} LEFT JOIN image_agreement USING (key, source_id)"
WITH_RATINGS = "{join} LEFT JOIN ratings USING (prompt_id)"
GUARDED = """
    SELECT * REPLACE (
        CASE WHEN language IN (SELECT language FROM judge_reading WHERE reads = false) THEN NULL
             ELSE clip_cosine END AS clip_cosine,
        CASE WHEN (SELECT coalesce(bool_or(reads = false), false) FROM judge_reading WHERE is_source) THEN NULL
             ELSE clip_cosine_source END AS clip_cosine_source,
        CASE WHEN (SELECT coalesce(bool_or(reads = false), false) FROM judge_reading WHERE is_source) THEN NULL
             ELSE source_rank END AS source_rank)
    FROM ({join})
"""
"""What a judge says of a language that it does not read is not shown: of prompts, and of the source captions."""
RESULTS_VIEW = "CREATE TEMP VIEW results AS {join}"
VIEW = "CREATE TEMP VIEW {table} AS SELECT {held} FROM {rows}"
BOUNDED = "* REPLACE ({bounded})"
BOUND = "CASE WHEN octet_length({c}) > 16384 THEN error('a cell of bytes is larger than 16,384') ELSE {c} END AS {c}"
"""How a cell of `UNREAD` is bounded; a reading of an engine has a kibibyte."""
WITH_LATER = "(SELECT *, NULL::DOUBLE AS {name} FROM {rows})"
ONCE = "{rows} QUALIFY row_number() OVER (PARTITION BY {key}) = 1"


_parsed: dict[str, frozenset[str]] = {}
_parsing = threading.Lock()
MOST_PARSED = 512
"""SELECTs of which it is kept what tables they name; then the oldest is forgotten."""


def views(run: Path, named: Set[str], connection: duckdb.DuckDBPyConnection) -> Iterator[Sql]:
    """SQL that makes the views of these names over a run folder; each costs reading the feet of its files.

    Raises:
        StoreError: a file does not hold what its table does, see `check_table`.
    """
    is_joined = has_analysis(run, RESULTS)
    wanted = named | ({*OF_RESULTS} if RESULTS in named and not is_joined else set())
    yield from (_shards_view(run, table, connection) for table in COLUMNS if table in wanted)
    found = [name for name in (*ANALYSES, *JOINED) if name in wanted and has_analysis(run, name)]
    yield from (_analysis_view(run, name, connection) for name in found)
    if "translations" in wanted and "translations" not in found:
        yield sql(NO_TRANSLATIONS)
    if RESULTS in named:
        yield _analysis_view(run, RESULTS, connection) if is_joined else _results_view(run)


def tables_in(select: str, connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """The tables that a SELECT names, by DuckDB's own parser; none where it cannot be parsed."""
    with _parsing:
        if select not in _parsed:
            if len(_parsed) >= MOST_PARSED:
                _parsed.pop(next(iter(_parsed)))
            _parsed[select] = _tables_in(select, connection)
        return _parsed[select]


def _tables_in(select: str, connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    (tree,) = connection.execute("SELECT json_serialize_sql(?)", [select]).fetchone() or ("{}",)
    names = (node["table_name"].lower() for node in _nodes(json.loads(tree)) if node.get("type") == "BASE_TABLE")
    return frozenset(names)


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    for part in parts:
        yield from _nodes(part)


def analysis(run: Path, name: str) -> Path:
    """The file of a table that is written whole."""
    return run / "analysis" / f"{name}.parquet"


def has_analysis(run: Path, name: str) -> bool:
    """Whether that table is there. Raises `StoreError` where a link leads out of the run."""
    return _analysis_file(run, name) is not None


def _analysis_file(run: Path, name: str) -> Path | None:
    return own_file(run, str(analysis(run, name).relative_to(run)))


def _shards_view(run: Path, table: str, connection: duckdb.DuckDBPyConnection) -> Sql:
    files = shards(run, table)
    if not files:
        return sql("CREATE TEMP TABLE {table} ({columns})", table=identifier(table), columns=sql(COLUMNS[table]))
    is_each_once = check_table(connection, table, files)
    held = _bounded(table, files) if table in UNREAD else sql("*")
    rows = sql(VIEW, table=identifier(table), held=held, rows=_whole_rows(table, files))
    key = TABLES[table].key
    return rows if is_each_once or not key else sql(ONCE, rows=rows, key=joined(map(identifier, key)))


def _bounded(table: str, files: list[Path]) -> Sql:
    own = TABLES[table]
    names = sorted({name for file in files for name in columns_of(table, file)})
    cells = [identifier(name) for name in names if own.columns.get(name, own.others) == "bytes"]
    return sql(BOUNDED, bounded=joined(sql(BOUND, c=c) for c in cells))


def _analysis_view(run: Path, name: str, connection: duckdb.DuckDBPyConnection) -> Sql:
    file = _analysis_file(run, name)
    files = [] if file is None else [file]
    if not check_table(connection, name, files):
        raise StoreError(f"{file}: two rows are of the same {', '.join(TABLES[name].key)}; {ADVICE}")
    return sql(VIEW, table=identifier(name), held=sql("*"), rows=_whole_rows(name, files))


def _whole_rows(table: str, files: list[Path]) -> Sql:
    """The rows of a table, with the column that runs of an earlier version lack."""
    rows = read_files(files)
    if table not in ("scores", RESULTS) or any(UNFAMILIARITY in columns_of(table, file) for file in files):
        return rows
    return sql(WITH_LATER, name=identifier(UNFAMILIARITY), rows=rows)


def _results_view(run: Path) -> Sql:
    _check_names(run)
    joined = sql(JOIN)
    if has_analysis(run, AGREEMENT):
        joined = sql(WITH_AGREEMENT, join=joined)
    if has_analysis(run, RATINGS):
        joined = sql(WITH_RATINGS, join=joined)
    if has_analysis(run, GUARD):
        joined = sql(GUARDED, join=joined)
    return sql(RESULTS_VIEW, join=joined)


def _check_names(run: Path) -> None:
    """Raise `StoreError` where two tables of a run have a column of the same name: one would stand for the other."""
    held: dict[str, str] = {}
    for table in (own for own in OF_RESULTS if own != GUARD):
        files = shards(run, table) if table in COLUMNS else [_analysis_file(run, table)]
        names = {name for file in files if file is not None for name in columns_of(table, file)}
        for name in sorted(names - {*TABLES[table].key}):
            other = held.setdefault(name.lower(), table)
            if other != table:
                raise StoreError(f"{run}: both {other} and {table} have a column {name!r:.80}; only one of them can")
