"""Disparity: figures against pandas, corrections against the truth of samples, intervals by how often they hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emoe_audit.analysis.bootstrap import cluster_counts
from emoe_audit.analysis.disparity import COLUMNS, FIGURES, disparity

ESTIMATES = ["estimate", "bias_corrected", "low", "high"]


def crossed(values: np.ndarray) -> pd.DataFrame:
    """A row per caption and group of `[caption, group]`."""
    captions, groups = np.indices(values.shape)
    names = np.array(list("abcdefghij"))
    return pd.DataFrame(
        {"source_id": captions.ravel(), "language": names[groups.ravel()], "score": values.ravel().astype(np.float64)}
    )


def sample(means: list[float], n: int = 40, seed: int = 0, caption_sd: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0, caption_sd, (n, 1)) + rng.normal(means, 1, (n, len(means)))


def of(values: np.ndarray, *, higher_is_better: bool = True, n_boot: int = 300) -> pd.DataFrame:
    return disparity(crossed(values), "language", "score", higher_is_better=higher_is_better, n_boot=n_boot).set_index(
        "figure"
    )


def test_estimates_equal_pandas() -> None:
    rows = crossed(sample([9, 7, 8]))
    means = rows.groupby("language")["score"].mean()
    table = disparity(rows, "language", "score", higher_is_better=True)
    assert table.columns.tolist() == COLUMNS
    assert table["figure"].tolist() == FIGURES
    found = table.set_index("figure")["estimate"]
    assert found["max_minus_min"] == pytest.approx(means.max() - means.min())
    assert found["worst_to_best_ratio"] == pytest.approx(means["b"] / means["a"])
    assert found["worst_group_mean"] == pytest.approx(means["b"])
    assert found["between_group_sd_uncorrected"] == pytest.approx(means.std(ddof=1))
    assert table["group"].tolist() == [None, None, "b", None, None]
    assert set(table["n_groups"]) == {3}
    assert set(table["n_suppressed"]) == {0}


def test_intervals_and_corrections_equal_a_naive_loop_over_resampled_captions() -> None:
    values = sample([9, 7, 8], n=25)
    means = values.mean(axis=0)
    counts = next(cluster_counts(25, 300, 0)).astype(int)
    drawn = [np.repeat(values, times, axis=0).mean(axis=0) for times in counts]
    ranges, noise_ranges = [max(d) - min(d) for d in drawn], [max(d - means) - min(d - means) for d in drawn]
    minima, noise_minima = [min(d) for d in drawn], [min(d - means) for d in drawn]
    variances, noise_variances = [np.var(d, ddof=1) for d in drawn], [np.var(d - means, ddof=1) for d in drawn]
    spread, least, variance = max(means) - min(means), min(means), np.var(means, ddof=1)
    expected = {
        "max_minus_min": [
            *(spread, 2 * spread - np.mean(ranges)),
            *(spread - np.percentile(noise_ranges, 97.5), np.percentile(ranges, 97.5)),
        ],
        "worst_group_mean": [
            *(least, 2 * least - np.mean(minima)),
            *(np.percentile(minima, 2.5), least - np.percentile(noise_minima, 2.5)),
        ],
        "between_group_sd": [
            *[np.sqrt(variance - np.mean(noise_variances))] * 2,
            *np.sqrt(np.percentile(variances, [2.5, 97.5]) - 2 * np.mean(noise_variances)),
        ],
    }
    table = of(values)
    for figure, numbers in expected.items():
        np.testing.assert_allclose(table.loc[figure, ESTIMATES].astype(float), numbers, err_msg=figure)


def test_low_may_be_better_and_the_worst_is_then_the_largest() -> None:
    values = sample([9, 7, 8])
    high, low = of(values), of(-values, higher_is_better=False)
    assert low.loc["worst_group_mean", "group"] == high.loc["worst_group_mean", "group"] == "b"
    mirrored = high.loc["worst_group_mean", ["estimate", "bias_corrected", "high", "low"]].astype(float)
    np.testing.assert_allclose(low.loc["worst_group_mean", ESTIMATES].astype(float), -mirrored)
    worse = of(values, higher_is_better=False)
    assert worse.loc["worst_group_mean", "group"] == "a"
    assert worse.loc["worst_to_best_ratio", "estimate"] == pytest.approx(
        1 / high.loc["worst_to_best_ratio", "estimate"]
    )
    assert worse.loc["worst_to_best_ratio", "low"] == pytest.approx(1 / high.loc["worst_to_best_ratio", "high"])


def test_a_ratio_needs_means_above_0_also_where_captions_are_resampled() -> None:
    below = of(sample([9, -7, 8])).loc["worst_to_best_ratio", ESTIMATES]
    assert below.isna().all()
    noise = sample([0, 0, 0])
    near = of(noise - noise.mean(axis=0) + [9, 0.3, 8]).loc["worst_to_best_ratio", ESTIMATES]
    assert near.notna().tolist() == [True, False, False, False]


def test_another_unit_scales_all_figures_but_the_ratio_and_the_order_of_rows_changes_nothing() -> None:
    rows = crossed(sample([9, 7, 8]))
    table = disparity(rows, "language", "score", higher_is_better=True)
    shuffled = disparity(rows.sample(frac=1, random_state=1), "language", "score", higher_is_better=True)
    pd.testing.assert_frame_equal(shuffled, table)
    scaled = disparity(rows.assign(score=10 * rows["score"]), "language", "score", higher_is_better=True)
    factor = np.where(table["figure"] == "worst_to_best_ratio", 1, 10)[:, None]
    np.testing.assert_allclose(scaled[ESTIMATES], factor * table[ESTIMATES])


def test_groups_of_few_captions_are_left_out_and_counted() -> None:
    rows = crossed(sample([9, 7, 8, 0], n=30))
    rows.loc[(rows["language"] == "d") & (rows["source_id"] >= 19), "score"] = np.nan
    rows = pd.concat([rows, rows[rows["language"] == "d"]])
    table = disparity(rows, "language", "score", higher_is_better=True)
    assert set(table["n_groups"]) == {3}
    assert set(table["n_suppressed"]) == {1}
    without = disparity(rows[rows["language"] != "d"], "language", "score", higher_is_better=True)
    pd.testing.assert_frame_equal(table.drop(columns="n_suppressed"), without.drop(columns="n_suppressed"))
    kept = disparity(rows, "language", "score", higher_is_better=True, min_sources=19)
    assert kept.loc[2, "group"] == "d"


@pytest.mark.parametrize("rows", [crossed(sample([9, 7], n=19)), crossed(sample([9])), crossed(sample([9]))[:0]])
def test_fewer_than_two_groups_have_no_disparity(rows: pd.DataFrame) -> None:
    table = disparity(rows, "language", "score", higher_is_better=True)
    assert table["figure"].tolist() == FIGURES
    assert table[ESTIMATES].isna().all(axis=None)
    assert table["group"].isna().all()


def test_a_group_that_a_resample_may_miss_has_no_interval() -> None:
    rows = pd.DataFrame({"source_id": range(8), "region": list("aabbbbbb"), "score": np.arange(8.0) ** 2 + 1})
    table = disparity(rows, "region", "score", higher_is_better=True, min_sources=2)
    assert table.loc[:3, ESTIMATES].notna().any(axis=1).tolist() == [True, True, True, False]
    assert table[["low", "high"]].isna().all(axis=None)


def test_what_captions_share_is_no_noise_between_groups() -> None:
    """Hard and easy captions move all groups together; subtracted as well, they would hide every difference."""
    calm, rough = (of(sample([0, 1, 2], seed=2, caption_sd=sd)) for sd in (0.0, 30.0))
    for figure in ("between_group_sd", "max_minus_min"):
        np.testing.assert_allclose(
            calm.loc[figure, ESTIMATES].astype(float), rough.loc[figure, ESTIMATES].astype(float)
        )


def test_noise_alone_looks_unequal_and_corrections_take_it_away() -> None:
    tables = [of(sample([0.0] * 8, n=30, seed=seed), n_boot=200) for seed in range(80)]
    raw, corrected = (
        pd.DataFrame({figure: [table.loc[figure, column] for table in tables] for figure in FIGURES}).mean()
        for column in ("estimate", "bias_corrected")
    )
    assert raw["between_group_sd_uncorrected"] == pytest.approx(np.sqrt(1 / 30), rel=0.1)
    assert raw["between_group_sd"] < raw["between_group_sd_uncorrected"] / 2
    assert 0.5 < corrected["max_minus_min"] / raw["max_minus_min"] < 0.7
    assert raw["worst_group_mean"] < corrected["worst_group_mean"] < 0
    clear_of_0 = np.mean([table.loc["max_minus_min", "low"] > 0 for table in tables])
    assert clear_of_0 <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / 80)


def test_intervals_hold_the_truth_where_groups_differ() -> None:
    truth = [5.0, 5.1, 5.2, 5.5, 5.9]
    tables = [of(sample(truth, seed=seed), n_boot=200) for seed in range(80)]
    expected = {
        "max_minus_min": 0.9,
        "worst_to_best_ratio": 5 / 5.9,
        "worst_group_mean": 5.0,
        "between_group_sd": np.std(truth, ddof=1),
    }
    for figure, value in expected.items():
        held = np.mean([table.loc[figure, "low"] <= value <= table.loc[figure, "high"] for table in tables])
        assert held >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 80), figure
    assert np.mean([table.loc["between_group_sd", "estimate"] for table in tables]) == pytest.approx(
        expected["between_group_sd"], abs=0.03
    )
