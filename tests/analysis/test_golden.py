"""One small audit on which the statistics of the report agree with statsmodels, scikit-learn, scipy and pandas.

Elsewhere against another library: the bootstrap of means and sign flips (test_bootstrap.py, test_permutation.py, by
scipy), intervals of means and of what is crossed (test_groups.py, test_crossed.py, by statsmodels), quartiles and rank
correlations (test_contrasts.py, test_rank_correlation.py, by pandas and scipy), regressions with clustered errors
(test_regression.py, by statsmodels).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.stats import bootstrap
from sklearn.metrics import roc_auc_score
from statsmodels.stats.meta_analysis import effectsize_smd
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW, ttost_ind, ttost_paired

from emoe_audit.analysis.between import between_contrasts
from emoe_audit.analysis.contrasts import correlate_groups
from emoe_audit.analysis.disparity import disparity
from emoe_audit.analysis.paired import paired_contrasts
from emoe_audit.analysis.power import minimum_detectable_gap, sd_of_differences, sources_for_gap
from emoe_audit.analysis.rank_correlation import partial_spearman
from emoe_audit.analysis.rejection import auroc

LANGUAGES, REGIONS = ("de", "en", "fi", "hi", "sw"), ("002", "142", "150")
N_CAPTIONS, MARGIN, N_BOOT = 45, 0.4, 6000


@pytest.fixture(scope="module")
def audit() -> pd.DataFrame:
    """45 captions in five languages and three regions; harder captions of unequal spread, and a measure of quality."""
    rng = np.random.default_rng(20)
    caption, language = (axis.ravel() for axis in np.indices((N_CAPTIONS, len(LANGUAGES))))
    region = caption % len(REGIONS)
    score = (rng.normal(0, [0.5, 1, 2], (N_CAPTIONS, 3)))[caption, region] + rng.gamma(2, 0.3, len(caption))
    score += np.array([0.0, 0.02, 0.3, 0.5, 0.9])[language] + 0.8 * (region == 0) + 5
    return pd.DataFrame(
        {
            "source_id": caption,
            "language": np.array(LANGUAGES)[language],
            "region": np.array(REGIONS)[region],
            "score": score,
            "quality": 3 - 0.4 * score + rng.normal(0, 0.5, len(caption)),
            "n_tokens": rng.poisson(5 + 2 * language),
        }
    )


def mirrored(audit: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The same with a twin of every caption, mirrored at the mean of its group: without skewness within it."""
    means = audit.groupby(by)["score"].transform("mean")
    return pd.concat([audit, audit.assign(source_id=audit["source_id"] + N_CAPTIONS, score=2 * means - audit["score"])])


@pytest.fixture(scope="module")
def cells(audit: pd.DataFrame) -> pd.DataFrame:
    """Scores, `[caption, language]`."""
    return audit.pivot(index="source_id", columns="language", values="score")


def test_within_captions_without_skewness_it_is_statsmodels_paired_t_and_its_equivalence(audit: pd.DataFrame) -> None:
    even = mirrored(audit, ["language"])
    table = paired_contrasts(even, "language", "score", reference="en", margin=MARGIN).set_index("group")
    cells = even.pivot(index="source_id", columns="language", values="score")
    for language in ("de", "fi", "hi", "sw"):
        differences = DescrStatsW(cells[language] - cells["en"])
        found = table.loc[language]
        assert found["p"] == pytest.approx(differences.ttest_mean()[1])
        assert (found["low"], found["high"]) == pytest.approx(differences.tconfint_mean())
        assert found["effect_size"] == pytest.approx(differences.mean / (differences.std * np.sqrt(90 / 89)))
        equivalent = ttost_paired(cells[language].to_numpy(), cells["en"].to_numpy(), -MARGIN, MARGIN)
        assert found["p_equivalent"] == pytest.approx(equivalent[0])
    assert table["verdict"].tolist() == ["equivalent", "different", "different", "different"]


def test_skewness_makes_students_test_more_careful_and_never_less(audit: pd.DataFrame, cells: pd.DataFrame) -> None:
    table = paired_contrasts(audit, "language", "score", reference="en").set_index("group")
    for language in ("de", "fi", "hi", "sw"):
        plain = DescrStatsW(cells[language] - cells["en"])
        low, high = plain.tconfint_mean()
        assert table.loc[language, "p"] >= plain.ttest_mean()[1] * (1 - 1e-9)
        assert table.loc[language, "low"] <= low + 1e-9 and table.loc[language, "high"] >= high - 1e-9


