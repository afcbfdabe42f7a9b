"""The cluster bootstrap against scipy, closed forms and a plain loop."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from emoe_audit.analysis import bootstrap as module
from emoe_audit.analysis.bootstrap import bootstrap_means, cluster_counts, percentile_interval


def test_each_replicate_draws_as_many_clusters_as_there_are() -> None:
    counts = np.concatenate(list(cluster_counts(7, 50, seed=0)))
    assert counts.shape == (50, 7)
    assert (counts.sum(axis=1) == 7).all()


def test_chunks_do_not_change_the_shape_of_the_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_CELLS", 21)
    chunks = list(cluster_counts(7, 50, seed=0))
    assert [len(chunk) for chunk in chunks] == [3] * 16 + [2]


def test_means_equal_those_of_a_plain_loop_over_the_same_draws() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {"v": rng.normal(size=40), "g": rng.choice(list("ab"), 40), "c": rng.choice(list("uvwxyz"), 40)}
    )
    names, means, overall = bootstrap_means(frame["v"], frame["g"], frame["c"], n_boot=20, seed=5)
    clusters = sorted(frame["c"].unique())
    for i, counts in enumerate(np.concatenate(list(cluster_counts(len(clusters), 20, seed=5)))):
        times = frame["c"].map(dict(zip(clusters, counts.astype(int), strict=True)))
        drawn = frame.loc[frame.index.repeat(times)]
        assert overall[i] == pytest.approx(drawn["v"].mean())
        for j, name in enumerate(names):
            assert means[i, j] == pytest.approx(drawn.loc[drawn["g"] == name, "v"].mean(), nan_ok=True)


def test_with_one_row_a_cluster_the_interval_is_scipys() -> None:
    values = np.random.default_rng(2).exponential(size=80)
    frame = pd.DataFrame({"v": values, "g": "all", "c": np.arange(80)})
    _, means, _ = bootstrap_means(frame["v"], frame["g"], frame["c"], n_boot=4000, seed=0)
    low, high = percentile_interval(means, 0.95)
    expected = bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
    assert [low[0], high[0]] == pytest.approx([expected.low, expected.high], abs=0.02)


def test_repeating_every_row_of_a_cluster_does_not_narrow_the_interval() -> None:
    values = np.random.default_rng(3).normal(size=30)
    once = pd.DataFrame({"v": values, "g": "all", "c": np.arange(30)})
    tenfold = pd.concat([once] * 10)
    intervals = [
        percentile_interval(bootstrap_means(f["v"], f["g"], f["c"], n_boot=500, seed=0)[1], 0.95)
        for f in (once, tenfold)
    ]
    np.testing.assert_allclose(intervals[0], intervals[1])


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    hits = 0
    for trial in range(200):
        cluster = np.repeat(np.arange(40), 3)
        values = rng.normal(size=40)[cluster] + 0.3 * rng.normal(size=120)
        frame = pd.DataFrame({"v": values, "g": "all", "c": cluster})
        low, high = percentile_interval(
            bootstrap_means(frame["v"], frame["g"], frame["c"], n_boot=300, seed=trial)[1], 0.95
        )
        hits += int(low[0] <= 0 <= high[0])
    assert 0.89 <= hits / 200 <= 0.99


def test_an_undefined_replicate_is_left_out_and_an_undefined_column_is_nan() -> None:
    replicates = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan]])
    low, high = percentile_interval(replicates, 0.95)
    assert [low[0], high[0]] == pytest.approx([1.05, 2.95])
    assert np.isnan([low[1], high[1]]).all()
