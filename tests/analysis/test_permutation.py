"""Sign-flip p-values: against full enumeration, against scipy, and what must not change them."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import permutation_test

from emoe_audit.analysis import permutation
from emoe_audit.analysis.permutation import sign_flip_p

N = 20_000
NEAR = 4 * np.sqrt(0.25 / N)
"""Four standard errors of a p-value from N draws, at the most."""


def frame(n_captions: int, per_caption: int, seed: int = 0, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    captions = np.repeat(np.arange(n_captions), per_caption)
    return pd.DataFrame(
        {
            "caption": captions,
            "group": np.where(np.arange(len(captions)) % 3, "many", "few"),
            "difference": rng.normal(size=n_captions)[captions] + rng.normal(shift, 1, len(captions)),
        }
    )


def p_of(rows: pd.DataFrame, n_permutations: int = N, seed: int = 1) -> pd.Series:
    return sign_flip_p(rows["difference"], rows["group"], rows["caption"], n_permutations=n_permutations, seed=seed)


def test_it_comes_to_the_share_among_all_signs_of_the_captions() -> None:
    rows = frame(7, 4, shift=0.6)
    found = p_of(rows)
    for group, part in rows.groupby("group"):
        means = [
            np.mean(np.array(signs)[part["caption"]] * part["difference"])
            for signs in itertools.product((-1, 1), repeat=7)
        ]
        exact = np.mean(np.abs(means) >= abs(part["difference"].mean()) - 1e-12)
        assert found[group] == pytest.approx(exact, abs=NEAR)
    assert found["many"] != found["few"]


def test_it_is_scipys_where_every_caption_is_one_row() -> None:
    rows = frame(9, 1, shift=0.5)
    for group, part in rows.groupby("group"):
        exact = permutation_test((part["difference"],), np.mean, permutation_type="samples", n_resamples=np.inf)
        assert p_of(rows)[group] == pytest.approx(exact.pvalue, abs=NEAR)


def test_captions_as_clusters_are_not_the_same_as_rows() -> None:
    """Ten equal rows of a caption say no more than one; taken as independent they would look like proof."""
    rows = pd.DataFrame({"caption": np.repeat([0, 1, 2], 10), "group": "all", "difference": 1.0})
    assert p_of(rows)["all"] == pytest.approx(0.25, abs=NEAR)
    assert p_of(rows.assign(caption=np.arange(30)))["all"] < 0.001


def test_neither_the_order_of_rows_nor_which_side_is_subtracted_matters() -> None:
    rows = frame(12, 3, shift=0.3)
    expected = p_of(rows, 999)
    pd.testing.assert_series_equal(p_of(rows.sample(frac=1, random_state=5), 999), expected)
    pd.testing.assert_series_equal(p_of(rows.assign(difference=-rows["difference"]), 999), expected)
    pd.testing.assert_series_equal(p_of(rows.assign(difference=1e6 * rows["difference"]), 999), expected)


def test_no_change_is_1_and_nothing_is_0() -> None:
    rows = frame(30, 2)
    assert p_of(rows.assign(difference=0.0), 99).tolist() == [1.0, 1.0]
    assert p_of(rows.assign(difference=1.0), 99).tolist() == [0.01, 0.01]


def test_where_nothing_changed_p_values_are_even() -> None:
    rng = np.random.default_rng(3)
    n = 300 * 12
    rows = pd.DataFrame({"caption": np.arange(n), "group": np.arange(n) // 12, "difference": rng.standard_t(3, n)})
    found = p_of(rows, 499)
    for level in (0.1, 0.5, 0.9):
        assert np.mean(found <= level) == pytest.approx(level, abs=4 * np.sqrt(0.25 / 300))


def test_draws_are_made_in_parts_that_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = frame(12, 3, shift=0.3)
    expected = p_of(rows, 1000)
    monkeypatch.setattr(permutation, "CHUNK_CELLS", 12 * 128)
    assert max(len(signs) for signs in permutation._signs(12, 1000, 1)) == 128
    pd.testing.assert_series_equal(p_of(rows, 1000), expected)
