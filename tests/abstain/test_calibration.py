"""Held-out predictions: no model predicts for a caption it has seen, and `unseen` tells the languages it has not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from emoe_audit.abstain import calibration
from emoe_audit.abstain.calibration import held_out_predictions
from emoe_audit.abstain.features import Features
from tests.abstain.made import made_features


class Witness:
    """In a model's place: remembers whom it has learned from. A prompt's caption and language are its features."""

    def __init__(self, learned: np.ndarray) -> None:
        self.captions, self.languages = set(learned[:, 0]), set(learned[:, 1])

    @classmethod
    def fit(cls, x: np.ndarray, good: np.ndarray, blocks: Sequence[int], *, n_labellers: int, seed: int) -> Witness:
        return cls(x)

    def predict(self, x: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "saw_caption": [own in self.captions for own in x[:, 0]],
                "saw_language": [own in self.languages for own in x[:, 1]],
            }
        )


@pytest.fixture
def witnessed(monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    monkeypatch.setattr(calibration, "Matching", Witness)
    return held_out_predictions(named(made_features(n_captions=21, n_languages=8)))


def named(features: Features) -> Features:
    codes = [pd.factorize(features.rows[column])[0] for column in ("source_id", "language")]
    return Features(rows=features.rows, reading=np.stack(codes, axis=1).astype(np.float64), scores=())


def test_every_prompt_is_predicted_once_by_a_model_that_has_not_seen_its_caption(witnessed: pd.DataFrame) -> None:
    assert len(witnessed) == 21 * 8
    assert witnessed["key"].is_unique
    assert not witnessed["saw_caption"].any()


def test_a_quarter_of_the_languages_is_new_to_each_model_and_said_to_be(witnessed: pd.DataFrame) -> None:
    assert (witnessed["unseen"] == ~witnessed["saw_language"]).all()
    assert (witnessed.groupby("source_id")["unseen"].sum() == 2).all()


def test_with_too_few_languages_none_is_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "Matching", Witness)
    found = held_out_predictions(named(made_features(n_languages=7)))
    assert found["saw_language"].all()
    assert not found["unseen"].any()


def test_bad_is_the_opposite_of_good() -> None:
    features = made_features()
    found = held_out_predictions(features, n_labellers=2).set_index("key").loc[features.rows["key"]]
    np.testing.assert_array_equal(found["bad"], 1 - features.good)
