"""Group means, intervals and gaps."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from emoe_audit.analysis.groups import group_estimates
from emoe_audit.analysis.skewed import MIN_FOR_INTERVAL


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


def test_the_interval_of_independent_captions_without_skewness_is_students() -> None:
    values = np.random.default_rng(0).normal(size=20)
    values = np.concatenate([values, -values]) + 3
    rows = pd.DataFrame({"source_id": np.arange(40), "language": "en", "score": values})
    own = group_estimates(rows, "language", "score").iloc[0]
    assert (own["low"], own["high"]) == pytest.approx(t.interval(0.95, 39, values.mean(), values.std(ddof=1) / 40**0.5))


def test_with_captions_of_several_prompts_the_error_is_that_of_the_means_without_each() -> None:
    """Mirrored captions, which have no skewness."""
    rng = np.random.default_rng(3)
    caption = np.repeat(np.arange(15), rng.integers(1, 6, 15))
    values = rng.normal(size=15)[caption] + rng.normal(size=len(caption))
    values -= values.mean()
    rows = pd.DataFrame({"source_id": np.concatenate([caption, caption + 15]), "language": "en"})
    rows["score"] = np.concatenate([values, -values])
    without = [rows.loc[rows["source_id"] != caption, "score"].mean() for caption in range(30)]
    error = np.sqrt(29 / 30 * np.sum((without - rows["score"].mean()) ** 2))
    own = group_estimates(rows, "language", "score").iloc[0]
    assert (own["low"], own["high"]) == pytest.approx(t.interval(0.95, 29, scale=error))
    assert np.isnan([own["gap_low"], own["gap_high"]]).all(), "there are no others"


def test_the_gap_of_a_group_to_all_moves_with_what_both_hold() -> None:
    """In every caption the second language lies as far above the first as in any: there is a gap without a doubt."""
    rng = np.random.default_rng(4)
    caption = np.repeat(rng.normal(0, 10, 30), 2)
    rows = pd.DataFrame({"source_id": np.repeat(np.arange(30), 2), "language": ["a", "b"] * 30})
    rows["score"] = caption + 0.5 * (rows["language"] == "b") + 0.1 * rng.normal(size=60)
    table = group_estimates(rows, "language", "score").set_index("group")
    assert (table["high"] - table["low"] > 5).all()
    assert table.loc["b", "gap_low"] > 0 > table.loc["a", "gap_high"]
    differences = rows["score"][1::2].to_numpy() - rows["score"][::2].to_numpy()
    half = t.isf(0.025, 29) * differences.std(ddof=1) / 30**0.5 / 2
    assert table.loc["b", "gap_high"] - table.loc["b", "gap_low"] == pytest.approx(2 * half, rel=0.1)


def test_skewed_values_are_held_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    rows = pd.DataFrame({"source_id": np.tile(np.arange(10), 400), "language": np.repeat(np.arange(400), 10)})
    table = group_estimates(rows.assign(score=rng.exponential(size=4000)), "language", "score")
    assert 0.92 <= ((table["low"] <= 1) & (table["high"] >= 1)).mean() <= 0.98


@settings(max_examples=15, deadline=None)
@given(shift=st.floats(-100, 100))
def test_adding_a_constant_shifts_means_and_intervals_and_leaves_gaps(shift: float) -> None:
    rows = frame(60)
    before = group_estimates(rows, "language", "score")
    after = group_estimates(rows.assign(score=rows["score"] + shift), "language", "score")
    for column in ("mean", "low", "high"):
        np.testing.assert_allclose(after[column], before[column] + shift, atol=1e-9)
    for column in ("gap", "gap_low", "gap_high"):
        np.testing.assert_allclose(after[column], before[column], atol=1e-9)


def test_the_order_of_rows_changes_nothing() -> None:
    rows = frame(90)
    shuffled = rows.sample(frac=1, random_state=1)
    before, after = (group_estimates(part, "language", "score") for part in (rows, shuffled))
    pd.testing.assert_frame_equal(before, after)


def test_missing_values_are_left_out() -> None:
    rows = pd.DataFrame(
        {"source_id": ["a", "b", "c", "a"], "language": ["en", "en", "fi", None], "score": [1.0, np.nan, 2.0, 9.0]}
    )
    table = group_estimates(rows, "language", "score").set_index("group")
    assert table["mean"].to_dict() == {"en": 1.0, "fi": 2.0}


def test_few_captions_or_no_spread_have_no_interval() -> None:
    values = {"few": np.arange(MIN_FOR_INTERVAL - 1.0), "enough": np.arange(MIN_FOR_INTERVAL), "same": np.full(20, 0.1)}
    parts = [
        pd.DataFrame({"source_id": [f"{name}{place}" for place in range(len(own))], "language": name, "score": own})
        for name, own in values.items()
    ]
    table = group_estimates(pd.concat(parts), "language", "score").set_index("group")
    assert table["low"].notna().to_dict() == {"enough": True, "few": False, "same": False}
    assert table["high"].notna().to_dict() == {"enough": True, "few": False, "same": False}
    assert table["gap_low"].notna().to_dict() == {"enough": True, "few": False, "same": False}


def test_a_measure_nobody_has_gives_no_rows() -> None:
    assert group_estimates(frame(9).assign(score=np.nan), "language", "score").empty


def test_a_hundred_thousand_prompts_take_seconds() -> None:
    rng = np.random.default_rng(0)
    n = 100_000
    rows = pd.DataFrame(
        {"source_id": np.arange(n) // 40, "language": (np.arange(n) % 40).astype(str), "score": rng.normal(size=n)}
    )
    started = time.perf_counter()
    table = group_estimates(rows, "language", "score")
    assert len(table) == 40
    assert time.perf_counter() - started < 15
