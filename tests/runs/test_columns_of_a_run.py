"""The columns of a run as the analysis reads them: what a query gives, held small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoe_audit.analysis.covariates import LOG_LENGTH, SCRIPT, dominant_script
from emoe_audit.analysis.summary import analyze
from emoe_audit.errors import StoreError
from emoe_audit.runs import columns
from emoe_audit.runs.columns import ResultColumns, group_columns_of
from emoe_audit.runs.store import RunStore
from emoe_audit.types import AnalysisConfig
from tests.synthetic import synthetic_frame, synthetic_plan

PROMPT = ["key", "prompt_id", "source_id", "prompt", "language", "region"]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    """Sixty prompts with gaps in texts, numbers and truths, read seven at a time."""
    monkeypatch.setattr(columns, "ROWS", 7)
    frame = synthetic_frame(60)
    frame.loc[::5, "region"] = None
    frame.loc[::3, "prompt"] = [f"картина {place} с домом" for place in range(20)]
    own = {"rank": range(60), "age": pd.array([None, 2, 3] * 20, "Int64"), "old": [True, None, False] * 20}
    prompts = frame[PROMPT].assign(**own)
    store = RunStore.open(tmp_path / "run", plan=synthetic_plan())
    store.write_prompts([prompts])
    store.append("scores", frame[["key", *frame.columns[6:15]]].head(50))
    store.append("quality", frame[["key", "source_id", *frame.columns[15:]]].head(40))
    store.join()
    return store


def test_every_column_holds_what_a_query_gives(store: RunStore) -> None:
    found, expected = ResultColumns(store), store.query("SELECT * FROM results ORDER BY prompt_id")
    for name in expected.columns.drop("prompt"):
        own = found[[name]][name]
        assert name in found
        pd.testing.assert_series_equal(
            own.astype(expected[name].dtype).where(own.notna()),
            expected[name].where(expected[name].notna()),
            check_dtype=False,
        )
    assert "nothing" not in found
    assert found[["source_id", "region"]].dtypes.eq("category").all()


def test_a_prompt_is_known_by_its_length_and_its_script(store: RunStore) -> None:
    found = ResultColumns(store)[["language", LOG_LENGTH, SCRIPT]]
    prompts = store.query("SELECT prompt FROM results ORDER BY prompt_id")["prompt"]
    np.testing.assert_allclose(found[LOG_LENGTH], np.log(prompts.str.len()))
    assert found[SCRIPT].tolist() == prompts.map(dominant_script).tolist()
    assert set(found[SCRIPT]) == {"LATIN", "CYRILLIC"}


def test_the_analysis_of_columns_is_that_of_a_frame(store: RunStore) -> None:
    config, by = AnalysisConfig(n_boot=20, min_sources=1), group_columns_of(store)
    expected = analyze(store.query("SELECT * FROM results ORDER BY prompt_id"), by, config)
    found = analyze(ResultColumns(store), by, config)
    assert by == ["language", "region", "rank", "age", "old"]
    assert found.keys() == expected.keys()
    for name, table in expected.items():
        pd.testing.assert_frame_equal(found[name], table, check_dtype=False, obj=name)
        assert name in ("quartiles", "thresholds", "trust", "rejection", "rejection_curves") or len(table)


def test_where_nothing_was_joined_there_are_no_columns(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"results\.parquet: cannot be read"):
        ResultColumns(RunStore(tmp_path))
