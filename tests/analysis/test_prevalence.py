"""Corrected shares: against closed forms, scipy's solvers, and how often intervals and test hold in simulations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.stats import binomtest, chisquare

from emoe_audit.analysis.confusion import Confusion, mixing_shares
from emoe_audit.analysis.prevalence import COLUMNS, prevalence
from emoe_audit.errors import AuditError

CLASSES = ("a", "b", "c")
GOOD = np.array([[0.8, 0.15, 0.05], [0.1, 0.8, 0.1], [0.05, 0.25, 0.7]])
EVEN = dict.fromkeys(CLASSES, 1 / 3)


def labels(rates: np.ndarray, n: int, rng: np.random.Generator, classes: tuple[str, ...] = CLASSES) -> pd.DataFrame:
    """So many labelled images of each class, the i-th of every class being of source i."""
    rows = [(i, own, rng.choice(classes, p=row)) for own, row in zip(classes, rates, strict=True) for i in range(n)]
    return pd.DataFrame(rows, columns=["source_id", "class", "seen"])


def images(
    shares: list[float], rates: np.ndarray, rng: np.random.Generator, *, n_sources: int = 60, alike: float = 0.5
) -> pd.DataFrame:
    """Three languages of each caption; with chance `alike` an image has the class that the caption tends to."""
    classes = np.arange(len(shares))
    tendency = np.repeat(rng.choice(classes, n_sources, p=shares), 3)
    own = np.where(rng.random(3 * n_sources) < alike, tendency, rng.choice(classes, 3 * n_sources, p=shares))
    seen = [CLASSES[rng.choice(classes, p=rates[place])] for place in own]
    source, language = np.divmod(np.arange(3 * n_sources), 3)
    return pd.DataFrame({"source_id": source, "language": np.array(list("xyz"))[language], "seen": seen})


def exactly(counts: dict[str, int], group: str = "x", start: int = 0) -> pd.DataFrame:
    """So many images of each class, one a caption."""
    seen = [name for name, n in counts.items() for _ in range(n)]
    return pd.DataFrame({"source_id": np.arange(len(seen)) + start, "language": group, "seen": seen})


def perfect(n: int = 5000) -> pd.DataFrame:
    return labels(np.eye(3), n, np.random.default_rng(0))


def of(
    seen: pd.DataFrame, labelled: pd.DataFrame, reference: dict[str, float] = EVEN, n_boot: int = 200
) -> pd.DataFrame:
    return prevalence(seen, labelled, CLASSES, by="language", reference=reference, n_boot=n_boot)


def likeliest(counts: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """The same maximum, by sequential quadratic programming from a start in the middle."""
    found = minimize(
        lambda shares: -(counts * np.log(shares @ rates)).sum() / counts.sum(),
        np.full(len(rates), 1 / len(rates)),
        bounds=[(0, 1)] * len(rates),
        constraints={"type": "eq", "fun": lambda shares: shares.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    return np.asarray(found.x)


@pytest.mark.parametrize("seen", [0.05, 0.25, 0.5, 0.83, 0.95])
def test_with_two_classes_it_is_rogan_and_gladens_estimate_cut_to_its_range(seen: float) -> None:
    shares = mixing_shares(np.array([1000 * seen, 1000 * (1 - seen)]), np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert shares[0] == pytest.approx(min(1, max(0, (seen - 0.2) / (0.9 - 0.2))), abs=1e-4)
    assert shares.sum() == pytest.approx(1)


def test_shares_are_those_of_an_independent_solver_also_at_the_ends_of_their_range() -> None:
    rng = np.random.default_rng(1)
    at_an_end = 0
    for _ in range(40):
        rates = 0.6 * np.eye(5) + 0.4 * rng.dirichlet(np.ones(5), 5)
        counts = rng.multinomial(100, rng.dirichlet(np.full(5, 0.5))).astype(float)
        expected = likeliest(counts, rates)
        at_an_end += int((expected < 1e-6).any())
        np.testing.assert_allclose(mixing_shares(counts, rates), expected, atol=2e-3)
    assert at_an_end > 10


def test_many_problems_at_once_are_each_of_them_alone() -> None:
    rng = np.random.default_rng(2)
    rates, counts = rng.dirichlet(np.ones(4), (3, 4)), rng.integers(1, 50, (3, 2, 4)).astype(float)
    together = mixing_shares(counts, rates)
    for i in range(3):
        for j in range(2):
            np.testing.assert_allclose(together[i, j], mixing_shares(counts[i, j], rates[i]), atol=2e-3)


def test_nothing_seen_is_no_share() -> None:
    shares = mixing_shares(np.array([[0.0, 0.0], [3.0, 1.0]]), np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert np.isnan(shares[0]).all()
    assert not np.isnan(shares[1]).any()


def test_a_table_holds_what_was_seen_and_the_likeliest_shares_under_the_rates_of_the_labelled_images() -> None:
    rng = np.random.default_rng(3)
    seen, labelled = images([0.6, 0.3, 0.1], GOOD, rng), labels(GOOD, 40, rng)
    table = of(seen, labelled)
    assert table.columns.tolist() == COLUMNS
    assert table["group"].tolist() == [name for name in "xyz" for _ in CLASSES]
    counts = pd.crosstab(labelled["class"], labelled["seen"])[list(CLASSES)].to_numpy()
    rates = (counts + 0.5 / 3) / (40 + 0.5)
    for group, own in table.groupby("group"):
        n = seen[seen["language"] == group]["seen"].value_counts().reindex(list(CLASSES))
        np.testing.assert_allclose(own["share_seen"], n / 60)
        np.testing.assert_allclose(own["share_corrected"], likeliest(n.to_numpy(), rates), atol=1e-3)
        np.testing.assert_allclose(own["difference"], own["share_corrected"] - 1 / 3, atol=1e-12)
        np.testing.assert_allclose(own["total_variation"], own["difference"].abs().sum() / 2)
        assert set(own["n_images"]) == set(own["n_sources"]) == {60}
        assert own["p"].nunique() == own["p_bh"].nunique() == 1


@pytest.mark.slow
def test_intervals_hold_the_truth_and_the_test_holds_its_level_where_plain_counts_are_wrong() -> None:
    shares = [0.75, 0.2, 0.05]
    truth = np.tile(shares, 3)
    reference = dict(zip(CLASSES, shares, strict=True))
    rng = np.random.default_rng(4)
    runs = [of(images(shares, GOOD, rng), labels(GOOD, 60, rng), reference) for _ in range(80)]
    held = np.mean([((run["low"] <= truth) & (truth <= run["high"])).mean() for run in runs])
    assert 0.89 <= held <= 0.99
    rejected = np.mean([run["p"] <= 0.05 for run in runs])
    assert rejected <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 80)
    same = np.mean([run["total_variation_low"] == 0 for run in runs])
    assert same >= 0.9
    errors = {name: np.mean([run[name] - truth for run in runs], axis=0) for name in ("share_seen", "share_corrected")}
    assert np.abs(errors["share_corrected"]).max() < 0.03
    assert np.abs(errors["share_seen"]).max() > 0.1


def test_intervals_of_the_distance_hold_it_where_the_reference_is_wrong() -> None:
    rng = np.random.default_rng(5)
    runs = [of(images([0.6, 0.2, 0.2], GOOD, rng), labels(GOOD, 60, rng)) for _ in range(40)]
    true = 0.6 - 1 / 3
    held = np.mean([(run["total_variation_low"] <= true) & (true <= run["total_variation_high"]) for run in runs])
    assert held >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 40)
    assert np.mean([run["verdict"] == "different" for run in runs]) > 0.7


@pytest.mark.parametrize("counts", [(140, 125, 135), (120, 130, 150), (165, 125, 110)])
def test_of_a_perfect_judge_and_one_image_a_caption_the_test_is_pearsons(counts: tuple[int, int, int]) -> None:
    table = of(exactly(dict(zip(CLASSES, counts, strict=True))), perfect(), n_boot=1000)
    assert table["p"].iloc[0] == pytest.approx(chisquare(counts).pvalue, abs=0.03)
    np.testing.assert_allclose(table["share_corrected"], np.array(counts) / 400, atol=1e-3)


def test_a_reference_for_some_classes_says_nothing_about_the_others() -> None:
    reference = {"b": 0.5, "c": 0.5}
    table = of(exactly({"a": 100, "b": 60, "c": 40}), perfect(), reference).set_index("class")
    assert table["difference"].tolist() == pytest.approx([np.nan, 0.1, -0.1], abs=1e-3, nan_ok=True)
    assert table["total_variation"].iloc[0] == pytest.approx(0.1, abs=1e-3)
    assert table["p"].iloc[0] == pytest.approx(chisquare([60, 40]).pvalue, abs=0.02)
    assert table.loc["a", "share_corrected"] == pytest.approx(0.5, abs=1e-3)
    assert np.isnan(table.loc["a", "difference_low"])


def test_few_labelled_images_make_intervals_wider() -> None:
    seen = images([0.5, 0.3, 0.2], GOOD, np.random.default_rng(6), n_sources=300)
    few, many = (of(seen, labels(GOOD, n, np.random.default_rng(7))) for n in (20, 2000))
    assert (few["high"] - few["low"]).mean() > 1.5 * (many["high"] - many["low"]).mean()


def test_what_all_captions_show_leaves_open_what_clopper_and_pearson_do() -> None:
    table = of(exactly({"a": 24}), perfect()).set_index("class")
    exact = binomtest(24, 24).proportion_ci(0.95, method="exact")
    assert table.loc["a", ["low", "high"]].tolist() == pytest.approx([exact.low, 1], abs=1e-3)
    assert table.loc["b", ["low", "high"]].tolist() == pytest.approx([0, 1 - exact.low], abs=1e-3)
    assert table.loc["b", "difference_high"] == pytest.approx(1 - exact.low - 1 / 3, abs=1e-3)


def test_tenfold_images_of_the_same_captions_show_no_more() -> None:
    once = exactly({"a": 30, "b": 20, "c": 10})
    tenfold = of(pd.concat([once] * 10), perfect())
    table = of(once, perfect())
    np.testing.assert_allclose(tenfold[["low", "high"]], table[["low", "high"]], atol=1e-3)
    assert tenfold["p"].iloc[0] == pytest.approx(table["p"].iloc[0], abs=0.01)
    assert tenfold["n_images"].tolist() == [600] * 3


def test_what_a_judge_cannot_tell_apart_is_said_and_not_estimated() -> None:
    rates = np.array([[0.9, 0.05, 0.05], [0.05, 0.5, 0.45], [0.05, 0.5, 0.45]])
    rng = np.random.default_rng(8)
    table = of(images([0.2, 0.4, 0.4], rates, rng), labels(rates, 100, rng))
    assert set(table["verdict"]) == {"judge cannot tell these apart: b, c"}
    assert table[["share_corrected", "low", "high", "difference", "total_variation", "p", "p_bh"]].isna().all(axis=None)
    assert table["share_seen"].notna().all()


def test_a_judge_that_guesses_does_not_pass_by_luck_of_few_labelled_images() -> None:
    rng = np.random.default_rng(9)
    guessed = [labels(np.full((3, 3), 1 / 3), 20, rng) for _ in range(40)]
    faults = [Confusion.of(own, CLASSES, n_boot=200, seed=0).fault() for own in guessed]
    assert sum(fault is None for fault in faults) <= 2
    good = [Confusion.of(labels(GOOD, 20, rng), CLASSES, n_boot=200, seed=0).fault() for _ in range(20)]
    assert good == [None] * 20


def test_of_two_classes_the_separation_is_true_minus_false_positives() -> None:
    rates = np.array([[0.9, 0.1], [0.3, 0.7]])
    labelled = labels(rates, 20_000, np.random.default_rng(10), ("yes", "no"))
    found = Confusion.of(labelled, ("yes", "no"), n_boot=100, seed=0).separation()
    assert found == pytest.approx(0.9 - 0.3, abs=0.03)


def test_classes_without_labelled_images_and_groups_of_few_captions_are_told() -> None:
    seen = pd.concat([exactly({"a": 20, "b": 20}, "x"), exactly({"a": 5, "b": 4}, "y")])
    unlabelled = of(seen, perfect().query("`class` != 'c'"))
    assert set(unlabelled["verdict"]) == {"no labelled image of c"}
    table = of(seen, perfect()).set_index("group")
    assert set(table.loc["y", "verdict"]) == {"fewer than 20 captions"}
    assert table.loc["y", ["share_corrected", "p"]].isna().all(axis=None)
    assert table.loc["x", "p"].notna().all()


def test_images_that_do_not_count_leave_their_group_in_the_table() -> None:
    seen = pd.concat([exactly({"a": 20, "b": 20}), exactly({"a": 12}, "y").assign(seen=None)])
    table = of(seen, perfect()).set_index("group")
    assert table.loc["y", "n_images"].tolist() == [0, 0, 0]
    assert table.loc["y", "share_seen"].isna().all()
    assert table.loc["x", "n_images"].tolist() == [40, 40, 40]


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ({"a": 0.5, "d": 0.5}, "'d' is not a class; there are a, b, c"),
        ({"a": 0.5, "b": 0.4}, "is no distribution"),
        ({"a": 1.5, "b": -0.5}, "is no distribution"),
        ({"a": 1.0}, "two or more shares that sum to 1"),
    ],
)
def test_a_reference_that_is_none_is_refused(reference: dict[str, float], told: str) -> None:
    with pytest.raises(AuditError, match=told):
        of(exactly({"a": 20}), perfect(20), reference)


def test_a_class_nobody_knows_is_refused() -> None:
    with pytest.raises(AuditError, match="column seen: 'd' is not one of a, b, c"):
        of(exactly({"a": 20, "d": 1}), perfect(20))
    with pytest.raises(AuditError, match="column class: 'd' is not one of a, b, c"):
        of(exactly({"a": 20}), perfect(20).replace({"class": {"c": "d"}}))
