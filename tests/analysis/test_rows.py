"""The place of each row's value among the values: in few bytes, as in many."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emoe_audit.analysis import rows
from emoe_audit.analysis.rows import small_places


@pytest.mark.parametrize("at_once", [3, 1000])
@pytest.mark.parametrize("used", [["a", "b", "c", "d"], ["d", "b"], ["c"]])
def test_places_in_few_bytes_tell_values_apart_as_others_do(
    used: list[str], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "AT_ONCE", at_once)
    column = pd.Series(np.random.default_rng(0).choice(used, 50))
    for own in (column, pd.Series(pd.Categorical(column, categories=["d", "a", "c", "b"]))):
        found, names = small_places(own)
        assert list(names[found]) == list(column)
        assert sorted(names) == sorted(used)
        assert found.dtype.itemsize <= 4


def test_no_rows_have_no_places() -> None:
    for own in (pd.Series([], dtype=str), pd.Series(pd.Categorical([], categories=["a", "b"]))):
        found, names = small_places(own)
        assert len(found) == len(names) == 0


def test_a_column_whose_categories_all_occur_is_not_copied() -> None:
    column = pd.Series(pd.Categorical(["a", "b", "a"]))
    assert np.shares_memory(small_places(column)[0], column.array.codes)
