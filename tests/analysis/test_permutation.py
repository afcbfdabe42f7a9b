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
    flips = [np.array(signs)[rows["caption"]] for signs in itertools.product((-1, 1), repeat=7)]
    for group in ("many", "few"):
        inside = (rows["group"] == group).to_numpy()
        places = [flipped[inside].mean() - flipped.mean() for flipped in rows["difference"].to_numpy() * flips]
        assert found[group] == pytest.approx(np.mean(np.abs(places) >= np.abs(places[-1]) - 1e-12), abs=NEAR)
    assert found["many"] < 0.9


def test_it_is_scipys_where_every_caption_is_one_row() -> None:
    rows = frame(9, 1, shift=0.5)
    found = p_of(rows)
    for group in ("many", "few"):
        inside = (rows["group"] == group).to_numpy()
        exact = permutation_test(
            (rows["difference"].to_numpy(),),
            lambda values, inside=inside: values[inside].mean() - values.mean(),
            permutation_type="samples",
            vectorized=False,
            n_resamples=np.inf,
        )
        assert found[group] == pytest.approx(exact.pvalue, abs=NEAR)


def test_captions_as_clusters_are_not_the_same_as_rows() -> None:
    """Ten equal rows of a caption say no more than one; taken as independent they would look like proof."""
    caption = np.repeat(np.arange(6), 10)
    rows = pd.DataFrame({"caption": caption, "group": caption % 2, "difference": 1.0 - 2 * (caption % 2)})
    assert p_of(rows).tolist() == pytest.approx([2 / 2**6] * 2, abs=NEAR)
    assert (p_of(rows.assign(caption=np.arange(60))) < 0.001).all()


def test_neither_the_order_of_rows_nor_which_side_is_subtracted_matters() -> None:
    rows = frame(12, 3, shift=0.3)
    expected = p_of(rows, 999)
    pd.testing.assert_series_equal(p_of(rows.sample(frac=1, random_state=5), 999), expected)
    pd.testing.assert_series_equal(p_of(rows.assign(difference=-rows["difference"]), 999), expected)
    pd.testing.assert_series_equal(p_of(rows.assign(difference=1e6 * rows["difference"]), 999), expected)


def test_no_change_is_1_as_is_a_change_of_all_alike_and_nothing_is_0() -> None:
    rows = frame(30, 2)
    assert p_of(rows.assign(difference=0.0), 99).tolist() == [1.0, 1.0]
    assert p_of(rows.assign(difference=1.0), 99).tolist() == [1.0, 1.0]
    apart = rows["group"].map({"many": 1.0, "few": -2.0})
    assert p_of(rows.assign(difference=apart), 99).tolist() == [0.01, 0.01]


def test_differences_that_sum_to_0_are_no_reason_for_caution() -> None:
    """Two halves of differences of ranks where nothing changed: one falls by what the other rises."""
    rng = np.random.default_rng(4)
    rows = pd.DataFrame({"caption": np.arange(40), "group": np.arange(40) % 2})
    found = [p_of(rows.assign(difference=rng.permutation(40) - rng.permutation(40)), 199)[0] for _ in range(300)]
    assert np.mean(np.array(found) <= 0.5) == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 300))
    assert np.mean(np.array(found) <= 0.1) == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / 300))


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
