"""What a score yields anyway, as the features of a prompt; and whether the judge found its caption again.

A prompt is misread where the judge does not, as everywhere: see `emoe_audit.analysis.refusal`.

The features are those of a reading, the sketches of the text state and of the mid-block, and the scores of `SCORES`.
The score of translations is a feature where every prompt that is learned from has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from emoe_audit.analysis.refusal import TOP
from emoe_audit.analysis.translations import TRANSLATION_SCORE
from emoe_audit.errors import AuditError
from emoe_audit.runs.readings import vectors
from emoe_audit.runs.sql import Sql, sql
from emoe_audit.runs.store import RunStore

SCORES = ("disagreement", "relative_disagreement", "feature_power", "n_tokens", "tokens_per_word")
TRANSLATION_SCORES = (TRANSLATION_SCORE,)
ROWS = """
    SELECT * FROM (SELECT * FROM results WHERE {condition})
    LEFT JOIN (SELECT * FROM readings WHERE {condition}) USING (key)
    QUALIFY row_number() OVER (PARTITION BY key, source_id ORDER BY prompt_id) = 1 ORDER BY key, source_id
"""


@dataclass(frozen=True, kw_only=True)
class Features:
    """The prompts of a run, each key once for each caption that it is a translation of."""

    rows: pd.DataFrame
    """`key, source_id, language`, the scores, and `good`: 1 where the judge found the caption, NaN where not judged."""
    reading: np.ndarray
    """Sketches of text state and mid-block, `[row, part x bucket]`; NaN where the run holds none."""
    scores: tuple[str, ...]
    """Names of the scores that are features."""

    @property
    def x(self) -> np.ndarray:
        """All features, `[row, feature]`: the sketches, then the scores."""
        return np.hstack([self.reading, self.rows[list(self.scores)].to_numpy(dtype=np.float64)])

    @property
    def blocks(self) -> tuple[int, int]:
        """Numbers of features of the two sketches, with which `x` begins."""
        half = self.reading.shape[1] // 2
        return half, half

    @property
    def good(self) -> np.ndarray:
        """`[row]`."""
        good: np.ndarray = self.rows["good"].to_numpy(dtype=np.float64)
        return good

    def where(self, kept: np.ndarray) -> Features:
        """Only the rows where `kept` is true."""
        return replace(self, rows=self.rows[kept].reset_index(drop=True), reading=self.reading[kept])


def judged_features(store: RunStore) -> Features:
    """The prompts of a run that have an image and a reading, to learn from.

    Raises:
        AuditError: there are none.
    """
    if not store.plan().scoring.n_noise:
        raise AuditError(
            f"{store.path}: no expert was asked, of which the model learns; give --n-noise 1 to the same `run`"
        )
    rows = _rows(store, sql("key IN (SELECT key FROM quality)")).dropna(subset=["reading", "source_id", "source_rank"])
    if rows.empty:
        raise AuditError(
            f"{store.path}: no prompt has both a judged image and a reading, so there is nothing to learn from; "
            f"make images with `emoe-audit run ... --n-images 2000`, or go on with `emoe-audit quality {store.path}`"
        )
    translated = bool(rows.reindex(columns=TRANSLATION_SCORES).notna().all(axis=None))
    return _features(rows, SCORES + (TRANSLATION_SCORES if translated else ()), store.path)


def features_of(store: RunStore, keys: Sequence[str], scores: Sequence[str]) -> Features:
    """The prompts with these keys, to predict for.

    Raises:
        AuditError: the run holds none of a score that is a feature.
    """
    rows = _rows(store, sql("key IN (SELECT unnest(?::VARCHAR[]))"), [list(keys)])
    missing = [score for score in scores if score not in rows]
    if missing:
        raise AuditError(f"{store.path}: has no column {missing[0]!r}, from which the model predicts")
    return _features(rows, tuple(scores), store.path)


def _rows(store: RunStore, condition: Sql, values: Sequence[object] = ()) -> pd.DataFrame:
    """Those that a condition on the key holds for, which is asked twice, with its values."""
    rows = store.query(sql(ROWS, condition=condition), [*values, *values])
    return rows if "source_rank" in rows else rows.assign(source_rank=np.nan)


def _features(rows: pd.DataFrame, scores: tuple[str, ...], run: Path) -> Features:
    good = (rows["source_rank"] <= TOP).astype(np.float64).where(rows["source_rank"].notna())
    return Features(
        rows=rows[["key", "source_id", "language", *scores]].assign(good=good),
        reading=_readings(rows["reading"], run),
        scores=scores,
    )


def _readings(content: pd.Series, run: Path) -> np.ndarray:
    """`[row, number]` from half-precision bytes; a row of NaN where there are none."""
    is_held = [isinstance(own, bytes | bytearray) for own in content]
    found = vectors(content[is_held].to_list(), run)
    rows = np.full((len(content), len(found[0]) if found else 0), np.nan)
    if found:
        rows[is_held] = np.stack(found)
    return rows
