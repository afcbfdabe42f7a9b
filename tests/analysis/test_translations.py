"""The translation score against loops from its description, and in worlds in which each language's skill is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoe_audit.analysis.calibration import Calibration
from emoe_audit.analysis.readings import Readings
from emoe_audit.analysis.translations import READ_AS, RELIABILITY, TRANSLATION_SCORE, Readers
from tests.analysis.worlds import GOOD, POOR, World, among, by_language, joined, many

WORLDS = st.integers(0, 2**32 - 1)
QUICK = settings(max_examples=10, deadline=None)


def judged(readings: Readings, calibration: Calibration | None = None) -> pd.DataFrame:
    return Readers.fit(readings, calibration).judge(readings)


def scores(readings: Readings, calibration: Calibration | None = None) -> np.ndarray:
    found: np.ndarray = judged(readings, calibration)[TRANSLATION_SCORE].to_numpy()
    return found


def raw(readings: Readings) -> np.ndarray:
    """1 minus the cosine with the plain sum of the other languages, each without its mean over the table."""
    names, captions = np.array(readings.languages), np.array(readings.sources)
    own = readings.vectors.copy()
    for name in set(readings.languages):
        own[names == name] -= own[names == name].mean(axis=0)
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    found = []
    for row in range(len(own)):
        others = own[(captions == captions[row]) & (names != names[row])].sum(axis=0)
        found.append(1 - own[row] @ others / np.linalg.norm(others))
    return np.array(found)


def test_the_score_is_what_a_language_does_not_read_of_the_meaning() -> None:
    """Whatever the company: 1 minus the loading, by arithmetic of vectors in many dimensions."""
    world = World({"a": 0.95, "b": 0.9, "c": 0.8, "d": 0.7, "e": 0.4, "f": 0.0})
    table = world.readings(150)
    means = by_language(table, scores(table))
    for name, loading in world.loadings.items():
        assert means[name] == pytest.approx(1 - loading, abs=0.04)


def test_scores_follow_the_description() -> None:
    """On readings with holes and a caption that comes twice in a language, one prompt at a time."""
    rng, world = np.random.default_rng(3), World(many(4, 2))
    calibration = replace(Calibration.fit(world.readings(60)), alike=0.9)
    whole = world.readings(12)
    kept = np.sort(rng.permutation(len(whole.languages))[:55])
    table = joined(whole.take(kept), whole.take(kept[:2]))
    table.vectors[-2:] += 0.05 * rng.normal(size=table.vectors[-2:].shape).astype(np.float32)
    found = judged(table, calibration)

    names = list(calibration.languages)
    effects = table.vectors - calibration.means[[names.index(own) for own in table.languages]]
    cells = {
        (caption, name): np.mean(
            [e for e, c, n in zip(effects, table.sources, table.languages, strict=True) if (c, n) == (caption, name)],
            axis=0,
        )
        for caption, name in set(zip(table.sources, table.languages, strict=True))
    }
    for row, (caption, name) in enumerate(zip(table.sources, table.languages, strict=True)):
        present = [other for other in names if (caption, other) in cells]
        form = calibration.form(np.isin(names, present))
        others = sum(
            calibration.weights[names.index(other)] * cells[caption, other] / np.linalg.norm(cells[caption, other])
            for other in present
            if other != name
        )
        cosine = effects[row] @ others / np.linalg.norm(effects[row]) / np.linalg.norm(others)
        place = names.index(name)
        expected = form.reliability[place] if len(present) >= 3 else np.nan
        assert found[RELIABILITY][row] == pytest.approx(expected, abs=1e-5, nan_ok=True)
        if len(present) >= 3 and form.reliability[place] >= 0.6:
            expected = 1 - (cosine + form.offset[place]) / calibration.whole[place]
            assert found[TRANSLATION_SCORE][row] == pytest.approx(expected, abs=1e-4)
        else:
            assert np.isnan(found[TRANSLATION_SCORE][row])
    assert found[TRANSLATION_SCORE].notna().mean() > 0.7


@pytest.mark.parametrize("beside", [("g1", "p0", "p1"), ("g1", "g2", "p0"), ("g1", "g2", "g3", "g4", "g5")])
def test_a_language_is_judged_alike_in_every_company(beside: tuple[str, ...]) -> None:
    """What moves the plain cosine by more than 0.1 beside few readers."""
    world = World(many(6, 6))
    calibration, table = Calibration.fit(world.readings(100)), world.readings(150)
    few = among(table, "g0", *beside)
    here, there = by_language(few, scores(few, calibration)), by_language(table, scores(table, calibration))
    for name in here:
        assert here[name] == pytest.approx(there[name], abs=0.03)
    if "p0" in beside and "p1" in beside:
        assert by_language(few, raw(few))["g0"] - by_language(table, raw(table))["g0"] > 0.1


def test_single_prompts_are_ranked_as_among_all_languages() -> None:
    world = World(many(6, 6))
    calibration, table = Calibration.fit(world.readings(100)), world.readings(150)
    few = among(table, "g0", "g1", "g2", "p0")
    own = np.isin(table.languages, ["g0", "g1", "g2", "p0"])
    found, whole = judged(few, calibration), scores(table, calibration)[own]
    for name in ("g0", "p0"):
        here = np.array(few.languages) == name
        agreement = np.corrcoef(found[TRANSLATION_SCORE][here], whole[here])[0, 1]
        assert agreement == pytest.approx(found[RELIABILITY][here].mean(), abs=0.1)
        assert agreement > 0.6


def test_beside_languages_that_nobody_reads_there_is_no_number() -> None:
    world = World(many(6, 6))
    calibration, table = Calibration.fit(world.readings(100)), world.readings(30)
    starved = among(table, "g0", "p0", "p1", "p2")
    found = judged(starved, calibration)
    is_good = np.array(starved.languages) == "g0"
    assert found[TRANSLATION_SCORE][is_good].isna().all()
    assert (found[RELIABILITY][is_good] < 0.5).all()
    assert np.isnan(scores(starved)).all(), "without a calibration neither"
    assert set(calibration.missing(["g0", "p0", "p1", "p2"])) == {"g1", "g2", "g3", "g4", "g5"}


def test_other_captions_have_no_say() -> None:
    """Not those of a template, nor many more; without a calibration a template moves them."""
    world = World(many(5, 3))
    calibration, plain = Calibration.fit(world.readings(100)), world.readings(60)
    beside = joined(plain, world.readings(120, "flag", template=0.8), world.readings(60, "more"))
    alone, among_all = scores(plain, calibration), scores(beside, calibration)[: len(plain.languages)]
    np.testing.assert_allclose(alone, among_all, atol=0.01)
    assert np.abs(scores(plain) - scores(beside)[: len(plain.languages)]).max() > 0.05


def test_what_captions_have_in_common_is_not_taken_for_understanding() -> None:
    """A language that reads the template alone is unsure of what is in it."""
    world = World(many(5, 3))
    calibration = Calibration.fit(world.readings(100))
    flags = world.readings(60, "flag", template=0.8)
    means = by_language(flags, scores(flags, calibration))
    assert means["p0"] > 0.6 and means["g0"] < 0.3
    alone = by_language(flags, 1 - cosines_without_template(flags, calibration))
    assert alone["p0"] < 0.3


def cosines_without_template(flags: Readings, calibration: Calibration) -> np.ndarray:
    """With the sum of the good readers, where only the languages' means are taken out."""
    means = dict(zip(calibration.languages, calibration.means, strict=True))
    own = flags.vectors - np.stack([means[name] for name in flags.languages])
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    found = []
    for row, (caption, name) in enumerate(zip(flags.sources, flags.languages, strict=True)):
        others = sum(
            own[i]
            for i, c in enumerate(flags.sources)
            if c == caption and flags.languages[i] in {"g1", "g2", "g3"} - {name}
        )
        found.append(own[row] @ others / np.linalg.norm(others))
    return np.array(found)


