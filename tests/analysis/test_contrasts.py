"""Quartiles and rank correlations against scipy and pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap, spearmanr

from emoe_audit.analysis.contrasts import correlate_groups, correlate_prompts, quartiles


@pytest.fixture
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 400
    place = np.arange(n) % 10
    score = place + rng.normal(size=n)
    return pd.DataFrame(
        {
            "source_id": [f"s{i // 10}" for i in range(n)],
            "language": [f"l{p}" for p in place],
            "score": score,
            "quality": -0.5 * score + rng.normal(size=n),
            "n_tokens": rng.integers(1, 20, n),
        }
    )


def test_quartiles_equal_pandas_qcut(rows: pd.DataFrame) -> None:
    table = quartiles(rows, "score", "quality")
    expected = rows.groupby(pd.qcut(rows["score"], 4, labels=False))["quality"].agg(["size", "mean"])
    assert table["n_prompts"].tolist() == expected["size"].tolist()
    np.testing.assert_allclose(table["mean"], expected["mean"])
    assert (table["low"] < table["mean"]).all()
    assert (table["mean"] < table["high"]).all()
    assert table["score_mean"].is_monotonic_increasing


def test_quartiles_of_three_prompts_are_none(rows: pd.DataFrame) -> None:
    assert quartiles(rows.iloc[:3], "score", "quality").empty


def test_prompt_level_rho_is_scipys_and_its_interval_holds_it(rows: pd.DataFrame) -> None:
    row = correlate_prompts(rows, "score", "quality").iloc[0]
    assert row["rho"] == pytest.approx(spearmanr(rows["score"], rows["quality"]).statistic)
    assert row["low"] < row["rho"] < row["high"]
    assert row["n"] == 400


def test_one_caption_has_no_interval_that_says_more_than_its_point(rows: pd.DataFrame) -> None:
    row = correlate_prompts(rows.assign(quality=np.nan), "score", "quality").iloc[0]
    assert row["n"] == 0
    assert np.isnan([row["rho"], row["low"], row["high"]]).all()


def test_group_level_rho_is_that_of_the_group_means(rows: pd.DataFrame) -> None:
    row = correlate_groups(rows, "score", "quality", by="language", n_boot=100).iloc[0]
    means = rows.groupby("language")[["score", "quality"]].mean()
    assert row["rho"] == pytest.approx(spearmanr(means["score"], means["quality"]).statistic)
    assert (row["level"], row["n"]) == ("language", 10)


def test_known_values_of_groups_take_the_place_of_a_measure(rows: pd.DataFrame) -> None:
    coverage = pd.Series({f"l{p}": 10.0 - p for p in range(9)})
    row = correlate_groups(rows, "score", "coverage", by="language", known=coverage, n_boot=100).iloc[0]
    assert row["n"] == 9
    assert row["rho"] == pytest.approx(-1)


def test_a_confounder_explains_away_what_it_causes() -> None:
    rng = np.random.default_rng(3)
    tokens = np.repeat(np.arange(12), 30)
    frame = pd.DataFrame(
        {
            "source_id": np.tile(np.arange(30), 12).astype(str),
            "language": tokens.astype(str),
            "n_tokens": tokens.astype(float),
            "score": tokens + rng.normal(size=360) * 5,
            "quality": -tokens + rng.normal(size=360) * 5,
        }
    )
    plain = correlate_groups(frame, "score", "quality", by="language", n_boot=100).iloc[0]
    partial = correlate_groups(frame, "score", "quality", by="language", given="n_tokens", n_boot=100).iloc[0]
    assert plain["high"] < 0
    assert partial["low"] < 0 < partial["high"]
    assert partial["given"] == "n_tokens"


def grouped(n_groups: int, seed: int, rho: float = 0.0, n_captions: int = 12) -> pd.DataFrame:
    """Groups whose means of two measures go together by `rho`, with little noise between captions."""
    rng = np.random.default_rng(seed)
    score = rng.normal(size=n_groups)
    quality = rho * score + np.sqrt(1 - rho**2) * rng.normal(size=n_groups)
    group = np.tile(np.arange(n_groups), n_captions)
    values = {name: own[group] + 0.1 * rng.normal(size=len(group)) for name, own in (("x", score), ("y", quality))}
    return pd.DataFrame({"source_id": np.repeat(np.arange(n_captions), n_groups), "language": group, **values})


def of_groups(rows: pd.DataFrame) -> pd.Series:
    return correlate_groups(rows, "x", "y", by="language", n_boot=40).iloc[0]


def test_over_many_groups_the_interval_is_close_to_that_of_scipys_bootstrap_of_groups() -> None:
    rows = grouped(150, 0, rho=-0.5, n_captions=3)
    means = rows.groupby("language")[["x", "y"]].mean()
    expected = bootstrap(
        (means["x"], means["y"]), lambda x, y: spearmanr(x, y).statistic, paired=True, vectorized=False,
        n_resamples=400, method="percentile", rng=0,
    ).confidence_interval  # fmt: skip
    row = of_groups(rows)
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high), abs=0.04)


def test_a_few_groups_that_happen_to_be_in_order_are_no_evidence() -> None:
    for n_groups, shown in ((4, False), (5, False), (6, True), (10, True)):
        rows = grouped(n_groups, 0).assign(x=lambda own: own["language"], y=lambda own: -own["language"])
        row = of_groups(rows)
        assert row["rho"] == pytest.approx(-1)
        assert bool(row["high"] < 0) == shown
        assert np.isnan(row["low"]) if n_groups < 5 else row["low"] == pytest.approx(-1)


def test_groups_that_have_nothing_to_do_with_each_other_are_rarely_called_related() -> None:
    rows = [of_groups(grouped(n_groups, seed)) for n_groups in (5, 8) for seed in range(60)]
    assert np.mean([row["low"] > 0 or row["high"] < 0 for row in rows]) <= 0.1


def test_groups_that_go_together_are_found() -> None:
    assert np.mean([of_groups(grouped(20, seed, rho=-0.9))["high"] < 0 for seed in range(20)]) > 0.9


def test_quarters_answer_for_other_languages_too() -> None:
    """Quality differs between languages alone: many captions in four languages tell little of other languages."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"source_id": np.repeat(np.arange(100), 4), "language": list("abcd") * 100})
    rows = rows.assign(
        score=rng.normal(size=400), quality=rows["language"].map(dict(zip("abcd", (0, 1, 2, 3), strict=True)))
    )
    rows["quality"] += 0.1 * rng.normal(size=400)
    table = quartiles(rows, "score", "quality")
    of_captions = quartiles(rows.drop(columns="language"), "score", "quality")
    assert (table["high"] - table["low"] > 3).all()
    assert (of_captions["high"] - of_captions["low"] < 1).all()
