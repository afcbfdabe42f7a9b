"""BCa intervals against scipy's, and what they are of clusters."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from emoe_audit.analysis.bca import bca_interval, jackknife_means
from emoe_audit.analysis.bootstrap import bootstrap_means, percentile_interval


def frame(values: np.ndarray, clusters: np.ndarray | None = None, group: str = "all") -> pd.DataFrame:
    return pd.DataFrame({"v": values, "g": group, "c": np.arange(len(values)) if clusters is None else clusters})


def interval_of(rows: pd.DataFrame, n_boot: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    columns = rows["v"], rows["g"], rows["c"]
    names, means, _ = bootstrap_means(*columns, n_boot=n_boot, seed=0)
    estimates = rows.groupby("g")["v"].mean().reindex(names).to_numpy()
    return bca_interval(means, estimates, jackknife_means(*columns), 0.95)


def test_with_one_row_a_cluster_and_the_same_replicates_it_is_scipys() -> None:
    values = np.random.default_rng(2).exponential(size=40)
    expected = bootstrap((values,), np.mean, n_resamples=3000, method="BCa", confidence_level=0.9, rng=1)
    rows = frame(values)
    jackknife = jackknife_means(rows["v"], rows["g"], rows["c"])
    low, high = bca_interval(expected.bootstrap_distribution[:, None], np.array([values.mean()]), jackknife, 0.9)
    assert [low[0], high[0]] == pytest.approx(list(expected.confidence_interval))


def test_of_clusters_it_is_scipys_of_the_ratio_of_sums() -> None:
    rng = np.random.default_rng(3)
    sizes = rng.integers(1, 6, 60)
    clusters = np.repeat(np.arange(60), sizes)
    values = rng.exponential(size=60)[clusters] + rng.normal(size=len(clusters))
    sums = np.bincount(clusters, weights=values)

    def ratio(sums: np.ndarray, sizes: np.ndarray, axis: int = -1) -> np.ndarray:
        means: np.ndarray = sums.sum(axis=axis) / sizes.sum(axis=axis)
        return means

    expected = bootstrap((sums, sizes), ratio, paired=True, n_resamples=9999, method="BCa", rng=1).confidence_interval
    low, high = interval_of(frame(values, clusters), n_boot=9999)
    assert [low[0], high[0]] == pytest.approx([expected.low, expected.high], abs=0.02)


def test_skewed_values_move_both_ends_towards_the_long_tail() -> None:
    values = np.random.default_rng(4).lognormal(size=50)
    rows = frame(values)
    low, high = interval_of(rows)
    plain = percentile_interval(bootstrap_means(rows["v"], rows["g"], rows["c"], n_boot=2000, seed=0)[1], 0.95)
    assert low[0] > plain[0][0]
    assert high[0] > plain[1][0]


def test_without_a_cluster_a_mean_is_that_of_a_plain_loop() -> None:
    rng = np.random.default_rng(5)
    rows = pd.DataFrame(
        {"v": rng.normal(size=40), "g": rng.choice(["a", "b"], 40), "c": rng.choice(list("uvwxyz"), 40)}
    )
    found = jackknife_means(rows["v"], rows["g"], rows["c"])
    for i, cluster in enumerate("uvwxyz"):
        for j, group in enumerate("ab"):
            kept = rows.loc[(rows["c"] != cluster) & (rows["g"] == group), "v"]
            assert found[i, j] == pytest.approx(kept.mean())


def test_what_shows_no_spread_or_lies_in_one_cluster_has_no_interval() -> None:
    spread = frame(np.arange(12.0), group="spread")
    constant, alone = frame(np.ones(12), group="constant"), frame(np.arange(3.0), np.full(3, 4), group="alone")
    low, high = interval_of(pd.concat([spread, constant, alone]), n_boot=200)
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [True, True, False]
    assert low[2] < 5.5 < high[2]
