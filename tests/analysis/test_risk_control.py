"""Thresholds with a guarantee: the bets against a plain loop, the promise against a model whose risk is known."""

from __future__ import annotations

import math
from dataclasses import asdict
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from emoe_audit.analysis.risk_control import (
    COLUMNS,
    RiskControl,
    betting_p,
    controlled_by_group,
    controlled_threshold,
    hindsight_threshold,
    last_rejected,
)
from emoe_audit.errors import AuditError

TARGET = 0.3
LANGUAGES = 10


def captions(n: int, seed: int, *, seen: float = 1.2, base: float = 0.4) -> pd.DataFrame:
    """Translations of n captions. A caption is hard for all its languages alike, in part unseen by the score."""
    rng = np.random.default_rng(seed)
    caption = np.repeat(np.arange(n), LANGUAGES)
    score = np.sqrt(0.6) * rng.normal(size=n)[caption] + np.sqrt(0.4) * rng.normal(size=len(caption))
    trouble = seen * score + rng.normal(size=n)[caption] + 0.3 * rng.normal(size=len(caption))
    return pd.DataFrame({"score": score, "loss": (trouble > base).astype(float), "source_id": caption})


@cache
def true_risk() -> tuple[np.ndarray, np.ndarray]:
    """Rising scores and the risk of all up to each, of so many captions that chance no longer matters."""
    rows = captions(60_000, 999).sort_values("score")
    return rows["score"].to_numpy(), (rows["loss"].cumsum() / np.arange(1, len(rows) + 1)).to_numpy()


def breaks_the_promise(threshold: float) -> bool:
    scores, risk = true_risk()
    n_accepted = int((scores <= threshold).sum())
    return n_accepted > 0 and bool(risk[n_accepted - 1] > TARGET)


def controlled(rows: pd.DataFrame, *, target: float = TARGET, delta: float = 0.1) -> RiskControl:
    return controlled_threshold(rows["score"], rows["loss"], rows["source_id"], target=target, delta=delta)


def hindsight(rows: pd.DataFrame, target: float = TARGET) -> float:
    return hindsight_threshold(rows["score"], rows["loss"], target)


def binomial_threshold(rows: pd.DataFrame, delta: float) -> float:
    """The same test as if rows were independent: from the most cautious half on, while binomial p-values allow."""
    loss = rows.sort_values("score")["loss"].to_numpy()
    n = np.arange(1, len(loss) + 1)
    passed = binom.cdf(loss.cumsum(), n, TARGET) <= delta
    first = len(loss) // 2
    n_passed = int(np.argmin(np.append(passed[first:], False)))
    return float(np.sort(rows["score"])[first + n_passed - 1]) if n_passed else float("nan")


def test_p_values_are_those_of_a_gambler_who_bets_on_one_caption_after_the_other() -> None:
    values = np.random.default_rng(0).beta(1, 4, size=(40, 3))
    for column, found in enumerate(betting_p(values, TARGET, n_past=5, level=0.05)):
        capital, most, total, squares, variance = 1.0, 1.0, TARGET, 0.25, 0.25
        for i, z in enumerate(values[:, column], start=1):
            if i > 5:
                stake = min(math.sqrt(2 * math.log(1 / 0.05) / (35 * variance)), 0.9 / (1 - TARGET))
                capital *= 1 + stake * (TARGET - z)
                most = max(most, capital)
            total += z
            squares += (z - total / (i + 1)) ** 2
            variance = squares / (i + 1)
        assert found == pytest.approx(1 / most)


@pytest.mark.parametrize("shape", [(0.3, 0.7), (0.03, 0.07), (3, 7)], ids=["spread", "nearly 0 or 1", "narrow"])
def test_at_the_null_hypothesis_small_p_values_are_no_more_frequent_than_they_say(shape: tuple[float, float]) -> None:
    n = 3000
    p = betting_p(np.random.default_rng(1).beta(*shape, size=(80, n)), TARGET, n_past=8)
    for level in (0.02, 0.1, 0.5):
        assert np.mean(p <= level) <= level + 3 * math.sqrt(level * (1 - level) / n)
    assert np.mean(betting_p(np.random.default_rng(1).beta(*shape, size=(80, n)), 2 * TARGET) <= 0.1) > 0.95


