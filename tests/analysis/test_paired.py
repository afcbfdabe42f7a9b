"""Contrasts within captions: against scipy's tests, naive loops, and samples in which nothing differs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import skew, t, ttest_1samp, ttest_rel

from emoe_audit.analysis.multiplicity import adjusted
from emoe_audit.analysis.paired import COLUMNS, OTHERS, paired_contrasts, within_caption_differences
from emoe_audit.errors import AuditError


def crossed(values: np.ndarray) -> pd.DataFrame:
    """A row per caption and group of `[caption, group]`."""
    captions, groups = np.indices(values.shape)
    frame = {"source_id": captions.ravel(), "language": groups.ravel(), "score": values.ravel()}
    return pd.DataFrame(frame).assign(language=lambda rows: "g" + rows["language"].astype(str).str.zfill(3))


def some(n_captions: int = 30, n_groups: int = 4, seed: int = 0) -> np.ndarray:
    """Half of the captions mirror the others, so that no difference is skewed and its test is Student's."""
    rng, half = np.random.default_rng(seed), n_captions // 2
    values = rng.normal(0, 3, (half, 1)) + rng.normal(np.linspace(0, 0.8, n_groups), 1, (half, n_groups))
    return np.vstack([values, 2 * values.mean(axis=0) - values])


def p_of(differences: pd.Series) -> float:
    """Of skewed differences: the larger of Student's and of Student's after Hall's cubic."""
    n = len(differences)
    x, k = differences.mean() / differences.std() * np.sqrt(n), skew(differences) / np.sqrt(n)
    moved = x + k * (x**2 / 3 + 1 / 6) + k**2 * x**3 / 27
    return 2 * min(max(t.sf(x, n - 1), t.sf(moved, n - 1)), max(t.cdf(x, n - 1), t.cdf(moved, n - 1)), 0.5)


def test_with_a_reference_it_is_scipys_paired_t_test() -> None:
    values = some()
    table = paired_contrasts(crossed(values), "language", "score", reference="g000", confidence=0.9)
    assert table["group"].tolist() == ["g001", "g002", "g003"]
    assert set(table["reference"]) == {"g000"}
    for column, row in enumerate(table.to_dict("records"), start=1):
        test = ttest_rel(values[:, column], values[:, 0])
        interval = test.confidence_interval(0.9)
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
        assert row["p"] == pytest.approx(test.pvalue)
        assert row["difference"] == pytest.approx((interval.low + interval.high) / 2)
        assert row["effect_size"] == pytest.approx(test.statistic / np.sqrt(30))
        assert row["n_sources"] == 30


def test_the_others_are_those_the_caption_has_each_counted_once() -> None:
    rows = crossed(some(12, 3))
    rows = pd.concat([rows, rows.iloc[::5].assign(score=lambda again: again["score"] + 1)]).drop(index=[4, 10, 11])
    rows.loc[rows.index[7], "score"] = np.nan
    found = within_caption_differences(rows, "language", "score")
    for caption in range(12):
        means = {}
        for group in ("g000", "g001", "g002"):
            scores = rows.loc[(rows["source_id"] == caption) & (rows["language"] == group), "score"].dropna()
            if len(scores):
                means[group] = sum(scores) / len(scores)
        for group in ("g000", "g001", "g002"):
            others = [mean for other, mean in means.items() if other != group]
            if group in means and others:
                assert found.loc[caption, group] == pytest.approx(means[group] - sum(others) / len(others))
            else:
                assert np.isnan(found.loc[caption, group])
    table = paired_contrasts(rows, "language", "score").set_index("group")
    assert set(table["reference"]) == {OTHERS}
    for group in table.index:
        assert table.loc[group, "p"] == pytest.approx(p_of(found[group].dropna()))
        assert table.loc[group, "n_sources"] == found[group].count() < 12


def test_what_a_caption_adds_to_all_its_prompts_changes_nothing_nor_does_the_order_of_rows() -> None:
    rows = crossed(some())
    expected = paired_contrasts(rows, "language", "score")
    harder = rows.assign(score=rows["score"] + 100 * rows["source_id"])
    pd.testing.assert_frame_equal(paired_contrasts(harder, "language", "score"), expected)
    pd.testing.assert_frame_equal(paired_contrasts(rows.sample(frac=1, random_state=3), "language", "score"), expected)


@pytest.mark.parametrize("margin", [0.1, 0.9, 3.0])
def test_equivalence_is_the_worse_of_two_one_sided_tests(margin: float) -> None:
    values = some()
    table = paired_contrasts(crossed(values), "language", "score", reference="g000", margin=margin)
    for column, p in enumerate(table["p_equivalent"], start=1):
        differences = values[:, column] - values[:, 0]
        above = ttest_1samp(differences, -margin, alternative="greater").pvalue
        below = ttest_1samp(differences, margin, alternative="less").pvalue
        assert p == pytest.approx(max(above, below))


def test_verdicts_and_that_a_difference_too_small_to_matter_is_equivalent() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(0, [0.01, 0.2, 0.2, 0.2, 5], (100, 5))
    rows = crossed(noise - noise.mean(axis=0) + np.array([0, 2.0, 0.1, 0, 0.5]))
    table = paired_contrasts(rows, "language", "score", reference="g000", margin=0.5)
    assert table["verdict"].tolist() == ["different", "equivalent", "equivalent", "unclear"]
    assert (table["p"] < 0.05).tolist() == [True, True, False, False]
    without = paired_contrasts(rows, "language", "score", reference="g000")
    assert without["verdict"].tolist() == ["different", "different", "unclear", "unclear"]
    assert without[["p_equivalent", "p_equivalent_bh"]].isna().all(axis=None)