def test_shuffled_captions_give_no_number_and_no_understanding() -> None:
    world, rng = World(many(6, 0)), np.random.default_rng(0)
    calibration, table = Calibration.fit(world.readings(100)), world.readings(100)
    shuffled = list(table.sources)
    for name in world.loadings:
        own = np.flatnonzero(np.array(table.languages) == name)
        for row, other in zip(own, rng.permutation(own), strict=True):
            shuffled[row] = table.sources[other]
    nonsense = replace(table, sources=shuffled)
    assert np.isnan(scores(nonsense)).all()
    assert scores(nonsense, calibration).mean() > 0.9


@QUICK
@given(WORLDS)
def test_what_a_language_adds_to_all_it_reads_does_not_matter(seed: int) -> None:
    readings = World(many(4, 2), seed).readings(7)
    moved = readings.vectors.copy()
    moved[np.array(readings.languages) == "g1"] += np.random.default_rng(seed).normal(0, 5, 256).astype(np.float32)
    np.testing.assert_allclose(scores(replace(readings, vectors=moved)), scores(readings), atol=1e-3)


@QUICK
@given(WORLDS, st.floats(1e-2, 1e3))
def test_the_scale_of_readings_does_not_matter(seed: int, scale: float) -> None:
    readings = World(many(4, 2), seed).readings(7)
    scaled = (readings.vectors * scale).astype(np.float32)
    np.testing.assert_allclose(scores(replace(readings, vectors=scaled)), scores(readings), atol=1e-3)


