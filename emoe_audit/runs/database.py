"""A database that lives as long as a question: it reaches the files of one run folder, and nothing else."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from emoe_audit.errors import StoreError
from emoe_audit.runs.sql import PATTERN, Sql, joined, literal, one_file, sql

SPILL = "spill."
"""How a folder in a run begins that holds what did not fit in memory."""
SPILLED = re.compile(r"spill\.[a-z0-9_]{8}")
SETTINGS = {
    "memory_limit": "512MB",
    "threads": 2,
    # What stands to the right of a JOIN is held: to choose it by itself, the database takes a reading for a number.
    "disabled_optimizers": "join_order,build_side_probe_side",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
}


@contextmanager
def database_of(run: Path, *, spills_into: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory for a run folder, its settings locked.

    Args:
        run: The folder.
        spills_into: Where what does not fit in memory gets a folder of its own; by default among the system's
            temporary files.

    Raises:
        StoreError: there is no place for that folder, or the run's path is one that DuckDB cannot be given.
    """
    if "\\" in str(run.resolve()) and PATTERN.search(str(run.resolve())):
        raise StoreError(
            f"{run}: a path with a backslash and one of *, ? and [ cannot be read; give the folder another name"
        )
    try:
        spill = tempfile.TemporaryDirectory(
            prefix=SPILL if spills_into else "emoe-audit-", dir=spills_into, ignore_cleanup_errors=True
        )
    except OSError as error:
        raise StoreError(
            f"{spills_into or tempfile.gettempdir()}: no temporary folder can be made: {error.strerror}; make room"
        ) from error
    with spill, duckdb.connect(config=SETTINGS) as connection:
        for setting in _bounds(run.resolve(), Path(spill.name)):
            connection.execute(setting)
        yield connection


def _bounds(run: Path, spill: Path) -> Iterator[Sql]:
    """Settings of which the last keeps all others as they are."""
    names = joined([literal(run), one_file(run)])
    yield sql("SET temp_directory = {spill}", spill=literal(spill))
    yield sql("SET allowed_directories = [{names}]", names=names)
    yield sql("SET enable_external_access = false")
    yield sql("SET lock_configuration = true")
