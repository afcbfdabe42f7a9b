"""Quartiles and rank correlations against scipy, pandas and pingouin's formula."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata, spearmanr

from emoe_audit.analysis.bootstrap import cluster_counts
from emoe_audit.analysis.contrasts import (
    correlate_groups,
    correlate_prompts,
    partial_spearman,
    quartiles,
    spearman,
)


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


def test_spearman_equals_scipy_with_ties() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 5, 50).astype(float), rng.integers(0, 5, 50).astype(float)
    assert spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)


def test_spearman_of_a_constant_or_of_two_points_is_undefined() -> None:
    assert np.isnan(spearman(np.ones(5), np.arange(5.0)))
    assert np.isnan(spearman(np.arange(2.0), np.arange(2.0)))


def test_partial_spearman_is_the_correlation_of_rank_residuals() -> None:
    rng = np.random.default_rng(2)
    z = rng.normal(size=60)
    x, y = z + rng.normal(size=60), z + rng.normal(size=60)
    design = np.column_stack([np.ones(60), rankdata(z)])
    residual = [rankdata(v) - design @ np.linalg.lstsq(design, rankdata(v), rcond=None)[0] for v in (x, y)]
    assert partial_spearman(x, y, z) == pytest.approx(np.corrcoef(residual)[0, 1])


def test_prompt_level_rho_is_scipys_and_its_interval_holds_it(rows: pd.DataFrame) -> None:
    row = correlate_prompts(rows, "score", "quality", n_boot=200).iloc[0]
    assert row["rho"] == pytest.approx(spearmanr(rows["score"], rows["quality"]).statistic)
    assert row["low"] < row["rho"] < row["high"]
    assert row["n"] == 400


def test_one_caption_has_no_interval_that_says_more_than_its_point(rows: pd.DataFrame) -> None:
    row = correlate_prompts(rows.assign(quality=np.nan), "score", "quality", n_boot=20).iloc[0]
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


def test_the_interval_over_prompts_is_that_of_resampled_rows_written_out() -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"source_id": [f"s{i // 3}" for i in range(60)], "x": rng.integers(0, 12, 60)})
    rows["y"] = rows["x"] + rng.integers(0, 9, 60)
    own = correlate_prompts(rows, "x", "y", n_boot=40, seed=3).iloc[0]
    codes = pd.factorize(rows["source_id"], sort=True)[0]
    replicates = np.concatenate([*cluster_counts(20, 40, 3)])
    drawn = [np.repeat(np.arange(60), counts[codes].astype(int)) for counts in replicates]
    rho = [spearmanr(rows["x"].iloc[written], rows["y"].iloc[written]).statistic for written in drawn]
    assert (own["low"], own["high"]) == pytest.approx(tuple(np.percentile(rho, [2.5, 97.5])))


def test_the_interval_over_groups_is_that_of_captions_and_groups_drawn_anew(rows: pd.DataFrame) -> None:
    """Written out: the rows of the captions drawn, the means of their groups, and of these those that were drawn."""
    rows = rows[rows["source_id"].isin([f"s{number}" for number in range(8)])]
    own = correlate_groups(rows, "score", "n_tokens", by="language", n_boot=60, seed=3).iloc[0]
    codes = pd.factorize(rows["source_id"], sort=True)[0]
    captions = np.concatenate([*cluster_counts(8, 60, 3)])
    groups = np.random.default_rng([3, 1]).integers(10, size=(60, 10))
    rho = []
    for counts, drawn in zip(captions, groups, strict=True):
        written = rows.iloc[np.repeat(np.arange(len(rows)), counts[codes].astype(int))]
        means = written.groupby("language")[["score", "n_tokens"]].mean().iloc[drawn]
        rho.append(spearmanr(means["score"], means["n_tokens"]).statistic)
    assert (own["low"], own["high"]) == pytest.approx(tuple(np.percentile(rho, [2.5, 97.5])))


def test_the_intervals_of_quarters_are_those_of_captions_drawn_anew(rows: pd.DataFrame) -> None:
    table = quartiles(rows, "score", "quality", n_boot=50, seed=2)
    quarter = pd.qcut(rows["score"], 4, labels=False)
    codes, names = pd.factorize(rows["source_id"], sort=True)
    captions = np.concatenate([*cluster_counts(len(names), 50, 2)])
    written = [np.repeat(np.arange(len(rows)), counts[codes].astype(int)) for counts in captions]
    means = np.stack([rows["quality"].iloc[own].groupby(quarter.iloc[own]).mean() for own in written])
    np.testing.assert_allclose(table[["low", "high"]].T, np.percentile(means, [2.5, 97.5], axis=0))
