"""The columns of a run, for what looks at all of its prompts: read when they are asked for, and held small."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from emoe_audit.analysis.covariates import LOG_LENGTH, SCRIPT, dominant_script, log_length
from emoe_audit.analysis.grouping import group_columns, may_group
from emoe_audit.errors import StoreError
from emoe_audit.readers.parquet import batches_of
from emoe_audit.runs import views
from emoe_audit.runs.query import RunReader
from emoe_audit.runs.sql import identifier, joined, sql

WITH_GAPS = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
"""What holds whole numbers and truths of which some are missing."""
ROWS = 65_536
"""Rows that are decoded at once."""


def group_columns_of(run: RunReader) -> list[str]:
    """The columns by which the prompts of a run are grouped."""
    names = [name for name in run.query("SELECT * FROM prompts LIMIT 0") if may_group(name)]
    columns = joined(map(identifier, names))
    return group_columns(run.batches(sql("SELECT {columns} FROM prompts", columns=columns))) if names else []


class ResultColumns:
    """The table that `RunStore.join` has written, by its columns; the rows are in its order.

    Texts are categories in the order of texts. In the place of `prompt` there is what `covariates.described` makes of
    it.
    """

    def __init__(self, run: RunReader) -> None:
        """Look at the table. Raises `StoreError` where it is not there."""
        self._file = views.analysis(run.path, views.RESULTS)
        with self._opened() as file:
            self._schema, self._n = file.schema_arrow, file.metadata.num_rows

    def __contains__(self, name: str) -> bool:
        """Whether there is such a column."""
        return name in self._schema.names or (name in (LOG_LENGTH, SCRIPT) and "prompt" in self._schema.names)

    def __getitem__(self, names: list[str]) -> pd.DataFrame:
        """Some columns. Raises `StoreError` where they cannot be read."""
        stored = [name for name in names if name in self._schema.names]
        columns = {name: self._column(name) for name in stored}
        if LOG_LENGTH in names:
            columns[LOG_LENGTH] = self._described[0]
        if SCRIPT in names:
            columns[SCRIPT] = self._described[1]
        return pd.DataFrame({name: columns[name] for name in names}, copy=False)

    def _column(self, name: str) -> np.ndarray | pd.Categorical | pd.Series:
        held = self._schema.field(name).type
        if pa.types.is_string(held) or pa.types.is_large_string(held):
            return self._categories(self._parts(name))
        values, start = np.empty(self._n, dtype=held.to_pandas_dtype()), 0
        for part in self._parts(name):
            if part.null_count and held in WITH_GAPS:
                return pa.chunked_array(self._parts(name), held).to_pandas(types_mapper=WITH_GAPS.get)
            values[start : start + len(part)] = part.to_numpy(zero_copy_only=False)
            start += len(part)
        return values

    def _categories(self, parts: Iterator[pa.Array]) -> pd.Categorical:
        """Texts as categories."""
        codes, start = np.empty(self._n, dtype=np.int32), 0
        known: dict[str, int] = {}
        for part in parts:
            own = part.dictionary_encode()
            named = [known.setdefault(text, len(known)) for text in own.dictionary.to_pylist()]
            places = np.append(np.array(named, dtype=np.int32), -1)
            codes[start : start + len(part)] = places[own.indices.fill_null(len(named)).to_numpy(zero_copy_only=False)]
            start += len(part)
        order = sorted(known)
        moved = np.append(np.empty(len(order), dtype=np.int32), -1)
        moved[[known[text] for text in order]] = np.arange(len(order))
        return pd.Categorical.from_codes(moved[codes], categories=order)

    @cached_property
    def _described(self) -> tuple[np.ndarray, pd.Categorical]:
        """`LOG_LENGTH` and `SCRIPT` of each prompt."""
        lengths = np.empty(self._n)

        def scripts() -> Iterator[pa.Array]:
            start = 0
            for part in self._parts("prompt"):
                lengths[start : start + len(part)] = log_length(pc.utf8_length(part).to_pandas())
                start += len(part)
                yield pa.array([dominant_script(text) for text in part.to_pylist()], pa.string())

        names = self._categories(scripts())
        lengths.flags.writeable = False
        return lengths, names

    def _parts(self, name: str) -> Iterator[pa.Array]:
        with self._opened() as file:
            for batch in batches_of(file, ROWS, [name]):
                yield batch.column(0)

    def _opened(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self._file)
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"{self._file}: cannot be read: {error}") from error
