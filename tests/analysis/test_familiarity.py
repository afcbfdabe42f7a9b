"""The score for one language: against a naive loop, alone and in company, and where nothing can be said."""

from __future__ import annotations

import math

import numpy as np
import pytest

from emoe_audit.analysis.familiarity import Familiarity

LANGUAGES = ["en"] * 6 + ["ja"] * 6 + ["yo"] * 4
STATES = np.random.default_rng(0).normal(size=(16, 8)) * np.repeat([3.0, 1.0, 9.0], [6, 6, 4])[:, None]


@pytest.fixture(scope="module")
def known() -> Familiarity:
    """Six captions of two languages, and too few of a third."""
    return Familiarity.fit(STATES, LANGUAGES)


def test_it_is_the_length_of_known_captions_over_the_prompts_own(known: Familiarity) -> None:
    prompts = np.random.default_rng(1).normal(size=(2, 8))
    mean = {"en": sum(STATES[:6]) / 6, "ja": sum(STATES[6:12]) / 6}
    english = sum(math.dist(row, mean["en"]) for row in STATES[:6]) / 6
    expected = [english / math.dist(prompts[0], mean["ja"]), english / math.dist(prompts[1], mean["en"])]
    assert known.best == "en"
    assert known.judge(prompts, ["ja", "en"]) == pytest.approx(expected, rel=1e-6)


def test_known_captions_in_the_best_read_language_have_one_on_harmonic_mean(known: Familiarity) -> None:
    assert np.mean(1 / known.judge(STATES[:6], ["en"] * 6)) == pytest.approx(1, rel=1e-6)
    assert np.mean(1 / known.judge(STATES[6:12], ["ja"] * 6)) < 0.5


def test_a_prompt_has_the_same_number_alone_and_among_ten_thousand(known: Familiarity) -> None:
    prompts = np.random.default_rng(2).normal(size=(10_000, 8))
    together = known.judge(prompts, ["ja"] * len(prompts))
    for place in (0, 4_711, 9_999):
        assert known.judge(prompts[place : place + 1], ["ja"])[0] == pytest.approx(together[place], abs=1e-6)


def test_what_is_not_known_has_no_number(known: Familiarity) -> None:
    assert np.isnan(known.judge(np.stack([STATES[12], STATES[0], STATES[0] * np.inf]), ["yo", "und", "en"])).all()
    nothing = Familiarity.fit(np.empty((0, 8)), [])
    assert nothing.best is None and np.isnan(nothing.judge(STATES, LANGUAGES)).all()


@pytest.mark.parametrize("state", [0.0, 3.7])
def test_an_encoder_that_makes_the_same_of_everything_knows_no_language(state: float) -> None:
    constant = Familiarity.fit(np.full((12, 8), state, dtype=np.float32), LANGUAGES[:12])
    assert constant.best is None
    assert np.isnan(constant.judge(STATES, LANGUAGES)).all()
    assert Familiarity.from_frame(constant.to_frame()).languages == ()


def test_nothing_at_all_is_a_hundred_times_as_little(known: Familiarity) -> None:
    mean_itself = known.means[list(known.languages).index("en")]
    assert known.judge(mean_itself[None], ["en"]).tolist() == [100]


def test_a_language_of_a_region_is_taken_for_the_one_that_is_known() -> None:
    known = Familiarity.fit(STATES[:12], ["en"] * 6 + ["zh-Hant"] * 6)
    as_known = known.judge(STATES[[0, 0, 7]], ["en", "en", "zh-Hant"])
    assert known.judge(STATES[[0, 0, 7]], ["en-US", "en-Latn-GB", "zh-Hant-TW"]).tolist() == as_known.tolist()
    assert np.isnan(known.judge(STATES[:1], ["zh"])).all()


def test_a_state_that_is_not_finite_spoils_no_other() -> None:
    broken = np.vstack([STATES, np.full((1, 8), np.nan)])
    spoilt, whole = Familiarity.fit(broken, [*LANGUAGES, "ja"]), Familiarity.fit(STATES, LANGUAGES)
    np.testing.assert_array_equal(spoilt.judge(STATES, LANGUAGES), whole.judge(STATES, LANGUAGES))


def test_it_survives_being_kept(known: Familiarity) -> None:
    again = Familiarity.from_frame(known.to_frame())
    np.testing.assert_array_equal(again.judge(STATES, LANGUAGES), known.judge(STATES, LANGUAGES))
    with pytest.raises(ValueError, match="shape"):
        Familiarity.from_frame(known.to_frame().assign(mean=[b"\0" * 4, b"\0" * 8]))