def test_adjusted_p_values_are_those_of_the_papers() -> None:
    p = np.array([0.04, 0.001, 0.8, 0.02, 0.03])
    steps = [min(5 / rank * value for rank, value in enumerate(sorted(p), start=1) if value >= own) for own in p]
    np.testing.assert_allclose(adjusted(pd.Series(p), "bh"), steps)
    np.testing.assert_allclose(adjusted(pd.Series(p), "by"), np.minimum(1, np.array(steps) * sum(1 / np.arange(1, 6))))


def test_what_cannot_be_tested_is_nan_and_no_test() -> None:
    values = some(10, 4)
    values[1:, 1] = np.nan
    values[:, 2] = values[:, 0] + 0.1
    table = paired_contrasts(crossed(values), "language", "score", reference="g000", margin=1.0).set_index("group")
    assert table["n_sources"].tolist() == [1, 10, 10]
    assert table["difference"].tolist()[:2] == pytest.approx([values[0, 1] - values[0, 0], 0.1])
    undefined = ["low", "high", "p", "effect_size", "p_equivalent", "p_bh", "p_by", "p_equivalent_bh"]
    assert table.loc[["g001", "g002"], undefined].isna().all(axis=None)
    assert table.loc[["g001", "g002"], "verdict"].tolist() == ["unclear", "unclear"]
    assert table["n_tests"].tolist() == [1, 1, 1]
    assert table.loc["g003", "p_bh"] == table.loc["g003", "p_by"] == table.loc["g003", "p"]


def test_seven_captions_are_too_few_and_eight_are_not() -> None:
    """Of 5 exponential values an interval would hold the truth in 91%, of 8 in 94%."""
    for n, tested in ((7, False), (8, True)):
        table = paired_contrasts(crossed(np.random.default_rng(0).normal(size=(n, 3))), "language", "score")
        assert table[["low", "high", "p"]].notna().all(axis=None) == tested
        assert table["effect_size"].notna().all()


@pytest.mark.parametrize("reference", [None, "g000"])
def test_a_group_whose_captions_are_all_alike_is_not_tested(reference: str | None) -> None:
    """Twenty failures of twenty: how often it fails is not known to be 1, but its spread says so."""
    values = (np.random.default_rng(8).random((20, 4)) < 0.6).astype(float)
    values[:, 2] = 1
    table = paired_contrasts(crossed(values), "language", "score", reference=reference).set_index("group")
    assert table["p"].isna().to_dict() == {group: group == "g002" for group in table.index}
    against = paired_contrasts(crossed(values), "language", "score", reference="g002")
    assert against[["low", "high", "p"]].isna().all(axis=None)


def test_groups_that_share_no_caption_have_no_difference() -> None:
    rows = pd.DataFrame({"source_id": range(6), "region": list("aabbcc"), "score": np.arange(6.0)})
    table = paired_contrasts(rows, "region", "score")
    assert table["n_sources"].tolist() == table["n_tests"].tolist() == [0, 0, 0]
    assert table["difference"].isna().all()


def test_a_measure_nobody_has_gives_no_rows() -> None:
    table = paired_contrasts(crossed(some()).assign(score=np.nan), "language", "score")
    assert table.columns.tolist() == COLUMNS
    assert table.empty


def test_what_is_asked_for_has_to_be_there() -> None:
    rows = crossed(some(3, 2))
    with pytest.raises(AuditError, match="no prompt with a score has language 'fi'; choose one of g000, g001"):
        paired_contrasts(rows, "language", "score", reference="fi")
    with pytest.raises(AuditError, match="must be above 0, not -1"):
        paired_contrasts(rows, "language", "score", margin=-1)


@pytest.mark.parametrize(
    ("shape", "n", "level"), [("normal", 20, 0.045), ("normal", 50, 0.047), ("skewed", 10, 0.05), ("skewed", 50, 0.035)]
)
def test_where_nothing_differs_five_in_a_hundred_intervals_miss_0(shape: str, n: int, level: float) -> None:
    """2,000 groups against a reference that is 0; Student's is wrong in 9 and 6% of exponential values."""
    rng = np.random.default_rng(5)
    values = rng.normal(size=(n, 2001)) if shape == "normal" else rng.exponential(size=(n, 2001)) - 1
    values[:, 0] = 1e-6 * rng.normal(size=n)
    table = paired_contrasts(crossed(values), "language", "score", reference="g000")
    missed = (table["low"] > 0) | (table["high"] < 0)
    np.testing.assert_array_equal(missed, table["p"] < 0.05)
    assert missed.mean() == pytest.approx(level, abs=3 * np.sqrt(0.05 * 0.95 / 2000))


def test_a_run_of_equal_groups_seldom_calls_any_different() -> None:
    rng = np.random.default_rng(7)
    runs = [paired_contrasts(crossed(rng.normal(size=(20, 6))), "language", "score") for _ in range(60)]
    wrong = np.mean([(run["verdict"] == "different").any() for run in runs])
    assert wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)
    assert np.mean([(run["p"] <= 0.05).any() for run in runs]) > 0.15


def test_at_the_margin_equivalence_is_claimed_in_five_of_a_hundred() -> None:
    rng = np.random.default_rng(6)
    values = rng.normal(0.5, 1, (40, 2001))
    values[:, 0] = 1e-6 * rng.normal(size=40)
    table = paired_contrasts(crossed(values), "language", "score", reference="g000", margin=0.5)
    assert (table["p_equivalent"] <= 0.05).mean() == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 2000))
    assert not (table["verdict"] == "equivalent").any()