@pytest.mark.parametrize("region", REGIONS)
def test_between_captions_without_skewness_it_is_statsmodels_welch_test_its_equivalence_and_hedges_g(
    audit: pd.DataFrame, region: str
) -> None:
    """All other regions have one mean, or they were skewed together."""
    even = mirrored(audit, ["language", "region"])
    even["score"] += 0.3 * (even["region"] == region) - even.groupby("region")["score"].transform("mean")
    means = even.groupby(["region", "source_id"])["score"].mean()
    found = between_contrasts(even, "region", "score", margin=MARGIN).set_index("group").loc[region]
    comparison = CompareMeans(DescrStatsW(means[region]), DescrStatsW(means.drop(region)))
    assert found["p"] == pytest.approx(comparison.ttest_ind(usevar="unequal")[1])
    assert (found["low"], found["high"]) == pytest.approx(comparison.tconfint_diff(usevar="unequal"))
    equivalent = ttost_ind(means[region], means.drop(region), -MARGIN, MARGIN, usevar="unequal")
    assert found["p_equivalent"] == pytest.approx(equivalent[0])
    parts = [(part.mean(), part.std(), len(part)) for part in (means[region], means.drop(region))]
    assert found["effect_size"] == pytest.approx(effectsize_smd(*parts[0], *parts[1])[0])


@pytest.mark.parametrize(("contrast", "by"), [(paired_contrasts, "language"), (between_contrasts, "region")])
def test_p_values_are_adjusted_as_statsmodels_does(
    audit: pd.DataFrame, contrast: Callable[..., pd.DataFrame], by: str
) -> None:
    table = contrast(audit, by, "score", margin=MARGIN)
    for p, found, method in (
        ("p", "p_bh", "fdr_bh"),
        ("p", "p_by", "fdr_by"),
        ("p_equivalent", "p_equivalent_bh", "fdr_bh"),
    ):
        np.testing.assert_allclose(table[found], multipletests(table[p], method=method)[1])


@pytest.mark.parametrize("n_tests", [1, 5])
def test_power_is_that_of_statsmodels(audit: pd.DataFrame, cells: pd.DataFrame, n_tests: int) -> None:
    """One-sided at half of the level: significance in the wrong direction finds nothing."""
    sd = sd_of_differences(audit, "language", "score", reference="en")
    pooled = cells.drop(columns="en").sub(cells["en"], axis=0).var(ddof=1).mean() ** 0.5
    assert sd == pytest.approx(pooled)
    options = {"alpha": 0.05 / n_tests / 2, "power": 0.8, "alternative": "larger"}
    gap = minimum_detectable_gap(sd, N_CAPTIONS, n_tests=n_tests)
    assert gap / sd == pytest.approx(TTestPower().solve_power(nobs=N_CAPTIONS, **options), rel=1e-4)
    needed = TTestPower().solve_power(effect_size=0.3 / sd, **options)
    assert sources_for_gap(0.3, sd, n_tests=n_tests) == np.ceil(needed)


def test_disparity_is_that_of_scipys_bootstrap_of_captions(audit: pd.DataFrame, cells: pd.DataFrame) -> None:
    columns = tuple(cells.to_numpy().T)

    def widest(*drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.ptp([own.mean(axis=axis) for own in drawn], axis=0)

    def widest_noise(*drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        noise = [own.mean(axis=axis) - whole.mean() for own, whole in zip(drawn, columns, strict=True)]
        return np.ptp(noise, axis=0)

    spread, noise = (
        bootstrap(columns, own, paired=True, n_resamples=N_BOOT, method="percentile", rng=1)
        for own in (widest, widest_noise)
    )
    table = disparity(audit, "language", "score", higher_is_better=False, n_boot=N_BOOT).set_index("figure")
    value = widest(*columns)
    expected = {
        "estimate": value,
        "bias_corrected": 2 * value - spread.bootstrap_distribution.mean(),
        "low": value - np.quantile(noise.bootstrap_distribution, 0.975),
        "high": spread.confidence_interval.high,
    }
    assert table.loc["max_minus_min", list(expected)].to_dict() == pytest.approx(expected, abs=0.015)


def test_rank_correlations_of_groups_are_those_of_pandas_and_of_residuals_of_ranks(audit: pd.DataFrame) -> None:
    means = audit.groupby("language")[["score", "quality", "n_tokens"]].mean()
    plain = correlate_groups(audit, "score", "quality", by="language", n_boot=20).iloc[0]
    assert plain["rho"] == pytest.approx(means["score"].corr(means["quality"], method="spearman"))
    ranks = audit[["score", "quality", "n_tokens"]].rank()
    given = sm.add_constant(ranks["n_tokens"])
    residuals = [sm.OLS(ranks[name], given).fit().resid for name in ("score", "quality")]
    found = partial_spearman(*(audit[name].to_numpy(dtype=float) for name in ("score", "quality", "n_tokens")))
    assert found == pytest.approx(np.corrcoef(*residuals)[0, 1])


def test_auroc_is_that_of_scikit_learn(audit: pd.DataFrame) -> None:
    bad = audit["quality"] < audit["quality"].quantile(0.3)
    for measure in ("score", "n_tokens"):
        values = audit[measure].to_numpy(dtype=float)
        assert auroc(values[bad], values[~bad]) == pytest.approx(roc_auc_score(bad, values))
