"""Predictions for prompts that a model has not learned from, to learn from them how far it can be trusted.

Captions are dealt into `N_FOLDS` folds, and so are languages. A fold's model learns from the captions of the other
folds in the languages of the other folds, and predicts for its own captions in all languages. So every caption is
predicted once in every language, by a model that has never seen it, and one in `N_FOLDS` times by one that has never
seen the language. The model that is kept in the end learns from all prompts; it has more to learn from than any of
these, which makes what they promise for it cautious, though strictly they promise for themselves.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from emoe_audit.abstain.features import Features
from emoe_audit.abstain.labellers import N_LABELLERS
from emoe_audit.abstain.matching import Matching

N_FOLDS = 4
MIN_LANGUAGES = 2 * N_FOLDS
"""Languages without which none is held out, and nothing is known of languages never seen."""


def held_out_predictions(features: Features, *, n_labellers: int = N_LABELLERS, seed: int = 0) -> pd.DataFrame:
    """A row per prompt: `key, source_id, language, unseen, bad, p_good, confidence, distance`.

    Args:
        features: Judged prompts in any order.
        n_labellers: Of the model of every fold.
        seed: Of folds and models.
    """
    rng = np.random.default_rng(seed)
    captions = _folds(features.rows["source_id"], rng)
    languages = _folds(features.rows["language"], rng)
    if features.rows["language"].nunique() < MIN_LANGUAGES:
        languages[:] = -1
    return pd.concat([_fold(features, captions, languages, fold, n_labellers, seed) for fold in range(N_FOLDS)])


def _fold(
    features: Features, captions: np.ndarray, languages: np.ndarray, fold: int, n_labellers: int, seed: int
) -> pd.DataFrame:
    learned = features.where((captions != fold) & (languages != fold))
    model = Matching.fit(learned.x, learned.good, learned.blocks, n_labellers=n_labellers, seed=seed + 1 + fold)
    own = features.where(captions == fold)
    unseen = languages[captions == fold] == fold
    names = own.rows[["key", "source_id", "language"]]
    return pd.concat([names.assign(unseen=unseen, bad=1 - own.good), model.predict(own.x)], axis=1)


def _folds(names: pd.Series, rng: np.random.Generator) -> np.ndarray:
    """The fold of each row, the same for rows of one name; folds are of one size, or of two that differ by one."""
    codes, found = pd.factorize(names, sort=True)
    folds: np.ndarray = rng.permutation(len(found))[codes] % N_FOLDS
    return folds
