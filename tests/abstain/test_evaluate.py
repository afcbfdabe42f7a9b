"""The figures against scikit-learn and plain loops, the splits, and verdicts on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from emoe_audit.abstain.evaluate import (
    CONTROLS,
    METHOD,
    Split,
    compare,
    compare_decisions,
    early_precision,
    figures_of,
    leave_languages_out,
)
from emoe_audit.analysis.rejection import AcceptedOrder
from tests.abstain.made import made_features, made_frame


@pytest.fixture
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    good = (rng.random(60) < 0.4) * 1.0
    confidence = (good + rng.normal(size=60)).round(1)
    return pd.DataFrame({"own": confidence, "good": good, "place": np.repeat(np.arange(12), 5)})


def drawn(rows: pd.DataFrame, counts: np.ndarray) -> pd.DataFrame:
    return rows.loc[rows.index.repeat(counts[rows["place"]])]


def naive_early_precision(rows: pd.DataFrame, recall: float) -> float:
    """Step by step over rising recall, equal confidences together."""
    area, reached = 0.0, 0.0
    for level in sorted(rows["own"].unique(), reverse=True):
        accepted = rows[rows["own"] >= level]
        new = min(accepted["good"].sum() / rows["good"].sum(), recall)
        area += (new - reached) * accepted["good"].mean()
        reached = new
    return area / recall


def test_figures_of_resampled_captions_are_those_of_the_rows_drawn(rows: pd.DataFrame) -> None:
    counts = np.random.default_rng(1).integers(0, 3, (5, 12)).astype(np.uint8)
    found = {name: figure(rows, counts) for name, figure in figures_of("own").items()}
    for place, own in enumerate(counts):
        replicate = drawn(rows, own)
        assert found["auroc"][place] == pytest.approx(roc_auc_score(replicate["good"], replicate["own"]))
        assert found["auprc_recall_0.2"][place] == pytest.approx(naive_early_precision(replicate, 0.2))


def test_at_full_recall_it_is_average_precision(rows: pd.DataFrame) -> None:
    order = AcceptedOrder.of(-rows["own"].to_numpy(), 1 - rows["good"].to_numpy(), rows["place"].to_numpy())
    found = early_precision(order, np.ones((1, 12), dtype=np.uint8), recall=1.0)
    assert found[0] == pytest.approx(average_precision_score(rows["good"], rows["own"]))


def test_without_a_good_prompt_it_is_undefined(rows: pd.DataFrame) -> None:
    order = AcceptedOrder.of(-rows["own"].to_numpy(), np.ones(60), rows["place"].to_numpy())
    assert np.isnan(early_precision(order, np.ones((1, 12), dtype=np.uint8))).all()


def test_risk_at_80_percent_is_the_share_of_bad_ones_among_the_surest_four_fifths() -> None:
    confidence = np.arange(10.0)
    good = np.array([0, 0, 0, 1, 0, 1, 1, 1, 1, 1.0])
    rows = pd.DataFrame({"own": confidence, "good": good, "place": 0})
    found = figures_of("own")["risk_coverage_0.8"](rows, np.ones((1, 1), dtype=np.uint8))
    assert found[0] == pytest.approx(2 / 8)


def test_a_split_shares_neither_captions_nor_languages_with_what_is_learned() -> None:
    frame = made_frame(n_captions=20, n_languages=12)
    split = Split.draw(frame, seed=3)
    learned, unseen, seen = (frame[own] for own in (split.learned, split.unseen, split.seen))
    assert not set(learned["source_id"]) & (set(unseen["source_id"]) | set(seen["source_id"]))
    assert not set(learned["language"]) & set(unseen["language"])
    assert set(seen["language"]) == set(learned["language"])
    assert unseen["language"].nunique() == 5
    assert unseen["source_id"].nunique() == 10


def test_different_seeds_hold_out_different_languages() -> None:
    frame = made_frame(n_captions=20, n_languages=12)
    held_out = {frozenset(frame["language"][Split.draw(frame, seed).unseen]) for seed in range(5)}
    assert len(held_out) > 1


@pytest.mark.slow
def test_every_way_is_measured_on_the_same_held_out_prompts() -> None:
    features = made_features(n_captions=44, n_languages=13)
    score = pd.Series(-features.reading[:, 0])
    measured = leave_languages_out(features, score, n_splits=2, n_labellers=2)
    assert measured["split"].to_list() == [0] * (22 * 13) + [1] * (22 * 13)
    assert measured[measured["unseen"]].groupby("split")["language"].nunique().to_list() == [5, 5]
    assert measured[[METHOD, *CONTROLS]].notna().all(axis=None)
    values = features.rows[["source_id", "language"]].assign(value=features.reading[:, 0])
    joined = measured.merge(values, on=["source_id", "language"])
    np.testing.assert_array_equal(joined["score alone"], joined["value"])


def measured(ours: float, theirs: float, n_captions: int = 40) -> pd.DataFrame:
    """Confidences that follow what is good so strongly, in two splits of four languages."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        [(split, f"s{c}", f"l{v}") for split in (0, 1) for c in range(n_captions) for v in range(4)],
        columns=["split", "source_id", "language"],
    )
    good = (rng.random(len(rows)) < 0.5) * 1.0
    columns = dict.fromkeys(CONTROLS, theirs) | {METHOD: ours}
    confidences = {name: strength * good + rng.normal(size=len(rows)) for name, strength in columns.items()}
    return rows.assign(unseen=rows["language"] != "l0", good=good, decision="accept", **confidences)


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"), [(4.0, 0.5, "held"), (0.5, 4.0, "not_held"), (1.0, 1.0, "inconclusive")]
)
def test_verdicts_follow_the_better_way_for_every_figure(ours: float, theirs: float, verdict: str) -> None:
    found = compare(measured(ours, theirs), n_boot=200)
    assert set(found["figure"]) == {"auprc_recall_0.2", "auroc", "risk_coverage_0.8"}
    assert set(found["control"]) == set(CONTROLS)
    share = (found["verdict"] == verdict).mean()
    assert share >= 0.75 if verdict == "inconclusive" else share == 1


