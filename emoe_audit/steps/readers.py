"""Which public text encoder a run reads with, kept once, and how well that is known to read its languages."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd

from emoe_audit.experts.public_readers import PublicReader, published_recall
from emoe_audit.runs.store import RunStore

TABLE = "text_encoder"


def keep_reader(store: RunStore, reader: PublicReader | None) -> None:
    """Write down which public text encoder it is; nothing where it is none."""
    if reader is not None and not store.has_analysis(TABLE):
        store.write_analysis(TABLE, pd.DataFrame([asdict(reader)]))


def reader_name(store: RunStore, *, exact: bool = False) -> str | None:
    """The public text encoder of a run; None where it is none, or with `exact` one of the same design alone."""
    if not store.has_analysis(TABLE):
        return None
    own = store.query("SELECT name, exact FROM text_encoder").iloc[0]
    return str(own["name"]) if own["exact"] or not exact else None


def known_recall(store: RunStore) -> pd.Series | None:
    """Published recall by language of the run; None where its text encoder is no public one."""
    name = reader_name(store)
    if name is None:
        return None
    return published_recall(name, store.query("SELECT DISTINCT language FROM prompts ORDER BY language")["language"])
