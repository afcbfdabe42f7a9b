"""What a probe shows: shares of pairs, what a placebo takes away from them, and how sure that is."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from emoe_audit.analysis.intervals import Interval
from emoe_audit.validity.evidence import MIN_LANGUAGES, ProbeResult, compare, higher, weigh
from emoe_audit.validity.probes import Pair

LANGUAGES = [f"l{place}" for place in range(12)]
PAIRS = [
    Pair(probe="pseudo-words", language=language, known="a", strange="b", placebo="c", number=number)
    for number in range(5)
    for language in LANGUAGES
]
ZEROS, ONES = np.zeros(60), np.ones(60)


def test_the_share_counts_the_pairs_in_which_the_strange_half_is_higher() -> None:
    strange = np.array([1.0] * 45 + [0.0] * 6 + [-1.0] * 9)
    (found,) = compare(PAIRS, ZEROS, strange, -ONES)
    assert found.share.value == found.beyond.value == (45 + 3) / 60
    assert (found.n_pairs, found.n_languages, found.placebo) == (60, 12, 0)


def test_what_the_placebo_shows_as_well_is_no_evidence() -> None:
    (found,) = compare(PAIRS, ZEROS, ONES, ONES)
    assert (found.share.low, found.beyond.value, found.sign) == (1, 0, "unclear")


@pytest.mark.parametrize(("strange", "placebo", "sign"), [(1, 0, "holds"), (-1, 0, "turned"), (0, 0, "unclear")])
def test_a_sign_needs_a_share_and_a_difference_from_the_placebo(strange: int, placebo: int, sign: str) -> None:
    (found,) = compare(PAIRS, ZEROS, strange * ONES, placebo * ONES)
    assert found.sign == sign


def test_a_share_that_rises_only_against_a_low_placebo_has_no_sign() -> None:
    share, beyond = Interval(value=0.5, low=0.4, high=0.6), Interval(value=0.3, low=0.2, high=0.4)
    result = ProbeResult(probe="x", n_pairs=9, n_languages=9, share=share, placebo=0.2, beyond=beyond)
    assert result.sign == "unclear"


def test_undefined_scores_are_left_out_and_ties_count_half() -> None:
    assert higher(np.array([0, 0, 0, np.nan]), np.array([1, 0, -1, 1])).tolist()[:3] == [1, 0.5, 0]
    assert math.isnan(higher(np.array([np.nan]), np.array([1]))[0])
    strange = np.where(np.arange(60) < 30, 1.0, np.nan)
    (found,) = compare(PAIRS, ZEROS, strange, ZEROS)
    assert found.n_pairs == 30
    assert compare(PAIRS, ZEROS, ONES * np.nan, ONES) == ()


def test_seven_languages_say_nothing_however_clear_they_are() -> None:
    pairs = [pair for pair in PAIRS if pair.language in LANGUAGES[:7]]
    (found,) = compare(pairs, *(place * np.ones(len(pairs)) for place in (0, 1, -1)))
    assert math.isnan(found.beyond.low) and found.sign == "unclear"
    more = [pair for pair in PAIRS if pair.language in LANGUAGES[:8]]
    (found,) = compare(more, *(place * np.ones(len(more)) for place in (0, 1, -1)))
    assert found.sign == "holds"


def test_probes_keep_their_order() -> None:
    rows = pd.DataFrame({"probe": ["b", "a"] * 12, "language": np.repeat(LANGUAGES, 2), "strange": 1.0, "placebo": 0.5})
    assert [result.probe for result in weigh(rows)] == ["b", "a"]


def test_an_interval_of_few_languages_is_as_wide_as_one_of_t() -> None:
    """With the mean of n normal values as the truth: a t interval of theirs, to which the percentiles are widened."""
    n, rng = 10, np.random.default_rng(0)
    values = rng.normal(0.3, 0.2, n)
    rows = pd.DataFrame({"probe": "p", "language": LANGUAGES[:n], "strange": values, "placebo": 0.0})
    (found,) = weigh(rows)
    half = 2.262 * values.std(ddof=1) / math.sqrt(n)
    assert (found.beyond.high - found.beyond.low) / 2 == pytest.approx(half, rel=0.12)


@pytest.mark.parametrize("n_languages", [MIN_LANGUAGES, 20])
def test_a_score_that_knows_nothing_gets_a_sign_in_few_of_many_checks(n_languages: int) -> None:
    """With two languages and no placebo it was 41%, with five 17%; a probe alone may be wrong in 5%."""
    rng = np.random.default_rng(1)
    pairs = [
        Pair(probe="pseudo-words", language=f"l{place}", known="a", strange="b", placebo="c", number=number)
        for number in range(3)
        for place in range(n_languages)
    ]
    signs = [compare(pairs, *rng.normal(size=(3, len(pairs))))[0].sign for _ in range(100)]
    assert sum(sign != "unclear" for sign in signs) <= 6