def test_the_difference_is_that_of_the_means_over_splits_in_languages_never_seen() -> None:
    rows = measured(1.0, 0.5)
    new = rows[rows["unseen"]]
    own, other = (
        np.mean([roc_auc_score(part["good"], part[name]) for _, part in new.groupby("split")])
        for name in (METHOD, "score alone")
    )
    found = compare(rows, n_boot=20).set_index(["figure", "control"]).loc[("auroc", "score alone")]
    assert found["method_value"] == pytest.approx(own)
    assert found["value"] == pytest.approx(own - other)


def test_two_equal_ways_differ_by_nothing() -> None:
    rows = measured(1.0, 1.0)
    found = compare(rows.assign(**dict.fromkeys(CONTROLS, rows[METHOD])), n_boot=50)
    assert (found[["value", "low", "high"]] == 0).all(axis=None)
    assert set(found["verdict"]) == {"inconclusive"}


def test_decisions_are_held_against_the_target_and_the_languages_seen() -> None:
    rows = measured(1.0, 1.0)
    accepted = np.where(rows["unseen"], rows["good"] == 1, True)
    accepted &= ~((rows["language"] == "l1") & (rows["good"] == 1))
    found = compare_decisions(rows.assign(decision=np.where(accepted, "accept", "refuse")), n_boot=200)
    found = found.set_index("figure")
    assert found.loc["accepted_risk", "method_value"] == 0
    assert found.loc["accepted_risk", "verdict"] == "held"
    assert found.loc["good_refused", "method_value"] == pytest.approx(1 / 3, abs=0.05)
    assert found.loc["good_refused", "control_value"] == 0
    assert found.loc["good_refused", "verdict"] == "not_held"
    assert found.loc["accepted_share", "control_value"] == 1


def test_too_much_risk_among_the_accepted_is_not_held() -> None:
    found = compare_decisions(measured(1.0, 1.0), n_boot=200).set_index("figure")
    assert found.loc["accepted_risk", "method_value"] == pytest.approx(0.5, abs=0.1)
    assert found.loc["accepted_risk", "verdict"] == "not_held"
