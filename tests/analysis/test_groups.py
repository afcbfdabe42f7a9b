"""Group means, intervals and gaps."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from emoe_audit.analysis.groups import group_estimates


def frame(n: int = 300, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "source_id": [f"s{i // 3}" for i in range(n)],
            "language": [["en", "fi", "hi"][i % 3] for i in range(n)],
            "score": rng.normal(size=n) + np.arange(n) % 3,
        }
    )


def test_means_counts_and_gaps_equal_pandas() -> None:
    rows = frame()
    table = group_estimates(rows, "language", "score").set_index("group")
    grouped = rows.groupby("language")
    np.testing.assert_allclose(table["mean"], grouped["score"].mean())
    np.testing.assert_allclose(table["gap"], grouped["score"].mean() - rows["score"].mean())
    assert table["n_prompts"].tolist() == [100, 100, 100]
    assert table["n_sources"].tolist() == [100, 100, 100]


def test_the_interval_is_close_to_the_normal_one_for_independent_captions() -> None:
    rows = frame(3000)
    table = group_estimates(rows, "language", "score", n_boot=2000).set_index("group")
    english = rows.loc[rows["language"] == "en", "score"]
    half = 1.96 * english.std() / np.sqrt(len(english))
    assert table.loc["en", "high"] - table.loc["en", "low"] == pytest.approx(2 * half, rel=0.08)


def test_the_corrected_interval_is_that_of_scipy_where_every_caption_has_one_row() -> None:
    skewed = np.random.default_rng(0).lognormal(size=60)
    rows = pd.DataFrame({"source_id": [f"s{i}" for i in range(60)], "language": "en", "score": skewed})
    own = group_estimates(rows, "language", "score", n_boot=20_000, interval="bca").iloc[0]
    low, high = bootstrap((skewed,), np.mean, n_resamples=20_000, method="BCa", rng=1).confidence_interval
    assert (own["low"], own["high"]) == pytest.approx((low, high), rel=0.02)
    plain = group_estimates(rows, "language", "score", n_boot=20_000).iloc[0]
    assert own["low"] > plain["low"] and own["high"] > plain["high"], "skewness moves both ends to its side"


@settings(max_examples=15, deadline=None)
@given(shift=st.floats(-100, 100))
def test_adding_a_constant_shifts_means_and_intervals_and_leaves_gaps(shift: float) -> None:
    rows = frame(60)
    before = group_estimates(rows, "language", "score", n_boot=50)
    after = group_estimates(rows.assign(score=rows["score"] + shift), "language", "score", n_boot=50)
    for column in ("mean", "low", "high"):
        np.testing.assert_allclose(after[column], before[column] + shift, atol=1e-9)
    for column in ("gap", "gap_low", "gap_high"):
        np.testing.assert_allclose(after[column], before[column], atol=1e-9)


def test_the_order_of_rows_changes_nothing() -> None:
    rows = frame(90)
    shuffled = rows.sample(frac=1, random_state=1)
    before, after = (group_estimates(part, "language", "score", n_boot=50) for part in (rows, shuffled))
    pd.testing.assert_frame_equal(before, after)


def test_missing_values_are_left_out_and_one_caption_has_no_interval() -> None:
    rows = pd.DataFrame(
        {"source_id": ["a", "b", "c", "a"], "language": ["en", "en", "fi", None], "score": [1.0, np.nan, 2.0, 9.0]}
    )
    table = group_estimates(rows, "language", "score").set_index("group")
    assert table["mean"].to_dict() == {"en": 1.0, "fi": 2.0}
    assert table[["low", "high", "gap_low", "gap_high"]].isna().all(axis=None)


def test_a_measure_nobody_has_gives_no_rows() -> None:
    assert group_estimates(frame(9).assign(score=np.nan), "language", "score").empty


def test_a_hundred_thousand_prompts_take_seconds() -> None:
    rng = np.random.default_rng(0)
    n = 100_000
    rows = pd.DataFrame(
        {"source_id": np.arange(n) // 40, "language": (np.arange(n) % 40).astype(str), "score": rng.normal(size=n)}
    )
    started = time.perf_counter()
    table = group_estimates(rows, "language", "score", n_boot=1000)
    assert len(table) == 40
    assert time.perf_counter() - started < 15