def test_shares_of_the_error_go_on_where_a_test_rejects_and_are_lost_where_it_does_not() -> None:
    starts = np.array([0, 2])
    assert last_rejected(np.array([0.05, 0.05, 0.10, 0.10, 0.11]), starts, 0.1) == 3
    assert last_rejected(np.array([0.05, 0.06, 0.05, 0.05, 0.06]), starts, 0.1) == 3
    assert last_rejected(np.array([0.05, 0.06, 0.06, 0.001, 0.001]), starts, 0.1) == 0
    assert last_rejected(np.array([0.06, 0.001, 0.06, 0.001, 0.001]), starts, 0.1) is None


@given(p=st.lists(st.floats(0, 0.2), min_size=1, max_size=12), data=st.data())
def test_it_rejects_what_one_sequence_from_each_start_alone_would(p: list[float], data: st.DataObject) -> None:
    starts = data.draw(st.lists(st.integers(0, len(p) - 1), min_size=1, unique=True))
    alone = set()
    for start in starts:
        for place in range(start, len(p)):
            if p[place] > 0.1 / len(starts):
                break
            alone.add(place)
    found = last_rejected(np.array(p), np.array(starts), 0.1)
    assert not alone or (found is not None and found >= max(alone))


def test_the_promise_is_kept_where_one_that_takes_rows_for_independent_is_broken() -> None:
    """200 audits of 60 captions: at most a tenth may go wrong, and three standard errors more by chance."""
    audits = [captions(60, seed) for seed in range(200)]
    thresholds = [controlled(rows).threshold for rows in audits]
    assert np.mean([breaks_the_promise(t) for t in thresholds]) <= 0.1 + 3 * math.sqrt(0.09 / 200)
    assert np.mean(np.isfinite(thresholds)) > 0.5
    assert np.mean([breaks_the_promise(binomial_threshold(rows, 0.1)) for rows in audits]) > 0.2


def test_captions_numbered_by_their_difficulty_are_bet_on_in_random_order() -> None:
    """In the order of their numbers every gambler would be rich before the first loss."""
    audits = [captions(60, seed) for seed in range(100)]
    for rows in audits:
        rows["source_id"] = rows.groupby("source_id")["loss"].mean().rank(method="first")[rows["source_id"]].to_numpy()
    assert np.mean([breaks_the_promise(controlled(rows).threshold) for rows in audits]) <= 0.1 + 3 * math.sqrt(0.0009)


def test_the_price_of_the_promise_is_small_with_many_captions() -> None:
    shares = []
    for seed in range(10):
        rows = captions(500, seed)
        found = controlled(rows)
        assert found.empirical_risk < TARGET
        shares.append(found.accepted_share / (rows["score"] <= hindsight(rows)).mean())
    assert 0.85 < np.mean(shares) < 1


def test_it_says_what_the_threshold_does_to_the_rows() -> None:
    rows = captions(100, 1)
    found = controlled(rows)
    accepted = rows[rows["score"] <= found.threshold]
    assert found.threshold in set(rows["score"])
    assert found.accepted_share == len(accepted) / len(rows)
    assert found.empirical_risk == accepted["loss"].mean()
    assert found.n_clusters == 100


def test_a_score_that_says_nothing_gets_no_threshold() -> None:
    """Two fifths of the rows are losses, and no score tells which."""
    found = controlled(captions(300, 2, seen=0.0, base=0.25))
    assert np.isnan(found.threshold) and np.isnan(found.empirical_risk)
    assert found.accepted_share == 0


def test_more_caution_accepts_less() -> None:
    rows = captions(300, 3)
    by_target = [controlled(rows, target=target).accepted_share for target in (0.2, 0.3, 0.4)]
    by_delta = [controlled(rows, delta=delta).accepted_share for delta in (0.001, 0.1, 0.5)]
    for shares in (by_target, by_delta):
        assert shares == sorted(set(shares))


