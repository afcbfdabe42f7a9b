"""Who is accepted, who is refused, and why."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from emoe_audit.abstain.decision import FOR_A_LANGUAGE, FOR_CAPTIONS, NOTHING, Limit, Limits, decide
from tests.benchmarks.simulated_languages import World, share_broken

LIMIT = Limit(
    threshold=0.4,
    promise=FOR_CAPTIONS,
    accepted_share=0.5,
    risk=0.1,
    n_captions=100,
    n_languages=20,
    languages_above=3,
)
LIMITS = Limits(seen=LIMIT, unseen=replace(LIMIT, threshold=0.1), farthest=2.0, target=0.2, delta=0.1)
NAN = math.nan


@pytest.mark.parametrize(
    ("p_good", "distance", "unseen", "decision", "reason"),
    [
        (0.9, 1.0, False, "accept", ""),
        (0.7, 1.0, False, "accept", ""),
        (0.5, 1.0, False, "refuse", "low predicted quality"),
        (0.9, 2.5, False, "refuse", "outside of what was learned"),
        (0.1, 2.5, False, "refuse", "outside of what was learned"),
        (0.95, 1.0, True, "accept", ""),
        (0.7, 1.0, True, "refuse", "outside of what was learned"),
        (0.5, 1.0, True, "refuse", "low predicted quality"),
        (NAN, NAN, False, "refuse", "not measured"),
        (NAN, NAN, True, "refuse", "not measured"),
    ],
)
def test_a_decision_and_its_reason(p_good: float, distance: float, unseen: bool, decision: str, reason: str) -> None:
    predicted = pd.DataFrame({"p_good": [p_good], "confidence": [1.0], "distance": [distance]})
    found = decide(predicted, np.array([unseen]), LIMITS)
    assert list(found) == ["p_good", "confidence", "decision", "reason"]
    assert found.loc[0, ["decision", "reason"]].to_list() == [decision, reason]


def test_where_nothing_is_known_of_unseen_languages_all_of_them_are_refused() -> None:
    predicted = pd.DataFrame({"p_good": [1.0], "confidence": [1.0], "distance": [0.0]})
    limits = replace(LIMITS, unseen=replace(LIMIT, threshold=NAN))
    assert decide(predicted, np.array([True]), limits)["decision"][0] == "refuse"
    assert decide(predicted, np.array([False]), limits)["decision"][0] == "accept"


def held_out(n_captions: int, seed: int = 0) -> pd.DataFrame:
    """Five prompts a caption whose predicted probability is the true one."""
    rng = np.random.default_rng(seed)
    p_good = rng.beta(0.5, 0.5, 5 * n_captions)
    bad = (rng.random(len(p_good)) > p_good) * 1.0
    return pd.DataFrame(
        {
            "p_good": p_good,
            "bad": bad,
            "source_id": np.repeat(np.arange(n_captions), 5),
            "language": np.tile(list("abcde"), n_captions),
            "unseen": np.tile([False, False, False, False, True], n_captions),
            "distance": rng.permutation(5 * n_captions) + 1.0,
        }
    )


def test_with_many_captions_the_limit_is_certified_and_keeps_its_promise_on_others() -> None:
    limit = Limit.for_captions(held_out(400), target=0.2, delta=0.1)
    others = held_out(20_000, seed=1)
    accepted = others["bad"][1 - others["p_good"] <= limit.threshold]
    assert limit.promise == FOR_CAPTIONS
    assert 0.3 < limit.accepted_share < 0.7
    assert accepted.mean() <= 0.2


def test_with_few_captions_it_keeps_the_target_on_these_and_says_that_it_promises_nothing() -> None:
    rows = held_out(10)
    limit = Limit.for_captions(rows, target=0.2, delta=0.1)
    ordered = rows.sort_values("p_good", ascending=False)["bad"].to_numpy()
    means = np.cumsum(ordered) / np.arange(1, len(ordered) + 1)
    n_accepted = np.flatnonzero(means <= 0.2)[-1] + 1
    assert limit.promise == NOTHING
    assert limit.accepted_share == pytest.approx(n_accepted / len(rows))
    assert limit.risk == pytest.approx(means[n_accepted - 1])


def test_where_every_prompt_is_bad_nothing_is_accepted() -> None:
    limit = Limit.for_captions(held_out(10).assign(bad=1.0), target=0.2, delta=0.1)
    assert math.isnan(limit.threshold)
    assert limit.accepted_share == 0
    assert limit.promise == NOTHING


def test_one_in_a_hundred_held_out_prompts_in_languages_seen_is_too_far() -> None:
    rows = held_out(50)
    seen = rows[~rows["unseen"]].assign(distance=np.random.default_rng(0).permutation(200)[:200] + 1.0)
    limits = Limits.learn(pd.concat([seen, rows[rows["unseen"]].assign(distance=1e9)]), target=0.2, delta=0.1)
    assert limits.farthest == 199
    assert Limits.learn(seen.iloc[:50], target=0.2, delta=0.1).farthest == math.inf


def test_where_no_language_was_held_out_nothing_is_accepted_in_new_ones() -> None:
    limits = Limits.learn(held_out(50).assign(unseen=False), target=0.2, delta=0.1)
    assert math.isnan(limits.unseen.threshold)
    assert math.isnan(limits.unseen.risk)
    assert limits.unseen.promise == NOTHING
    assert limits.unseen.n_captions == limits.unseen.n_languages == limits.unseen.languages_above == 0
    assert limits.seen.n_captions == 50


def languages_of(world: World, rng: np.random.Generator, n_languages: int, n_captions: int) -> pd.DataFrame:
    """Held-out prompts, all in languages not learned from, as `held_out_predictions` gives them."""
    predicted, misread = world.drawn(rng, n_languages, n_captions)
    language, caption = (axis.ravel() for axis in np.indices(predicted.shape))
    named = pd.DataFrame({"source_id": caption, "language": language, "p_good": 1 - predicted.ravel()})
    return named.assign(bad=misread.ravel(), unseen=True, distance=1.0)


def test_the_limit_for_languages_never_seen_counts_languages_as_draws() -> None:
    """Were captions the draws, one new language in five would be misread more than was promised, where they differ."""
    world = World(predictions="calibrated", language_effect=0.5, caption_effect=0.0)
    rng = np.random.default_rng(0)
    true = world.truth(rng, 400, 1000)
    learned = [Limits.learn(languages_of(world, rng, 40, 200), target=0.2, delta=0.1).unseen for _ in range(20)]
    assert {limit.promise for limit in learned} == {FOR_A_LANGUAGE}
    assert 0 < np.mean([share_broken(*true, limit.threshold, 0.2) for limit in learned]) <= 0.1


def test_three_languages_of_nineteen_that_are_always_misread_are_too_many_whatever_captions_say() -> None:
    """They look a little worse than the others, and no caption is misread in more than three of nineteen, a sixth."""
    caption, place = (axis.ravel() for axis in np.indices((100, 19)))
    rows = pd.DataFrame({"source_id": caption, "language": place, "p_good": 0.9 - place / 1000 - caption / 1e6})
    rows = rows.assign(bad=(place >= 16) * 1.0)
    limit = Limit.for_a_language(rows, target=0.2, delta=0.1)
    assert limit.promise == FOR_A_LANGUAGE
    assert limit.accepted_share == pytest.approx(16 / 19)
    assert (limit.risk, limit.languages_above) == (0, 0)
    assert Limit.for_captions(rows, target=0.2, delta=0.1).accepted_share > 0.9


def test_a_limit_says_in_how_many_languages_more_was_misread_than_the_target() -> None:
    """Of five languages one is misread always, one in half of its captions; the others never."""
    rows = held_out(100).assign(p_good=0.9, bad=0.0)
    rows.loc[rows["language"] == "a", "bad"] = 1.0
    rows.loc[(rows["language"] == "b") & (rows["source_id"] % 2 == 0), "bad"] = 1.0
    limit = Limit.for_captions(rows, target=0.4, delta=0.1)
    assert (limit.n_languages, limit.languages_above) == (5, 2)
    assert limit.risk == pytest.approx(0.3)


def test_limits_go_through_json_and_back() -> None:
    import json

    limits = replace(LIMITS, unseen=replace(LIMIT, threshold=NAN, risk=NAN), farthest=math.inf)
    text = json.dumps(limits.to_json(), allow_nan=False)
    back = Limits.from_json(json.loads(text), "here")
    assert back.seen == limits.seen
    assert back.farthest == math.inf
    assert math.isnan(back.unseen.threshold)
    assert math.isnan(back.unseen.risk)
