"""A threshold for a further group: by hand, against a plain loop, and on groups whose draws are known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoe_audit.analysis.new_groups import breaking_scores, threshold_for_a_new_group
from emoe_audit.analysis.risk_control import controlled_threshold
from emoe_audit.errors import AuditError
from tests.benchmarks.simulated_languages import World, share_broken

TARGET, DELTA = 0.2, 0.1


def rows_of(predicted: np.ndarray, lost: np.ndarray) -> pd.DataFrame:
    """A row per language and caption."""
    group, caption = (axis.ravel() for axis in np.indices(predicted.shape))
    return pd.DataFrame({"score": predicted.ravel(), "loss": lost.ravel(), "group": group, "caption": caption})


def threshold_of(rows: pd.DataFrame, target: float = TARGET, delta: float = DELTA) -> float:
    return threshold_for_a_new_group(rows["score"], rows["loss"], rows["group"], target=target, delta=delta)


def test_a_group_breaks_at_the_first_score_up_to_which_too_many_are_lost() -> None:
    """Half may be lost: 1 of 2 is, 2 of 3 are too many. Equal scores are accepted together."""
    rows = pd.DataFrame(
        [("a", 1.0, 0), ("a", 2.0, 1), ("a", 3.0, 1), ("b", 5.0, 1), ("b", 5.0, 0), ("c", 4.0, 1), ("c", 7.0, 0)],
        columns=["group", "score", "loss"],
    )
    assert breaking_scores(rows, 0.5).to_dict() == {"a": 3, "b": math.inf, "c": 4}


def test_as_many_groups_may_break_below_the_threshold_as_the_promise_allows() -> None:
    """Group g loses nothing below 10 + g, where it has 20 + 2g rows, and everything from there, half a step a row.

    A fifth may be lost, so it breaks at its loss number floor(5 + g / 2) + 1: at 12.5, 13.5 and 15 for g = 0, 1, 2.
    One in ten groups may break: none of 9, one of 19, two of 29.
    """
    scores = np.arange(0, 40, 0.5)
    for n, expected in ((9, 12.0), (19, 13.0), (29, 14.5)):
        lost = scores >= 10 + np.arange(n)[:, None]
        assert threshold_of(rows_of(np.tile(scores, (n, 1)), lost * 1.0)) == expected


@settings(deadline=None, max_examples=30)
@given(st.integers(9, 14), st.integers(1, 12), st.integers(0, 10_000))
def test_it_is_what_a_plain_loop_over_all_thresholds_finds(n_groups: int, n_rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    score, loss = rng.integers(0, 8, (n_groups, n_rows)) * 1.0, (rng.random((n_groups, n_rows)) < 0.15) * 1.0

    def breaks_up_to(threshold: float) -> int:
        """Groups that have broken the target at this threshold or at a lower one."""
        broken = 0
        for own, lost in zip(score, loss, strict=True):
            accepted = [lost[own <= level] for level in range(int(threshold) + 1)]
            broken += any(part.sum() > 0.3 * len(part) + 1e-9 for part in accepted)
        return broken

    kept = [level for level in np.unique(score) if breaks_up_to(level) < math.floor(0.2 * (n_groups + 1))]
    best = max(kept, default=math.nan)
    telling = ((score <= best).sum(axis=1) >= 1 / 0.3).sum()
    expected = best if telling >= 4 else math.nan
    np.testing.assert_equal(threshold_of(rows_of(score, loss), 0.3, 0.2), expected)


def test_a_new_language_breaks_the_promise_no_more_often_than_was_said_and_captions_as_draws_break_it() -> None:
    """Languages differ by half a unit of log odds that no prediction sees. The truth is that of 400 further ones."""
    world = World(predictions="calibrated", language_effect=0.5, caption_effect=0.0)
    rng = np.random.default_rng(0)
    true = world.truth(rng, 400, 1000)
    broken = []
    for seed in range(20):
        rows = rows_of(*world.drawn(rng, 40, 200))
        by_caption = controlled_threshold(
            rows["score"], rows["loss"], rows["caption"], target=TARGET, delta=DELTA, seed=seed
        )
        broken.append([share_broken(*true, own, TARGET) for own in (threshold_of(rows), by_caption.threshold)])
    by_language, captions = np.mean(broken, axis=0)
    assert 0 < by_language <= DELTA
    assert captions > 0.2


def test_in_as_many_captions_as_were_held_out_it_is_broken_once_in_ten_at_the_most() -> None:
    """The promise itself, with few captions, where chance alone breaks it; not kept by accepting nothing."""
    world = World(predictions="calibrated", language_effect=1.0, caption_effect=0.0)
    rng = np.random.default_rng(0)
    found = [threshold_of(rows_of(*world.drawn(rng, 19, 60))) for _ in range(60)]
    broken = [share_broken(*world.drawn(rng, 50, 60), threshold, TARGET) for threshold in found]
    assert np.isfinite(found).mean() > 0.5
    assert 0.02 < np.mean(broken) <= DELTA


def test_nothing_is_promised_by_fewer_groups_than_can_break_once() -> None:
    score = np.tile(np.arange(10.0), (9, 1))
    assert threshold_of(rows_of(score, np.zeros_like(score))) == 9
    assert math.isnan(threshold_of(rows_of(score[:8], np.zeros((8, 10)))))


def test_nothing_is_promised_where_too_few_groups_accept_enough_to_tell() -> None:
    """With a target of 0.2 it takes five accepted rows in each of nine groups."""
    score = np.tile(np.arange(5.0), (9, 1))
    assert threshold_of(rows_of(score, np.zeros_like(score))) == 4
    assert math.isnan(threshold_of(rows_of(score[:, :4], np.zeros((9, 4)))))


def test_a_prediction_that_means_nothing_promises_nothing() -> None:
    """A quarter is lost at every score, where a fifth may be: what the first few rows show is chance."""
    world = World(predictions="unrelated", language_effect=0.0, caption_effect=0.0)
    rng = np.random.default_rng(0)
    assert np.isnan([threshold_of(rows_of(*world.drawn(rng, 40, 60))) for _ in range(20)]).all()


def test_rows_that_lack_something_are_left_out_and_wrong_ones_are_told() -> None:
    score = np.tile(np.arange(10.0), (9, 1))
    rows = rows_of(score, np.zeros_like(score))
    lacking = pd.DataFrame({"score": [math.nan, 99.0], "loss": [0.0, math.nan], "group": [0, 0], "caption": [0, 0]})
    assert threshold_of(pd.concat([rows, lacking])) == 9
    assert math.isnan(threshold_of(rows.iloc[:0]))
    with pytest.raises(AuditError, match="a loss is 0 or 1, found 2"):
        threshold_of(rows.assign(loss=2.0))
    for shares in ({"target": 0.0}, {"delta": 1.0}):
        with pytest.raises(AuditError, match=f"{next(iter(shares))} lies between 0 and 1"):
            threshold_of(rows, **shares)