@QUICK
@given(WORLDS)
def test_the_order_of_the_prompts_does_not_matter(seed: int) -> None:
    readings = World(many(4, 2), seed).readings(7)
    order = np.random.default_rng(seed).permutation(len(readings.languages))
    np.testing.assert_allclose(scores(readings.take(order)), scores(readings)[order], atol=1e-3)


def test_prompts_are_held_against_a_reference_that_need_not_hold_them() -> None:
    readings = World(many(4, 2)).readings(8)
    readers, some = Readers.fit(readings), np.array([3, 17, 40])
    own = readings.take(some)
    pd.testing.assert_frame_equal(
        readers.judge(own, readings), readers.judge(readings).iloc[some].reset_index(drop=True), rtol=1e-4
    )
    elsewhere = replace(own, sources=["c0", "no such caption", "c0"])
    assert readers.judge(elsewhere, readings)[RELIABILITY].isna().tolist() == [False, True, False]


def test_a_caption_needs_three_languages() -> None:
    whole = World(many(4, 0)).readings(8)
    places = zip(whole.languages, whole.sources, strict=True)
    missing = {("g0", "c0"), ("g1", "c0"), ("g0", "c1")}
    readings = whole.take(np.array([place for place, cell in enumerate(places) if cell not in missing]))
    undefined = judged(readings)[RELIABILITY].isna()
    assert undefined.tolist() == [source == "c0" for source in readings.sources]


def test_a_language_that_the_calibration_does_not_know_is_scored_and_has_no_voice() -> None:
    world = World(many(4, 2) | {"new": GOOD, "newer": POOR})
    calibration = Calibration.fit(among(world.readings(100), *many(4, 2)))
    table = world.readings(100)
    means = by_language(table, scores(table, calibration))
    assert means["new"] == pytest.approx(1 - GOOD, abs=0.05)
    assert means["newer"] == pytest.approx(1 - POOR, abs=0.05)
    known = among(table, *many(4, 2))
    without = scores(known, calibration)
    np.testing.assert_allclose(
        scores(table, calibration)[np.isin(table.languages, list(many(4, 2)))], without, atol=1e-5
    )


def test_a_language_of_four_captions_that_nobody_knows_has_no_score() -> None:
    world = World(many(4, 0) | {"new": GOOD})
    calibration = Calibration.fit(among(world.readings(50), *many(4, 0)))
    table = world.readings(4)
    assert np.isnan(scores(table, calibration)).tolist() == [name == "new" for name in table.languages]


def test_a_prompt_that_is_read_as_nothing_has_no_score() -> None:
    readings = World(many(4, 1)).readings(8)
    is_poor = np.array(readings.languages) == "p0"
    readings.vectors[is_poor] = 1
    assert (np.isnan(scores(readings)) == is_poor).all()


def test_one_language_alone_and_no_prompts_at_all_have_no_scores() -> None:
    alone = World(many(1, 0)).readings(8)
    assert np.isnan(scores(alone)).all()
    empty = alone.take(np.array([], dtype=int))
    assert scores(empty).shape == (0,)
    assert np.isnan(Readers.fit(empty).judge(alone)[TRANSLATION_SCORE]).all()
    assert Readers.fit(empty).faults(empty).tolist() == []


def test_a_calibration_of_other_readings_is_refused() -> None:
    calibration = Calibration.fit(World(many(4, 0)).readings(8))
    readings = World(many(4, 0)).readings(8)
    with pytest.raises(ValueError, match=r"256 numbers.* 128"):
        Readers.fit(replace(readings, vectors=readings.vectors[:, :128]), calibration)


def test_a_frame_holds_the_state_of_the_text_first() -> None:
    reading = [np.array([1, 2, 3, 4], dtype=np.float16), np.array([5, 6, 7, 8], dtype=np.float16)]
    frame = pd.DataFrame({"reading": reading, "language": ["en", "de"], "source_id": ["a", "b"]})
    readings = Readings.of(frame)
    np.testing.assert_array_equal(readings.vectors, [[1, 2], [5, 6]])
    assert readings.vectors.dtype == np.float32
    assert (list(readings.languages), list(readings.sources)) == (["en", "de"], ["a", "b"])
    assert len(Readers.fit(Readings.of(frame.iloc[:0])).judge(Readings.of(frame.iloc[:0]))) == 0


def test_columns_are_called_as_the_run_calls_them() -> None:
    assert (TRANSLATION_SCORE, RELIABILITY, READ_AS) == (
        "translation_disagreement",
        "translation_reliability",
        "read_as",
    )
