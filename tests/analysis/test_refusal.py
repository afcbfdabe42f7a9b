"""The tables of refusing, against the plain functions they are made of and against runs whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, mannwhitneyu, norm

from emoe_audit.analysis.disparity import MIN_SOURCES
from emoe_audit.analysis.refusal import CERTIFIED, COLUMNS, TOO_FEW, TOO_RISKY, TOP, judged, refusal_tables
from emoe_audit.analysis.rejection import COVERAGES, area_under_risk_coverage, prediction_rejection_ratio, risk_coverage
from emoe_audit.analysis.risk_control import controlled_by_group, controlled_threshold
from emoe_audit.errors import AuditError
from tests.benchmarks.simulated import crossed

LANGUAGES = ["ar", "bn", "de", "fi", "ka"]
RISK, TOLD, TARGET = 0.4, 2.0, 0.2


def run(
    n_sources: int, seed: int = 0, *, risk: Mapping[str, float] | None = None, told: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """Captions in every language. A failure scores `told` higher, so that the AUROC is that of `auroc_of(told)`.

    Whether a prompt fails, and how it scores otherwise, is half the caption's doing.
    """
    rng = np.random.default_rng(seed)
    source = np.repeat(np.arange(n_sources), len(LANGUAGES))
    language = pd.Series(LANGUAGES * n_sources)
    trouble, noise = (
        (rng.normal(size=n_sources)[source] + rng.normal(size=len(source))) / np.sqrt(2) for _ in range(2)
    )
    failed = trouble > norm.isf(language.map(dict(risk or {})).fillna(RISK))
    rank = np.where(failed, rng.integers(TOP + 1, 100, len(source)), rng.integers(1, TOP + 1, len(source)))
    return pd.DataFrame(
        {
            "source_id": [f"s{number:05d}" for number in source],
            "language": language,
            "region": np.array(["002", "150", None], dtype=object)[source % 3],
            "score": failed * language.map(dict(told or {})).fillna(TOLD) + noise,
            "source_rank": rank.astype(float),
        }
    )


def auroc_of(told: float) -> float:
    return float(norm.cdf(told / np.sqrt(2)))


def tables(results: pd.DataFrame, **options: float) -> dict[str, pd.DataFrame]:
    return refusal_tables(results, "score", by=["language", "region"], **{"target": TARGET, "n_boot": 100, **options})  # type: ignore[arg-type]


def of(table: pd.DataFrame, by: str, group: str = "") -> pd.Series:
    (place,) = np.flatnonzero((table["by"] == by) & (table["group"] == group))
    return table.iloc[place]


def trust(results: pd.DataFrame, **options: float) -> pd.DataFrame:
    table = tables(results, **options)["trust"]
    return table[table["by"] == "language"].set_index("group")


@pytest.fixture(scope="module")
def results() -> pd.DataFrame:
    """120 captions, and a language of `MIN_SOURCES - 1`; one prompt without image, one without score."""
    rows = run(120)
    rare = rows[rows["language"] == "ar"].head(MIN_SOURCES - 1).assign(language="sw")
    rows.loc[0, "source_rank"] = np.nan
    rows.loc[7, "score"] = np.nan
    return pd.concat([rows, rare], ignore_index=True)


@pytest.fixture(scope="module")
def found(results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return tables(results)


def test_every_scope_has_its_rows_all_prompts_first(found: dict[str, pd.DataFrame]) -> None:
    scopes = [("", "")] + [("language", name) for name in [*LANGUAGES, "sw"]] + [("region", r) for r in ("002", "150")]
    for name, columns in COLUMNS.items():
        assert list(found[name].columns) == columns
        assert set(found[name]["score"]) == {"score"}
    for name in ("rejection", "thresholds"):
        assert list(zip(found[name]["by"], found[name]["group"], strict=True)) == scopes
    assert list(zip(found["trust"]["by"], found["trust"]["group"], strict=True)) == scopes[1:]
    assert found["rejection_curves"]["coverage"].tolist() == [*COVERAGES] * len(scopes)


@pytest.mark.parametrize(("by", "group"), [("", ""), ("language", "fi"), ("region", "150")])
def test_the_figures_of_a_scope_are_those_of_the_plain_functions(
    results: pd.DataFrame, found: dict[str, pd.DataFrame], by: str, group: str
) -> None:
    rows = results.dropna(subset=["score", "source_rank"])
    rows = rows[rows[by] == group] if by else rows
    score, loss = rows["score"].to_numpy(), (rows["source_rank"] > 10).to_numpy(dtype=float)
    u = mannwhitneyu(score[loss == 1], score[loss == 0]).statistic / (loss.sum() * (1 - loss).sum())
    row = of(found["rejection"], by, group)
    assert (row["n_prompts"], row["n_sources"]) == (len(rows), rows["source_id"].nunique())
    assert row["risk_all"] == pytest.approx(loss.mean())
    assert row["aurc"] == pytest.approx(area_under_risk_coverage(score, loss))
    assert row["aurc_best"] == pytest.approx(area_under_risk_coverage(loss, loss))
    assert row["auroc"] == pytest.approx(u)
    assert row["prr"] == pytest.approx(prediction_rejection_ratio(score, loss))
    for figure in ("aurc", "auroc", "prr"):
        assert row[f"{figure}_low"] < row[figure] < row[f"{figure}_high"]


def test_the_curve_is_the_risk_of_the_lowest_scores(results: pd.DataFrame, found: dict[str, pd.DataFrame]) -> None:
    rows = results[results["language"] == "ka"]
    curve = found["rejection_curves"]
    own = curve[(curve["by"] == "language") & (curve["group"] == "ka")]
    expected = risk_coverage(rows["score"].to_numpy(), (rows["source_rank"] > 10).to_numpy(dtype=float))
    np.testing.assert_allclose(own["risk"], expected[(120 * COVERAGES).round().astype(int) - 1])
    drawn = own.dropna()
    assert ((drawn["low"] > 0) & (drawn["low"] < drawn["risk"])).all()
    assert ((drawn["risk"] < drawn["high"]) & (drawn["high"] < 1)).all()
    assert set(own.index) - set(drawn.index) == set(own.index[own["risk"].isin([0, 1])])


def test_thresholds_are_the_certified_ones_and_rare_groups_take_no_part_of_delta(
    results: pd.DataFrame, found: dict[str, pd.DataFrame]
) -> None:
    rows = judged(results, "score", ["language"])
    expected = controlled_threshold(rows["score"], rows["loss"], rows["source_id"], target=TARGET)
    row = of(found["thresholds"], "")
    assert row["threshold"] == expected.threshold
    assert row["accepted_share"] == expected.accepted_share
    assert row["empirical_risk"] == expected.empirical_risk <= TARGET
    assert (row["n_clusters"], row["verdict"], row["target"], row["delta"]) == (120, CERTIFIED, TARGET, 0.1)
    shown = controlled_by_group(rows[rows["language"] != "sw"], "language", target=TARGET).set_index("group")
    by_group = found["thresholds"][found["thresholds"]["by"] == "language"].set_index("group")
    np.testing.assert_array_equal(by_group.loc[LANGUAGES, "threshold"], shown.loc[LANGUAGES, "threshold"])
    assert shown["threshold"].notna().any()
    assert (
        by_group.loc["sw", "verdict"]
        == TOO_FEW.format(n=19)
        == ("no threshold can be certified: 19 captions are too few")
    )


def test_where_no_threshold_is_certified_it_says_whether_more_captions_could_help() -> None:
    few = of(tables(run(25, risk={"ar": 0.9}))["thresholds"], "")
    assert (few["verdict"], few["accepted_share"]) == (TOO_FEW.format(n=25), 0)
    nowhere = of(tables(run(150, risk=dict.fromkeys(LANGUAGES, 0.9)), target=0.05)["thresholds"], "")
    assert nowhere["verdict"] == TOO_RISKY
    assert np.isnan(nowhere["threshold"]) and np.isnan(nowhere["empirical_risk"])
    assert of(tables(run(12, risk=dict.fromkeys(LANGUAGES, 0.95)))["thresholds"], "")["verdict"] == TOO_FEW.format(n=12)


def test_by_default_half_of_the_risk_is_allowed_in_round_numbers() -> None:
    for risk, target in ((RISK, 0.2), (0.8, 0.4), (0.02, 0.05)):
        rows = run(400, risk=dict.fromkeys(LANGUAGES, risk))
        row = of(refusal_tables(rows, "score", by=[], n_boot=2)["thresholds"], "")
        assert row["target"] == pytest.approx(target, abs=0.051) and round(100 * row["target"], 9) % 5 == 0
        assert row["n_clusters"] == 360


def test_only_a_tenth_of_the_captions_sets_the_target() -> None:
    rows, targets = run(30), []
    for source in rows["source_id"].unique():
        failing = rows.assign(source_rank=rows["source_rank"].mask(rows["source_id"] == source, 99))
        targets.append(of(refusal_tables(failing, "score", by=[], n_boot=2)["thresholds"], "")["target"])
    others = max(set(targets), key=targets.count)
    assert 1 <= sum(target != others for target in targets) <= 3


def test_groups_of_few_captions_have_no_figures(found: dict[str, pd.DataFrame]) -> None:
    named = {"score", "by", "group", "n_prompts", "n_sources", "n_clusters", "target", "delta", "verdict"}
    of_column = {"pooled_auroc", "selection_ratio"}
    for name in ("rejection", "thresholds", "trust"):
        row = of(found[name], "language", "sw").drop([*named, *of_column], errors="ignore")
        assert row.isna().all()
    curves = found["rejection_curves"]
    assert curves.loc[curves["group"] == "sw", ["risk", "low", "high"]].isna().all(axis=None)


def test_a_score_that_says_less_of_one_group_is_found_and_named() -> None:
    table = trust(run(200, told={"bn": 0.3}))
    assert set(table["verdict"]) == {"unequal"}
    assert table["p_bh"].idxmin() == "bn" and table.loc["bn", "difference"] < 0
    assert table.loc["bn", "auroc_low"] < auroc_of(0.3) < table.loc["bn", "auroc_high"]


def test_how_often_a_group_fails_does_not_make_a_score_less_trustworthy() -> None:
    table = trust(run(600, risk={"ar": 0.1, "fi": 0.8}), n_boot=200)
    assert set(table["verdict"]) == {"equal"}
    assert table["auroc"].tolist() == pytest.approx([auroc_of(TOLD)] * 5, abs=0.05)


def test_few_captions_leave_it_unclear() -> None:
    assert set(trust(run(40))["verdict"]) == {"unclear"}


def test_the_pooled_auroc_counts_the_pairs_of_one_group(results: pd.DataFrame, found: dict[str, pd.DataFrame]) -> None:
    won = pairs = 0.0
    for _, rows in results.dropna(subset=["score", "source_rank"]).groupby("language"):
        failed = rows["source_rank"] > 10
        if rows["source_id"].nunique() >= MIN_SOURCES:
            won += mannwhitneyu(rows.loc[failed, "score"], rows.loc[~failed, "score"]).statistic
            pairs += failed.sum() * (~failed).sum()
    table = found["trust"][found["trust"]["by"] == "language"].set_index("group")
    assert table["pooled_auroc"].tolist() == pytest.approx([won / pairs] * 6)
    assert table.loc[LANGUAGES, "difference"].tolist() == pytest.approx(
        (table.loc[LANGUAGES, "auroc"] - won / pairs).tolist()
    )
    assert table.loc[LANGUAGES, "p_bh"].tolist() == pytest.approx(false_discovery_control(table.loc[LANGUAGES, "p"]))


@pytest.mark.slow
def test_groups_that_are_told_alike_are_rarely_called_unequal() -> None:
    """At a level of 5%, in 80 runs of 60 captions; three standard errors are 7%."""
    runs = [run(60, seed, risk={"ar": 0.25, "fi": 0.6}) for seed in range(80)]
    tables = [refusal_tables(rows, "score", by=["language"], n_boot=100)["trust"] for rows in runs]
    assert np.mean([(table["verdict"] == "unequal").all() for table in tables]) <= 0.12


def test_a_group_that_never_fails_is_not_tested() -> None:
    rows = run(100)
    rows.loc[rows["language"] == "de", "source_rank"] = 1.0
    table = trust(rows)
    assert table["p"].isna().tolist() == [name == "de" for name in table.index]
    assert np.isnan(table.loc["de", "auroc"]) and table.loc["de", "n_failed"] == 0


@pytest.mark.parametrize(("n_failing", "is_tested"), [(9, False), (10, True)])
def test_it_takes_ten_captions_with_a_failure_to_test_a_group_however_many_prompts_they_have(
    n_failing: int, is_tested: bool
) -> None:
    """In the region 150 that many captions fail in four of five languages."""
    rows = run(120)
    own = rows["region"] == "150"
    failing = rows.loc[own, "source_id"].unique()[:n_failing]
    fails = rows["source_id"].isin(failing) & (rows["language"] != "ka")
    rows.loc[own, "source_rank"] = np.where(fails, 99.0, 1.0)[own]
    assert np.isfinite(of(tables(rows)["trust"], "region", "150")["p"]) == is_tested


def test_who_is_refused_is_said_for_every_group() -> None:
    rows = run(300, risk={"ar": 0.05, "ka": 0.8})
    found = tables(rows)
    table = found["trust"][found["trust"]["by"] == "language"].set_index("group")
    accepted = (rows["score"] <= of(found["thresholds"], "")["threshold"]).groupby(rows["language"]).mean()
    assert table["accepted_share"].to_dict() == pytest.approx(accepted.to_dict())
    assert (accepted.idxmin(), accepted.idxmax()) == ("ka", "ar")
    assert set(table["selection_ratio"]) == {accepted.min() / accepted.max()}


def test_without_a_threshold_nobody_is_said_to_be_accepted() -> None:
    table = trust(run(60, risk=dict.fromkeys(LANGUAGES, 0.9)), target=0.02)
    assert table[["accepted_share", "selection_ratio"]].isna().all(axis=None)


def test_neither_the_order_of_rows_nor_prompts_that_were_not_judged_matter(results: pd.DataFrame) -> None:
    unjudged = run(50, 9).assign(source_rank=np.nan, source_id=lambda rows: "new" + rows["source_id"], language="xx")
    expected = tables(results)
    for changed in (results.sample(frac=1, random_state=1), pd.concat([unjudged, results], ignore_index=True)):
        for name, table in tables(changed).items():
            pd.testing.assert_frame_equal(table, expected[name])


@pytest.mark.parametrize("rank", [None, np.nan], ids=["no column", "no rank"])
def test_a_run_without_judged_images_gives_empty_tables(rank: float | None) -> None:
    rows = run(30).drop(columns="source_rank") if rank is None else run(30).assign(source_rank=rank)
    found = tables(rows)
    assert {name: list(table.columns) for name, table in found.items()} == COLUMNS
    assert all(table.empty for table in found.values())


def test_without_group_columns_there_is_nobody_to_trust() -> None:
    found = refusal_tables(run(30), "score", by=[], n_boot=20)
    assert found["trust"].empty and list(found["trust"].columns) == COLUMNS["trust"]
    assert found["rejection"]["n_sources"].tolist() == [30]


def test_one_caption_has_figures_and_no_intervals() -> None:
    row = of(tables(run(1, 3))["rejection"], "")
    assert 0 < row["risk_all"] < 1
    assert np.isnan([row["aurc_low"], row["auroc_high"]]).all()


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(AuditError, match="target lies between 0 and 1"):
        tables(run(5), target=1.0)


def test_what_only_differs_between_languages_is_not_told_apart() -> None:
    """With languages for clusters too; captions alone would find an AUROC apart from a half in most runs."""
    wrong = []
    for seed in range(40):
        rows = crossed(30, 10, 1.0, [7, seed])
        rows["source_rank"] = np.where(rows["quality"] < -1, TOP + 1, 1)
        both, alone = (
            refusal_tables(own, "score", by=[], n_boot=60)["rejection"].iloc[0]
            for own in (rows, rows.drop(columns="language"))
        )
        wrong.append([not own["auroc_low"] < 0.5 < own["auroc_high"] for own in (both, alone)])
    assert np.mean(wrong, axis=0)[0] <= 0.15
    assert np.mean(wrong, axis=0)[1] > 0.3


@pytest.mark.parametrize(("failing", "drawn"), [(9, False), (10, True)])
def test_failures_of_nine_captions_are_too_few_for_an_interval(failing: int, drawn: bool) -> None:
    rows = run(60)
    rows["source_rank"] = np.where(rows["source_id"].isin(rows["source_id"].unique()[:failing]), TOP + 1, 1)
    row = of(tables(rows)["rejection"], "")
    assert np.isfinite([row["auroc_low"], row["auroc_high"]]).all() == drawn
    assert np.isfinite(row["auroc"])
