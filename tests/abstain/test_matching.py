"""Labellers and student together."""

from __future__ import annotations

import numpy as np
import pytest

from emoe_audit.abstain.abstainer import Abstainer
from emoe_audit.abstain.matching import Matching, match
from emoe_audit.analysis.rejection import auroc
from tests.abstain.made import made_features


@pytest.fixture(scope="module")
def model(abstainer: Abstainer) -> Matching:
    return abstainer.matching


def test_the_prediction_is_the_mean_of_every_labeller_and_every_head(model: Matching) -> None:
    x = made_features(seed=1).x[:9]
    z = model.projection(x)
    experts = [*model.labellers(z).T, *model.student.probabilities(z).T]
    found = model.predict(x)
    np.testing.assert_allclose(found["p_good"], np.mean(experts, axis=0))
    for place, confidence in enumerate(found["confidence"]):
        n_good = sum(bool(own[place] > 0.5) for own in experts)
        assert confidence == pytest.approx(max(n_good, len(experts) - n_good) / len(experts))


def test_new_prompts_of_the_same_kind_are_told_apart(model: Matching) -> None:
    new = made_features(seed=2)
    p_good = model.predict(new.x)["p_good"].to_numpy()
    assert auroc(p_good[new.good == 1], p_good[new.good == 0]) > 0.85


def test_a_prompt_does_not_depend_on_its_neighbours(model: Matching) -> None:
    x = made_features(seed=1).x
    np.testing.assert_allclose(model.predict(x[::-1])[::-1].to_numpy(), model.predict(x).to_numpy(), rtol=1e-5)


def test_a_prompt_that_lacks_a_feature_has_no_prediction_and_the_others_keep_theirs(model: Matching) -> None:
    x = made_features(seed=1).x[:4]
    whole = model.predict(x)
    x[1, -1] = np.nan
    found = model.predict(x)
    assert found.loc[1].isna().all()
    np.testing.assert_allclose(found.drop(1).to_numpy(), whole.drop(1).to_numpy(), rtol=1e-5)


def test_with_the_mean_label_all_heads_learn_the_same_and_with_their_own_they_do_not(model: Matching) -> None:
    z = model.projection(made_features().x)
    spread = {
        own: match(z, model.labellers, own_labels=own).probabilities(z).std(axis=1).mean() for own in (True, False)
    }
    assert spread[False] < 0.5 * spread[True]


def test_expansion_changes_what_is_predicted_far_outside(model: Matching) -> None:
    z = model.projection(made_features().x)
    with_it, without = (match(z, model.labellers, expansion=own).probabilities(3 * z) for own in (True, False))
    labels = model.labellers(3 * z)
    assert np.abs(with_it - labels).mean() < np.abs(without - labels).mean()
