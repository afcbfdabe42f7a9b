"""Errors of captions in languages, against statsmodels and against audits in which nothing goes together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from emoe_audit.analysis.contrasts import correlate_prompts
from emoe_audit.analysis.crossed import crossed_error, half_width, on_fisher_scale, ways
from tests.benchmarks.simulated import crossed


def test_the_error_of_a_mean_is_that_of_statsmodels_clustered_both_ways() -> None:
    rows = crossed(12, 9, 1.0, 0, caption=1.0).sample(90, random_state=0)
    values, codes = rows["score"].to_numpy(), ways(rows)
    error, freedom = crossed_error((values - values.mean()) / len(values), codes)
    fit = sm.OLS(values, np.ones(len(values))).fit(cov_type="cluster", cov_kwds={"groups": np.column_stack(codes)})
    assert error == pytest.approx(fit.bse[0])
    sizes = rows["language"].value_counts()
    assert freedom == pytest.approx(sizes.sum() ** 2 / (sizes**2).sum() - 1)


def test_clusters_of_unequal_sizes_count_as_fewer() -> None:
    values, captions = np.random.default_rng(0).normal(size=40), np.arange(40)
    assert crossed_error(values, [captions, np.arange(40) % 4])[1] == 3
    mostly_two = np.repeat([0, 1, 2, 3], [18, 18, 2, 2])
    assert crossed_error(values, [captions, mostly_two])[1] == pytest.approx(40**2 / (2 * 18**2 + 2 * 2**2) - 1)
    assert np.isnan(crossed_error(values, [captions, np.repeat([0, 1, 2], [38, 1, 1])])).all(), "nearly one language"


def test_one_language_answers_for_itself_and_two_of_anything_for_nothing() -> None:
    rows = crossed(12, 1, 0.0, 1)
    values = rows["score"].to_numpy()
    error, freedom = crossed_error((values - values.mean()) / 12, ways(rows))
    assert error == pytest.approx(values.std(ddof=1) / np.sqrt(12))
    assert freedom == 11
    assert np.isnan(crossed_error(np.ones(24), ways(crossed(12, 2, 0.0, 1)))).all()
    assert np.isnan(crossed_error(np.ones(24), ways(crossed(2, 12, 0.0, 1)))).all()


def test_images_that_captions_were_written_for_are_the_clusters() -> None:
    rows = crossed(6, 4, 0.0, 2).assign(parallel="image", image_id=lambda own: own["source_id"] // 2)
    assert len(np.unique(ways(rows)[0])) == 3


def test_without_spread_there_is_no_interval() -> None:
    assert np.isnan(half_width(0.0, 5, 0.95))
    assert np.isnan(on_fisher_scale(1.0, 0.0, 5, 0.95)).all()
    assert np.isnan(on_fisher_scale(float("nan"), 0.1, 5, 0.95)).all()


def apart(rows: pd.DataFrame) -> bool:
    """Whether the interval of the correlation leaves out 0."""
    row = correlate_prompts(rows, "score", "quality").iloc[0]
    return bool(row["low"] > 0 or row["high"] < 0)


def test_what_only_differs_between_languages_is_not_called_related() -> None:
    """The control takes captions alone for independent, and is wrong in half of the audits."""
    audits = [crossed(20, 12, 1.0, seed) for seed in range(120)]
    assert np.mean([apart(rows) for rows in audits]) <= 0.1
    assert np.mean([apart(rows.drop(columns="language")) for rows in audits]) > 0.3


def test_what_goes_together_is_found() -> None:
    assert all(apart(crossed(20, 12, 0.5, seed, caption=0.5, rho=-0.6)) for seed in range(20))
    assert all(apart(crossed(8, 40, 1.0, seed, caption=0.5, rho=-0.6)) for seed in range(20))
