"""A model from judged prompts, and what it refuses to learn from."""

from __future__ import annotations

import numpy as np
import pytest

from emoe_audit.abstain.abstainer import Abstainer
from emoe_audit.errors import AuditError
from tests.abstain.made import made_features

pytestmark = pytest.mark.slow


def test_clear_prompts_are_accepted_and_unclear_ones_are_not(abstainer: Abstainer) -> None:
    new = made_features(seed=3)
    accepted = abstainer.decide(new)["decision"].to_numpy() == "accept"
    assert 0.1 < accepted.mean() < 0.7
    assert new.good[accepted].mean() > 0.75
    assert new.good[~accepted].mean() < 0.5


def test_a_language_that_was_not_learned_from_is_held_to_its_own_limit(abstainer: Abstainer) -> None:
    new = made_features(seed=3)
    as_seen = abstainer.decide(new)
    new.rows["language"] = "xx"
    as_unseen = abstainer.decide(new)
    np.testing.assert_array_equal(as_seen["p_good"], as_unseen["p_good"])
    expected = 1 - as_unseen["p_good"] <= abstainer.limits.unseen.threshold
    near = abstainer.matching.predict(new.x)["distance"] <= abstainer.limits.farthest
    np.testing.assert_array_equal(as_unseen["decision"] == "accept", expected & near)


def test_a_prompt_far_from_all_others_is_refused_whatever_is_predicted(abstainer: Abstainer) -> None:
    new = made_features(seed=3)
    far = new.where(np.arange(len(new.rows)) == 0)
    far.reading[:] *= 1000
    assert abstainer.decide(far)["reason"].to_list() == ["outside of what was learned"]


def test_it_knows_the_prompts_and_languages_it_has_learned_from(abstainer: Abstainer) -> None:
    rows = made_features().rows
    assert abstainer.fitted_on == set(rows["key"])
    assert abstainer.languages == tuple(f"l{place}" for place in range(8))


def test_prompts_that_lack_a_feature_are_left_out() -> None:
    features = made_features()
    features.reading[0, 0] = np.nan
    assert features.rows["key"][0] not in Abstainer.fit(features, n_labellers=2).fitted_on


def test_too_few_captions_or_too_few_of_a_kind_say_what_it_takes() -> None:
    with pytest.raises(AuditError, match=r"19 captions with images.*it takes 20 captions"):
        Abstainer.fit(made_features(n_captions=19))
    all_bad = made_features()
    all_bad.rows["good"] = 0.0
    with pytest.raises(AuditError, match="0 prompts drawn right and 192 drawn wrong"):
        Abstainer.fit(all_bad)