def test_the_order_of_rows_does_not_matter_nor_do_rows_without_score_or_loss() -> None:
    rows = captions(80, 4)
    expected = controlled(rows)
    assert expected.accepted_share > 0
    assert controlled(rows.sample(frac=1, random_state=5)) == expected
    unscored = rows.head(30).assign(score=np.nan)
    unjudged = rows.assign(loss=np.nan, source_id=rows["source_id"] + 1000)
    assert controlled(pd.concat([unscored, rows, unjudged])) == expected


def test_two_captions_prove_nothing_and_none_are_no_error() -> None:
    for n in (1, 2):
        found = controlled(captions(n, 0).assign(loss=0.0))
        assert np.isnan(found.threshold) and found.n_clusters == n
    nothing = controlled(captions(3, 0).assign(loss=np.nan))
    assert nothing.n_clusters == 0 and np.isnan(nothing.accepted_share)


def test_captions_that_make_the_grid_are_not_bet_on() -> None:
    """Without any loss each bet wins the most it can, and 8 reach the capital that is asked for: 1 / delta."""
    won = 1 + 0.9 * TARGET / (1 - TARGET)
    assert won**7 < 1 / 0.1 < won**8
    for n, certified in ((8, False), (9, True)):
        rows = pd.DataFrame({"score": 0.0, "loss": 0, "source_id": np.arange(n)})
        assert np.isfinite(controlled(rows).threshold) == certified


def test_hindsight_is_the_largest_score_that_the_rows_allow_equal_scores_together() -> None:
    rng = np.random.default_rng(6)
    for _ in range(50):
        score, loss = pd.Series(rng.integers(0, 8, 25) / 4), pd.Series(rng.integers(0, 2, 25))
        allowed = [t for t in score if loss[score <= t].mean() <= TARGET]
        np.testing.assert_equal(hindsight_threshold(score, loss, TARGET), max(allowed, default=np.nan))
    assert hindsight_threshold(pd.Series([1.0, 2, 2, np.nan]), pd.Series([0, 0, 1, 0]), 1 / 3) == 2


def test_every_group_has_its_threshold_and_its_part_of_the_error() -> None:
    rows = captions(240, 7).assign(region=lambda r: np.where(r["source_id"] % 3, "north", "south"))
    hard = captions(50, 8, base=-3).assign(region="east", source_id=lambda r: r["source_id"] + 1000)
    rows = pd.concat([rows, hard, hard.assign(region="unjudged", loss=np.nan)])
    for family_wise, part in ((True, 0.1 / 3), (False, 0.1)):
        table = controlled_by_group(rows, "region", target=TARGET, family_wise=family_wise)
        assert list(table.columns) == COLUMNS
        assert table["group"].tolist() == ["east", "north", "south"]
        assert table["n_groups"].tolist() == [3] * 3 and set(table["by"]) == {"region"}
        for row in table.to_dict("records"):
            expected = asdict(controlled(rows[rows["region"] == row["group"]], delta=part))
            np.testing.assert_equal({name: row[name] for name in expected}, expected)
        assert table["threshold"].isna().tolist() == [True, False, False]
    assert controlled_by_group(rows.assign(loss=np.nan), "region", target=TARGET).empty


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, float("nan")])
def test_shares_that_are_none_are_refused(value: float) -> None:
    rows = captions(5, 0)
    with pytest.raises(AuditError, match="target lies between 0 and 1"):
        controlled(rows, target=value)
    with pytest.raises(AuditError, match="target lies between 0 and 1"):
        hindsight(rows, value)
    with pytest.raises(AuditError, match="delta lies between 0 and 1"):
        controlled(rows, delta=value)


def test_a_delta_is_refused_before_it_is_divided_among_groups() -> None:
    rows = captions(5, 0).assign(language=lambda r: r.index % LANGUAGES)
    with pytest.raises(AuditError, match="found 2"):
        controlled_by_group(rows, "language", target=TARGET, delta=2)


def test_a_loss_that_is_neither_0_nor_1_is_refused() -> None:
    rows = captions(5, 0).replace({"loss": {1.0: 0.5}})
    with pytest.raises(AuditError, match=r"a loss is 0 or 1, found 0\.5"):
        controlled(rows)
    with pytest.raises(AuditError, match=r"a loss is 0 or 1, found 0\.5"):
        hindsight(rows)
