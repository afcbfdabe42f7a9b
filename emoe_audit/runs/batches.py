"""Work in batches: a row that cannot be worked on is recorded and left out, and never stops the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from emoe_audit.errors import AuditError, WriteError
from emoe_audit.runs.store import RunStore
from emoe_audit.types import Prompt, RowError, Stage


def one_by_one_if_it_fails(
    rows: list[dict[str, Any]], work: Callable[[Sequence[dict[str, Any]]], pd.DataFrame], stage: Stage, store: RunStore
) -> list[pd.DataFrame]:
    """Work on all rows at once; where that fails, on each alone, and record those that fail alone.

    Raises:
        AuditError: every one of several rows fails, so the fault is not the rows'.
        WriteError: the run folder takes no more, which is the fault of no row.
    """
    try:
        return [work(rows)]
    except WriteError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        if len(rows) == 1:
            store.record_error(RowError(stage=stage, prompt_id=rows[0]["prompt_id"], message=reason))
            return []
    done = [frame for row in rows for frame in one_by_one_if_it_fails([row], work, stage, store)]
    if not done:
        raise AuditError(f"none of {len(rows)} prompts passes the stage {stage!r}, so the run stops: {reason}")
    return done


def as_prompt(row: Mapping[str, Any]) -> Prompt:
    """A row of the table `prompts` as what engine and illustrator take."""
    return Prompt(
        prompt_id=row["prompt_id"], prompt=row["prompt"], language=row["language"], source_id=row["source_id"]
    )
