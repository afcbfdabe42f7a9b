"""Gaps: what is there, what is too small to matter, and what could not have been seen."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.stats import nct, t, ttest_ind
from statsmodels.stats.power import TTestPower

from emoe_audit.analysis.gaps import detectable_gaps, gaps

LANGUAGES = ["de", "en", "fi", "sw"]


def audit(n_sources: int, shifts: dict[str, float], seed: int = 0) -> pd.DataFrame:
    """Captions of their own quality, each in four languages, of which some are shifted."""
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame(
        [(f"s{source}", language) for source in range(n_sources) for language in LANGUAGES],
        columns=["source_id", "language"],
    )
    caption = np.repeat(rng.normal(0, 1, n_sources), len(LANGUAGES))
    return rows.assign(quality=caption + rows["language"].map(shifts).fillna(0) + rng.normal(0, 0.3, len(rows)))


def test_a_gap_that_is_there_is_different_and_one_that_is_surely_small_is_no_gap_that_matters() -> None:
    table = gaps(audit(300, {"sw": -0.5}), "language", "quality", margin=0.25).set_index("group")
    assert table["verdict"].to_dict() == {
        "de": "equivalent", "en": "equivalent", "fi": "equivalent", "sw": "different",
    }  # fmt: skip
    assert table.loc["sw", "difference"] == pytest.approx(-0.5, abs=0.1)


def test_few_captions_show_neither_and_say_how_large_a_gap_they_could_have_shown() -> None:
    table = gaps(audit(8, {}), "language", "quality", margin=0.1)
    assert set(table["verdict"]) == {"unclear"}
    assert (table["detectable"] > 0.1).all()


def test_the_smallest_gap_that_can_be_seen_is_that_of_statsmodels() -> None:
    results = audit(50, {"sw": -0.5})
    cells = results.pivot(index="source_id", columns="language", values="quality")
    fi = cells["fi"] - cells.drop(columns="fi").mean(axis=1)
    size = TTestPower().solve_power(nobs=50, alpha=0.05 / len(LANGUAGES), power=0.8, alternative="two-sided")
    table = gaps(results, "language", "quality").set_index("group")
    assert table.loc["fi", "detectable"] == pytest.approx(size * fi.std(), rel=1e-3)


def test_the_smallest_gap_between_captions_is_found_as_often_as_it_says() -> None:
    """Eight captions of large spread against sixty of small: Welch's t has 7.3 degrees of freedom, not 67."""
    spread, n = np.array([2.0] * 8 + [0.5] * 60), 3000
    error, freedom = np.sqrt(4 / 8 + 0.25 / 60), (4 / 8 + 0.25 / 60) ** 2 / ((4 / 8) ** 2 / 7 + (0.25 / 60) ** 2 / 59)
    told = detectable_gaps(pd.DataFrame({"error": [error], "freedom": [freedom], "n_tests": [1]}))[0]
    values = np.random.default_rng(0).normal(size=(n, 68)) * spread
    own, others = values[:, :8] + told, values[:, 8:]
    assert (ttest_ind(own, others, axis=1, equal_var=False, alternative="two-sided").pvalue <= 0.05).mean() == (
        pytest.approx(0.8, abs=0.025)
    )


def test_every_row_takes_the_error_and_freedom_of_its_own_test() -> None:
    rng = np.random.default_rng(1)
    rows = pd.DataFrame({"source_id": np.arange(68), "region": ["a"] * 8 + ["b"] * 60})
    rows["quality"] = rng.normal(size=68) * np.where(rows["region"] == "a", 2, 0.5)
    row = gaps(rows, "region", "quality").set_index("group").loc["a"]
    own, others = (rows.loc[rows["region"] == region, "quality"] for region in "ab")
    square_1, square_2 = own.var() / 8, others.var() / 60
    freedom = (square_1 + square_2) ** 2 / (square_1**2 / 7 + square_2**2 / 59)
    wanted = brentq(lambda away: nct.sf(t.isf(0.05 / 4, freedom), freedom, away) - 0.8, 0, 20)
    assert row["detectable"] == pytest.approx(wanted * np.sqrt(square_1 + square_2))


def test_the_margin_is_a_fifth_of_a_standard_deviation_unless_one_is_given() -> None:
    results = audit(40, {})
    expected = 0.2 * np.std(results["quality"], ddof=1)
    assert gaps(results, "language", "quality")["margin"].to_numpy() == pytest.approx(expected)
    assert (gaps(results, "language", "quality", margin=0.7)["margin"] == 0.7).all()


def test_a_measure_that_never_varies_has_no_margin_and_no_verdict() -> None:
    table = gaps(audit(10, {}).assign(quality=1.0), "language", "quality")
    assert table[["margin", "detectable", "p"]].isna().all(axis=None)
    assert set(table["verdict"]) == {"unclear"}
