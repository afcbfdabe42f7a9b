"""Contrasts between captions: against scipy, the formula of the paper, planted effects, and samples of equals."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t, ttest_1samp, ttest_ind, ttest_rel

from emoe_audit.analysis.between import COLUMNS, between_contrasts, clusters, compare, contrasts
from emoe_audit.analysis.paired import OTHERS, paired_contrasts
from emoe_audit.errors import AuditError

REGIONS = ("Africa", "Asia", "Europe")
UNDEFINED = ["low", "high", "p", "effect_size", "p_equivalent", "p_bh", "p_by", "p_equivalent_bh"]


def captions_of(
    n: int = 30, languages: str = "ab", seed: int = 0, effects: tuple[float, ...] = (0, 0, 0)
) -> pd.DataFrame:
    """Captions that belong to a region, in turn, in every language."""
    rng = np.random.default_rng(seed)
    caption = np.repeat(np.arange(n), len(languages))
    region = caption % 3
    score = (np.asarray(effects) + rng.normal(0, [1, 2, 3], (n, 3)))[caption, region] + rng.normal(size=len(caption))
    return pd.DataFrame(
        {
            "source_id": caption,
            "region": np.array(REGIONS)[region],
            "language": list(languages) * n,
            "score": score,
        }
    )


def images_of(n: int = 25, seed: int = 0) -> pd.DataFrame:
    """Captions written for images, one in each of three languages, and a second one in the first."""
    rng = np.random.default_rng(seed)
    image, language = np.repeat(np.arange(n), 4), np.tile(np.array(["en", "en", "fi", "sw"]), n)
    return pd.DataFrame(
        {
            "source_id": np.arange(4 * n),
            "image_id": image,
            "parallel": "image",
            "language": language,
            "score": rng.normal(0, 2, n)[image] + rng.normal(size=4 * n) + 0.8 * (language == "sw"),
        }
    )


@pytest.mark.parametrize("reference", [None, "Asia"])
def test_it_is_scipys_welch_test_on_means_of_captions(reference: str | None) -> None:
    rows = captions_of()
    means = rows.groupby(["region", "source_id"])["score"].mean()
    table = between_contrasts(rows, "region", "score", reference=reference, confidence=0.9)
    assert table["group"].tolist() == [region for region in REGIONS if region != reference]
    assert set(table["reference"]) == {reference or OTHERS}
    for row in table.to_dict("records"):
        others = means.drop(row["group"]) if reference is None else means[reference]
        test = ttest_ind(means[row["group"]], others, equal_var=False)
        interval = test.confidence_interval(0.9)
        assert (row["difference"] / row["error"], row["freedom"]) == pytest.approx((test.statistic, test.df))
        assert row["p"] >= test.pvalue * (1 - 1e-9)
        assert row["low"] <= interval.low + 1e-9 and row["high"] >= interval.high - 1e-9
        assert row["difference"] == pytest.approx(means[row["group"]].mean() - others.mean())
        assert row["n_sources"] == 10


@pytest.mark.parametrize("margin", [0.1, 3.0])
def test_equivalence_is_the_worse_of_two_one_sided_tests(margin: float) -> None:
    """Regions of one mean, mirrored: without skewness."""
    rows = captions_of()
    rows["score"] -= rows.groupby(["region", "language"])["score"].transform("mean")
    rows = pd.concat([rows, rows.assign(source_id=rows["source_id"] + 30, score=-rows["score"])])
    means = rows.groupby(["region", "source_id"])["score"].mean()
    for row in between_contrasts(rows, "region", "score", margin=margin).to_dict("records"):
        own, others = means[row["group"]], means.drop(row["group"])
        above = ttest_ind(own + margin, others, equal_var=False, alternative="greater").pvalue
        below = ttest_ind(own - margin, others, equal_var=False, alternative="less").pvalue
        assert row["p_equivalent"] == pytest.approx(max(above, below))


def test_a_region_that_lacks_the_easy_language_does_not_look_hard() -> None:
    rows = captions_of(300, languages="abc", effects=(0, 0, 1), seed=3)
    rows["score"] += rows["language"].map({"a": 0.0, "b": 5.0, "c": -20.0})
    complete = between_contrasts(rows, "region", "score").set_index("group")
    lacking = (rows["region"] == "Africa") & (rows["language"] == "b") & (rows["source_id"] % 4 > 0)
    lacking |= (rows["region"] == "Europe") & (rows["language"] == "c") & (rows["source_id"] % 5 > 0)
    without = between_contrasts(rows[~lacking], "region", "score").set_index("group")
    assert without["n_sources"].tolist() == complete["n_sources"].tolist()
    np.testing.assert_allclose(without["difference"], complete["difference"], atol=0.25)
    raw = between_contrasts(rows[~lacking].drop(columns="language"), "region", "score").set_index("group")
    assert raw.loc["Europe", "difference"] > complete.loc["Europe", "difference"] + 5


def test_where_all_captions_are_in_all_languages_these_change_nothing() -> None:
    rows = captions_of()
    moved = rows.assign(score=rows["score"] + rows["language"].map({"a": 0.0, "b": 7.0}))
    pd.testing.assert_frame_equal(
        between_contrasts(moved, "region", "score"), between_contrasts(rows, "region", "score"), atol=1e-9
    )


def test_languages_that_make_up_the_groups_are_not_taken_out() -> None:
    rows = captions_of(40, languages="abcd", seed=1).assign(
        script=lambda own: own["language"].isin(["c", "d"]).astype(str)
    )
    rows["score"] += 3 * (rows["script"] == "True")
    with_languages, without = (
        between_contrasts(own, "script", "score") for own in (rows, rows.drop(columns="language"))
    )
    pd.testing.assert_frame_equal(with_languages, without)
    assert with_languages["difference"].tolist() == pytest.approx([-3, 3], abs=0.5)


def test_where_all_clusters_are_shared_it_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(2)
    own = rng.normal(size=20)
    others = own + rng.normal(0.3, 0.5, 20)
    found = compare(own, others, 0.0)
    test = ttest_rel(own, others)
    assert found.difference / found.error == pytest.approx(test.statistic)
    assert found.freedom == pytest.approx(19)


def test_partly_shared_clusters_follow_the_formula_of_the_paper() -> None:
    """Derrick, Russ, Toher and White 2017, T_new2: n_a and n_b alone on a side, n_c on both."""
    rng = np.random.default_rng(4)
    own, others = rng.normal(size=30), rng.normal(size=30)
    others += 0.5 * own
    own[:8], others[22:] = np.nan, np.nan
    n_1, n_2, n_a, n_b, n_c = 22, 22, 8, 8, 14
    s_1, s_2 = np.nanstd(own, ddof=1), np.nanstd(others, ddof=1)
    r = np.corrcoef(own[8:22], others[8:22])[0, 1]
    error = np.sqrt(s_1**2 / n_1 + s_2**2 / n_2 - 2 * r * s_1 * s_2 * n_c / (n_1 * n_2))
    gamma = (s_1**2 / n_1 + s_2**2 / n_2) ** 2 / ((s_1**2 / n_1) ** 2 / (n_1 - 1) + (s_2**2 / n_2) ** 2 / (n_2 - 1))
    freedom = (n_c - 1) + (gamma - n_c + 1) / (n_a + n_b + 2 * n_c) * (n_a + n_b)
    found = compare(own, others, 0.0)
    assert (found.error, found.freedom) == pytest.approx((error, freedom))


def test_captions_written_for_an_image_count_by_image_and_are_never_pairs() -> None:
    rows = images_of()
    table = contrasts(rows, "language", "score").set_index("group")
    assert set(table["design"]) == {"between"}
    assert table["n_sources"].tolist() == [25, 25, 25]
    cells = rows.groupby(["image_id", "language"])["score"].mean().unstack()
    test = ttest_rel(cells["sw"], cells[["en", "fi"]].mean(axis=1))
    assert table.loc["sw", "difference"] / table.loc["sw", "error"] == pytest.approx(test.statistic)
    by_caption = between_contrasts(rows.drop(columns="parallel"), "language", "score").set_index("group")
    assert by_caption["n_sources"].tolist() == [50, 25, 25]
    translated = rows.assign(source_id=rows["image_id"])
    assert set(contrasts(translated, "language", "score")["design"]) == {"between"}
    assert set(contrasts(translated.drop(columns="parallel"), "language", "score")["design"]) == {"paired"}


def test_an_image_and_a_caption_of_the_same_name_are_two_clusters() -> None:
    rows = pd.DataFrame(
        {
            "source_id": ["1", "1", "2", "3"],
            "parallel": ["translation", None, "image", "image"],
            "image_id": [1, 1, 1, None],
        }
    )
    found = clusters(rows)
    assert found[0] == found[1]
    assert len({found[0], found[2], found[3]}) == 3
    assert clusters(rows.drop(columns="parallel")).tolist() == ["1", "1", "2", "3"]


def test_each_group_is_compared_by_the_design_that_its_captions_allow() -> None:
    """Languages of one caption are pairs; a language of captions of its own is not."""
    pairs = captions_of(20, languages="abc")
    alone = captions_of(12, languages="d", seed=9).assign(source_id=lambda rows: rows["source_id"] + 18)
    rows = pd.concat([pairs, alone], ignore_index=True)
    table = contrasts(rows, "language", "score", margin=0.5)
    assert table.columns.tolist() == COLUMNS
    assert table["group"].tolist() == ["a", "b", "c", "d"]
    assert table["design"].tolist() == ["paired"] * 3 + ["between"]
    assert set(table["n_tests"]) == {4}
    shared = ["difference", "low", "high", "p", "effect_size", "p_equivalent"]
    parts = (paired_contrasts, table[:3]), (between_contrasts, table[3:])
    for tested, found in parts:
        expected = tested(rows, "language", "score", margin=0.5).set_index("group").loc[found["group"], shared]
        pd.testing.assert_frame_equal(found.set_index("group")[shared], expected)
    enough = pd.concat([pairs, alone[:4]], ignore_index=True)
    assert contrasts(enough, "language", "score")["design"].tolist() == ["paired"] * 4


def test_regions_are_compared_between_captions_and_languages_within() -> None:
    rows = captions_of()
    regions, languages = contrasts(rows, "region", "score"), contrasts(rows, "language", "score")
    pd.testing.assert_frame_equal(regions, between_contrasts(rows, "region", "score"))
    expected = paired_contrasts(rows, "language", "score")
    pd.testing.assert_frame_equal(languages.drop(columns="design"), expected, check_dtype=False)
    test = ttest_1samp(rows["score"].to_numpy().reshape(-1, 2) @ [1, -1], 0)
    assert (languages["difference"] / languages["error"]).tolist() == pytest.approx([test.statistic, -test.statistic])


def test_verdicts_and_that_a_difference_too_small_to_matter_is_equivalent() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(0, [0.2, 0.2, 0.2, 9], (100, 4))
    values = noise - noise.mean(axis=0) + np.array([0, 2.0, 0.1, 0.5])
    rows = pd.DataFrame({"source_id": range(400), "region": list("abcd") * 100, "score": values.ravel()})
    table = between_contrasts(rows, "region", "score", reference="a", margin=0.5)
    assert table["verdict"].tolist() == ["different", "equivalent", "unclear"]
    assert table["p"][1] < 0.05
    without = between_contrasts(rows, "region", "score", reference="a")
    assert without["verdict"].tolist() == ["different", "different", "unclear"]


def test_neither_unit_nor_offset_nor_order_of_rows_matters() -> None:
    rows = captions_of(languages="abc").iloc[:-1]
    expected = contrasts(rows, "region", "score", margin=0.5)
    pd.testing.assert_frame_equal(
        contrasts(rows.sample(frac=1, random_state=3), "region", "score", margin=0.5), expected
    )
    moved = contrasts(rows.assign(score=5 + 10 * rows["score"]), "region", "score", margin=5.0)
    measured = ["difference", "error", "low", "high"]
    pd.testing.assert_frame_equal(moved.assign(**{name: moved[name] / 10 for name in measured}), expected)


def test_what_cannot_be_tested_is_nan_and_no_test() -> None:
    rows = captions_of(30, languages="a")
    rows = rows[(rows["region"] != "Africa") | (rows["source_id"] == 0)]
    table = contrasts(rows, "region", "score", reference="Asia", margin=1.0).set_index("group")
    assert table["n_sources"].tolist() == [1, 10]
    assert table.loc["Africa", "difference"] == pytest.approx(
        rows.loc[0, "score"] - rows.loc[rows["region"] == "Asia", "score"].mean()
    )
    assert table.loc["Africa", UNDEFINED].isna().all()
    assert table["verdict"].tolist() == ["unclear", "unclear"]
    assert set(table["n_tests"]) == {1}
    constant = contrasts(rows.assign(score=0.3), "region", "score", margin=1.0)
    assert constant[UNDEFINED].isna().all(axis=None)
    one = contrasts(rows[rows["region"] == "Asia"], "region", "score")
    assert one["difference"].isna().all()


def test_captions_without_a_region_or_a_value_are_left_out() -> None:
    rows = captions_of(30, languages="a")
    more = rows.assign(source_id=rows["source_id"] + 100, region=None)
    nothing = rows.assign(source_id=rows["source_id"] + 200, score=np.nan)
    pd.testing.assert_frame_equal(
        contrasts(pd.concat([rows, more, nothing]), "region", "score"), contrasts(rows, "region", "score")
    )


def test_a_measure_nobody_has_gives_no_rows() -> None:
    table = contrasts(captions_of().assign(score=np.nan), "region", "score")
    assert table.columns.tolist() == COLUMNS
    assert table.empty


def test_what_is_asked_for_has_to_be_there() -> None:
    with pytest.raises(
        AuditError, match="no prompt with a score has region 'Mars'; choose one of Africa, Asia, Europe"
    ):
        contrasts(captions_of(), "region", "score", reference="Mars")
    with pytest.raises(AuditError, match="must be above 0, not -1"):
        contrasts(captions_of(), "region", "score", margin=-1)


@pytest.mark.parametrize("n_shared", [0, 12, 20])
def test_where_nothing_differs_five_in_a_hundred_intervals_miss_0(n_shared: int) -> None:
    """Also where a part of the clusters holds both sides, of unequal number and spread."""
    rng = np.random.default_rng(5)
    n_trials, tables = 2000, []
    for _ in range(n_trials):
        common, own, others = rng.normal(size=50), rng.normal(0, 0.5, 50), rng.normal(0, 2, 50)
        own, others = own + common, others + common
        own[20:], others[: 20 - n_shared] = np.nan, np.nan
        tables.append(compare(own, others, 0.0))
    t_values = np.array([table.difference / table.error for table in tables])
    p = 2 * t.sf(np.abs(t_values), np.array([table.freedom for table in tables]))
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / n_trials))


def test_thousands_of_captions_in_two_hundred_groups_take_seconds() -> None:
    rng = np.random.default_rng(6)
    rows = pd.DataFrame({"source_id": np.arange(100_000) // 4, "language": np.arange(100_000) % 4})
    rows["region"], rows["score"] = (rows["source_id"] % 200).astype(str), rng.normal(size=100_000)
    started = time.perf_counter()
    assert len(contrasts(rows, "region", "score")) == 200
    assert time.perf_counter() - started < 15
