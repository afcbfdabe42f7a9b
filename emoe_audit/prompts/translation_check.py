"""Is a prompt a translation of its own caption? As a multilingual encoder reads it, before any model is audited.

A wrong translation must not be taken for a language that a model cannot read. Each prompt is held against the other
languages' consensus of all captions, in the way and between the bounds of `analysis.table_faults`; here the readings
are those of an encoder that knows the languages. Languages that it does not read well are not judged, and named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emoe_audit.analysis.readings import Readings
from emoe_audit.analysis.table_faults import WELL_READ
from emoe_audit.analysis.translations import MIN_LANGUAGES, Readers
from emoe_audit.progress import chunks
from emoe_audit.prompts.table import UNDETERMINED

Encode = Callable[[Sequence[str]], np.ndarray]
AT_ONCE = 500
"""Captions among which another is sought."""


@dataclass(frozen=True, kw_only=True)
class TranslationFaults:
    """What looks wrong with the translations of a table."""

    rows: pd.DataFrame
    """A row per doubted prompt: `prompt_id`, `language`, `source_id`, and the caption that it is `read_as`."""
    not_judged: tuple[str, ...]
    """Languages that the encoder reads too badly, or of which the table has too few captions."""


def translation_faults(frame: pd.DataFrame, encode: Encode) -> TranslationFaults:
    """Hold each prompt against the translations of its caption; captions in fewer than three languages are left out.

    Args:
        frame: A row per prompt, with `prompt_id`, `source_id`, `prompt` and `language`.
        encode: Gives a vector a text, `[text, state]`.
    """
    known = frame[frame["language"] != UNDETERMINED]
    rows = known[known.groupby("source_id")["language"].transform("nunique") >= MIN_LANGUAGES]
    if rows.empty:
        return TranslationFaults(rows=_named(rows, []), not_judged=tuple(sorted(known["language"].unique())))
    vectors = encode(rows["prompt"].to_list())
    readings = Readings(vectors=vectors, languages=rows["language"].to_list(), sources=rows["source_id"].to_list())
    parts = [rows["source_id"].isin(own).to_numpy() for own in chunks(list(rows["source_id"].unique()), AT_ONCE)]
    readers = Readers.fit(readings.take(np.flatnonzero(parts[0])))
    found = [_named(rows[part], readers.faults(readings.take(np.flatnonzero(part)))) for part in parts]
    judged = readers.calibration
    well_read = {name for name, own in zip(judged.languages, judged.loadings, strict=True) if own >= WELL_READ}
    return TranslationFaults(
        rows=pd.concat(found, ignore_index=True), not_judged=tuple(sorted(set(known["language"]) - well_read))
    )


def _named(rows: pd.DataFrame, read_as: Sequence[str | None] | np.ndarray) -> pd.DataFrame:
    columns = rows[["prompt_id", "language", "source_id"]].assign(read_as=pd.Series(read_as, rows.index, dtype=object))
    return columns[columns["read_as"].notna()]
