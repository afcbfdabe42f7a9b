"""The tables of a run folder as SQL names them: views over Parquet files, made for the names that a query uses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

COLUMNS: dict[str, str] = {
    "prompts": "key VARCHAR, prompt_id VARCHAR, source_id VARCHAR, prompt VARCHAR, language VARCHAR, region VARCHAR",
    "scores": "key VARCHAR, disagreement DOUBLE, relative_disagreement DOUBLE, feature_power DOUBLE, "
    "disagreement_noise_sd DOUBLE, relative_disagreement_noise_sd DOUBLE, n_noise BIGINT, n_tokens BIGINT, "
    "tokens_per_word DOUBLE, truncated BOOLEAN",
    "readings": "key VARCHAR, reading BLOB",
    "quality": "key VARCHAR, image VARCHAR, image_seed BIGINT, clip_cosine DOUBLE, clip_cosine_source DOUBLE, "
    "source_rank DOUBLE, flagged BOOLEAN",
}
"""Columns of a table that has no shard yet."""
NO_TRANSLATIONS = (
    "key VARCHAR, source_id VARCHAR, translation_disagreement DOUBLE, translation_text DOUBLE, "
    "translation_mid_block DOUBLE"
)
ANALYSES = (
    *("groups", "gaps", "disparity", "quartiles", "correlations", "validity"),
    *("rejection_curves", "rejection", "thresholds", "trust"),
    *("real_images", "judge_bias", "kid", "confounders", "adjusted", "depicted"),
    *("expert_use", "expert_use_divergence", "abstain", "abstention"),
)
RATINGS = "ratings"
"""Quality that was measured elsewhere, by `prompt_id`."""
RESULTS = "results"
"""The table that `join` writes beside those of the analysis."""
JOINED = ("translations", RATINGS)
"""Those of the analysis that `results` is made of."""


def views(run: Path, named: set[str]) -> Iterator[str]:
    """SQL that makes the views of these names over a run folder; each costs reading the feet of its files."""
    joined = has_analysis(run, RESULTS)
    wanted = named | ({*COLUMNS, *JOINED} if RESULTS in named and not joined else set())
    yield from (_shards_view(run, table) for table in COLUMNS if table in wanted)
    found = [name for name in (*ANALYSES, *JOINED) if name in wanted and has_analysis(run, name)]
    yield from (_analysis_view(run, name) for name in found)
    if "translations" in wanted and "translations" not in found:
        yield f"CREATE TEMP TABLE translations ({NO_TRANSLATIONS})"
    if RESULTS in named:
        yield _analysis_view(run, RESULTS) if joined else _results_view(run)


def tables_in(select: str, connection: duckdb.DuckDBPyConnection) -> set[str]:
    """The tables that a SELECT names, by DuckDB's own parser; none where it cannot be parsed."""
    (tree,) = connection.execute("SELECT json_serialize_sql(?)", [select]).fetchone() or ("{}",)
    return {node["table_name"].lower() for node in _nodes(json.loads(tree)) if node.get("type") == "BASE_TABLE"}


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    for part in parts:
        yield from _nodes(part)


def shards(run: Path, table: str) -> list[Path]:
    """The files of a table that grows, in order."""
    return sorted((run / table).glob("part-*.parquet"))


def analysis(run: Path, name: str) -> Path:
    """The file of a table that is written whole."""
    return run / "analysis" / f"{name}.parquet"


def has_analysis(run: Path, name: str) -> bool:
    """Whether that table is there."""
    return analysis(run, name).exists()


def literal(file: Path) -> str:
    """A file's name as SQL."""
    return "'" + str(file).replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A column's name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def _shards_view(run: Path, table: str) -> str:
    files = shards(run, table)
    if not files:
        return f"CREATE TEMP TABLE {table} ({COLUMNS[table]})"
    many = len(files) > 1 and table != "prompts"
    once = " QUALIFY row_number() OVER (PARTITION BY key) = 1" if many else ""
    return f"CREATE TEMP VIEW {table} AS SELECT * FROM {_read(files)}{once}"


def _analysis_view(run: Path, name: str) -> str:
    return f"CREATE TEMP VIEW {name} AS SELECT * FROM {_read([analysis(run, name)])}"


def _results_view(run: Path) -> str:
    rated = f" LEFT JOIN {RATINGS} USING (prompt_id)" if has_analysis(run, RATINGS) else ""
    return (
        "CREATE TEMP VIEW results AS SELECT * FROM prompts LEFT JOIN translations USING (key, source_id) "
        f"LEFT JOIN scores USING (key) LEFT JOIN quality USING (key){rated}"
    )


def _read(files: list[Path]) -> str:
    return f"read_parquet([{', '.join(map(literal, files))}], union_by_name=true)"
