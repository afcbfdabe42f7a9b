"""Bounds of groups' means and gaps: from which captions, and against a bootstrap of captions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from emoe_audit.analysis.bootstrap import bootstrap_means
from emoe_audit.analysis.group_bounds import COLUMNS, group_bounds

ONE_SIGMA = 0.15865525393145707
"""The tail beyond one standard deviation of the normal distribution."""


def uneven(n_captions: int = 800, seed: int = 0) -> pd.DataFrame:
    """Captions with an effect of their own, one to three prompts each in `a`, one in `b`, a quarter of them in `c`."""
    rng = np.random.default_rng(seed)
    caption = rng.normal(size=n_captions)
    rows = [
        (f"s{n}", group, place)
        for n in range(n_captions)
        for group, times in (("a", 1 + n % 3), ("b", 1), ("c", int(n % 4 == 0)))
        for place in range(times)
    ]
    table = pd.DataFrame(rows, columns=["source_id", "group", "place"])
    shared = caption[table["source_id"].str[1:].astype(int)]
    return table.assign(score=shared + rng.normal(size=len(table)) + table["group"].map({"a": 0.0, "b": 1.0, "c": 2.0}))


def test_means_gaps_and_captions_equal_pandas() -> None:
    rows = uneven()
    grouped = rows.groupby("group")
    mean, gap = (group_bounds(rows, "group", "score", figure, tail=0.05) for figure in ("mean", "gap"))
    np.testing.assert_allclose(mean["value"], grouped["score"].mean())
    np.testing.assert_allclose(gap["value"], grouped["score"].mean() - rows["score"].mean())
    assert mean["n_sources"].tolist() == grouped["source_id"].nunique().tolist() == [800, 800, 200]


@pytest.mark.parametrize("figure", ["mean", "gap"])
def test_a_bound_at_one_standard_error_lies_where_the_bootstrap_of_captions_has_it(figure: str) -> None:
    rows = uneven()
    found = group_bounds(rows, "group", "score", figure, tail=ONE_SIGMA)  # type: ignore[arg-type]
    _, means, overall = bootstrap_means(rows["score"], rows["group"], rows["source_id"], n_boot=4000, seed=1)
    spread = (means - (overall[:, None] if figure == "gap" else 0)).std(axis=0)
    np.testing.assert_allclose((found["high"] - found["low"]) / 2, spread, rtol=0.06)


def test_one_value_of_0_or_1_a_caption_is_bounded_exactly() -> None:
    rows = pd.DataFrame({"source_id": range(30), "group": "a", "seen": [1.0] * 4 + [0.0] * 26})
    found = group_bounds(rows, "group", "seen", "mean", tail=0.01).iloc[0]
    ends = binomtest(4, 30).proportion_ci(0.98, method="exact")
    assert (found["low"], found["high"]) == pytest.approx((ends.low, ends.high))


def test_several_values_of_0_or_1_a_caption_are_no_independent_draws() -> None:
    """All prompts of a caption alike: twice the prompts, and the bounds stay."""
    once = pd.DataFrame({"source_id": range(200), "group": "a", "seen": np.arange(200) % 2.0})
    twice = group_bounds(pd.concat([once, once]), "group", "seen", "mean", tail=0.01).iloc[0]
    exact = group_bounds(once, "group", "seen", "mean", tail=0.01).iloc[0]
    assert twice["high"] - twice["low"] == pytest.approx(exact["high"] - exact["low"], rel=0.1)


def test_missing_values_and_groups_are_left_out() -> None:
    rows = uneven(40)
    holed = pd.concat([rows, rows.head(5).assign(score=np.nan), rows.head(5).assign(group=None)])
    pd.testing.assert_frame_equal(
        group_bounds(holed, "group", "score", "gap", tail=0.1), group_bounds(rows, "group", "score", "gap", tail=0.1)
    )
    nothing = group_bounds(rows.assign(score=np.nan), "group", "score", "mean", tail=0.1)
    assert nothing.empty and nothing.columns.tolist() == COLUMNS
