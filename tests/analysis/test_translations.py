"""The translation score against loops written from its description, and in worlds whose good readers are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from emoe_audit.analysis.translations import Readers, Readings

WIDTH = 24
WORLDS = st.integers(0, 2**32 - 1).map(np.random.default_rng)
QUICK = settings(max_examples=10, deadline=None)


def world(rng: np.random.Generator, *, readers: int, others: int, captions: int, noise: float = 0.5) -> Readings:
    """Every caption once in every language: `r...` read it alike but for noise, `x...` read nonsense.

    Each language adds a vector of its own to all it reads.
    """
    meanings = rng.normal(size=(captions, 2, WIDTH))
    vectors, languages, sources = [], [], []
    for name in [*(f"r{i}" for i in range(readers)), *(f"x{i}" for i in range(others))]:
        accent = 2 * rng.normal(size=(2, WIDTH))
        error = rng.normal(size=meanings.shape)
        vectors.append(accent + (meanings + noise * error if name.startswith("r") else error))
        languages += [name] * captions
        sources += [f"c{i}" for i in range(captions)]
    return Readings(vectors=np.concatenate(vectors).astype(np.float32), languages=languages, sources=sources)


def rows_of(readings: Readings, rows: np.ndarray) -> Readings:
    """Some rows, in the order given; a row may come twice."""
    return Readings(
        vectors=readings.vectors[rows],
        languages=[readings.languages[row] for row in rows],
        sources=[readings.sources[row] for row in rows],
    )


def scores(readings: Readings) -> np.ndarray:
    return Readers.fit(readings).distances(readings)


def is_reader(readings: Readings) -> np.ndarray:
    return np.array([language.startswith("r") for language in readings.languages])


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """NaN where one of the two is nothing."""
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / lengths) if lengths > 1e-9 else float("nan")


def by_hand(readings: Readings) -> tuple[np.ndarray, list[dict[str, float]]]:
    """Scores `[prompt, part]` and the weights of the languages for each part: one prompt and one caption at a time."""
    languages, sources = list(readings.languages), list(readings.sources)
    prompts, captions = range(len(languages)), sorted(set(sources))
    known = sorted(name for name in set(languages) if languages.count(name) >= 5)
    found, weights_of_parts = np.full((len(languages), 2), np.nan), []
    for part in range(2):
        vectors = readings.vectors[:, part].astype(np.float64)
        effects: dict[int, np.ndarray] = {}
        for name in known:
            own = [i for i in prompts if languages[i] == name]
            mean = sum(vectors[i] for i in own) / len(own)
            effects |= {i: (vectors[i] - mean) / np.linalg.norm(vectors[i] - mean) for i in own}
        prompts_of: dict[tuple[str, str], list[int]] = {}
        for i in effects:
            prompts_of.setdefault((languages[i], sources[i]), []).append(i)

        def consensus(caption: str, but: str, weights: dict[str, float]) -> np.ndarray:
            total = np.zeros(WIDTH)
            for name in known:
                own = prompts_of.get((name, caption), [])  # noqa: B023
                if name != but and own:
                    total += weights[name] * sum(effects[i] for i in own) / len(own)  # noqa: B023
            return total

        weights = dict.fromkeys(known, 1 / len(known))
        for _ in range(10):
            agreement = {}
            for name in known:
                of_captions = []
                for caption in (c for c in captions if (name, c) in prompts_of):
                    others = consensus(caption, name, weights)
                    cosines = [cosine(effects[i], others) for i in prompts_of[name, caption]]
                    of_captions.append(np.nan_to_num(np.mean(cosines)))  # alone with a caption, it agrees with nobody
                agreement[name] = max(0.0, float(np.mean(of_captions))) ** 2
            weights = {name: own / sum(agreement.values()) for name, own in agreement.items()}
        weights_of_parts.append(weights)
        for i in effects:
            if sum((name, sources[i]) in prompts_of for name in known) >= 3:
                found[i, part] = 1 - cosine(effects[i], consensus(sources[i], languages[i], weights))
    return found, weights_of_parts


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_scores_and_weights_follow_the_description(seed: int) -> None:
    """On readings with holes, prompts that share caption and language, and languages of too few captions."""
    rng = np.random.default_rng(seed)
    whole = world(rng, readers=4, others=3, captions=9)
    kept = rng.permutation(len(whole.languages))[:45]
    few = [place for place, name in enumerate(whole.languages) if name == "r3"]
    kept = np.array([*(place for place in kept if place not in few), *few[:4]])
    twice = rng.choice(kept, size=8)
    readings = rows_of(whole, np.concatenate([kept, twice]))
    readings.vectors[len(kept) :] += rng.normal(size=(8, 2, WIDTH)).astype(np.float32)
    readings.sources[-1] = "c99"  # type: ignore[index]

    readers = Readers.fit(readings)
    expected, weights = by_hand(readings)
    assert list(readers.means.index) == sorted(weights[0])
    np.testing.assert_allclose(readers.weights, [list(own.values()) for own in weights], atol=1e-4)
    np.testing.assert_allclose(readers.distances(readings), expected, atol=1e-4)
    assert 0 < np.isnan(expected).any(axis=1).sum() < len(expected) / 2


@pytest.mark.parametrize(("readers", "others"), [(3, 17), (10, 10), (17, 3)])
def test_languages_that_read_alike_score_below_those_that_do_not(readers: int, others: int) -> None:
    readings = world(np.random.default_rng(0), readers=readers, others=others, captions=12)
    known = is_reader(readings)
    score = scores(readings).mean(axis=1)
    auroc = mannwhitneyu(score[~known], score[known]).statistic / (known.sum() * (~known).sum())
    assert auroc > 0.95
    weights = Readers.fit(readings).weights
    assert weights.sum(axis=1) == pytest.approx(1)
    assert weights[:, readers:].sum(axis=1).max() < 0.05  # the names of readers come first


def test_what_is_read_alike_in_every_language_scores_zero_and_nonsense_one() -> None:
    alike = world(np.random.default_rng(0), readers=4, others=0, captions=8, noise=0)
    np.testing.assert_allclose(scores(alike), 0, atol=1e-5)
    mixed = world(np.random.default_rng(0), readers=4, others=8, captions=200, noise=0)
    assert scores(mixed)[~is_reader(mixed)].mean() == pytest.approx(1, abs=0.02)


@QUICK
@given(WORLDS)
def test_what_a_language_adds_to_all_it_reads_does_not_matter(rng: np.random.Generator) -> None:
    readings = world(rng, readers=4, others=2, captions=7)
    moved = readings.vectors.copy()
    moved[np.array(readings.languages) == "r1"] += rng.normal(0, 5, (2, WIDTH)).astype(np.float32)
    np.testing.assert_allclose(scores(replace(readings, vectors=moved)), scores(readings), atol=1e-3)


@QUICK
@given(WORLDS, st.tuples(*[st.floats(1e-3, 1e3)] * 2))
def test_the_scale_of_a_part_does_not_matter(rng: np.random.Generator, scale: tuple[float, float]) -> None:
    readings = world(rng, readers=4, others=2, captions=7)
    scaled = readings.vectors * np.array(scale, dtype=np.float32)[:, None]
    np.testing.assert_allclose(scores(replace(readings, vectors=scaled)), scores(readings), atol=1e-3)


@QUICK
@given(WORLDS)
def test_the_order_of_the_prompts_does_not_matter(rng: np.random.Generator) -> None:
    readings = world(rng, readers=4, others=2, captions=7)
    order = rng.permutation(len(readings.languages))
    np.testing.assert_allclose(scores(rows_of(readings, order)), scores(readings)[order], atol=1e-3)


def test_a_part_is_scored_by_itself() -> None:
    readings = world(np.random.default_rng(0), readers=4, others=2, captions=8)
    other = readings.vectors.copy()
    other[:, 1] = np.random.default_rng(1).normal(size=other[:, 1].shape)
    before, after = scores(readings), scores(replace(readings, vectors=other))
    np.testing.assert_array_equal(after[:, 0], before[:, 0])
    assert (after[:, 1] != before[:, 1]).all()


def test_prompts_are_held_against_a_reference_that_need_not_hold_them() -> None:
    readings = world(np.random.default_rng(0), readers=4, others=2, captions=8)
    readers, some = Readers.fit(readings), np.array([3, 17, 40])
    np.testing.assert_allclose(
        readers.distances(rows_of(readings, some), readings), readers.distances(readings)[some], atol=1e-6
    )
    strange = replace(rows_of(readings, some), vectors=-readings.vectors[some])
    own_mean = np.stack(readers.means[[readings.languages[place] for place in some]].to_list())
    mirrored = replace(strange, vectors=2 * own_mean - readings.vectors[some])
    np.testing.assert_allclose(readers.distances(mirrored, readings), 2 - readers.distances(readings)[some], atol=1e-5)
    elsewhere = replace(rows_of(readings, some), sources=["c0", "no such caption", "c0"])
    assert np.isnan(readers.distances(elsewhere, readings)).all(axis=1).tolist() == [False, True, False]


def test_a_caption_needs_three_languages() -> None:
    whole = world(np.random.default_rng(0), readers=4, others=0, captions=8)
    places = zip(whole.languages, whole.sources, strict=True)
    missing = {("r0", "c0"), ("r1", "c0"), ("r0", "c1")}
    readings = rows_of(whole, np.array([place for place, cell in enumerate(places) if cell not in missing]))
    undefined = np.isnan(scores(readings))
    assert (undefined[:, 0] == undefined[:, 1]).all()
    assert undefined[:, 0].tolist() == [source == "c0" for source in readings.sources]


def test_a_language_needs_five_captions_to_be_scored_and_to_be_counted() -> None:
    whole = world(np.random.default_rng(0), readers=3, others=0, captions=8)
    few = [place for place, name in enumerate(whole.languages) if name == "r2"]
    five, four = (rows_of(whole, np.delete(np.arange(24), few[n:])) for n in (5, 4))
    scored = [source in {"c0", "c1", "c2", "c3", "c4"} for source in five.sources]
    assert (~np.isnan(scores(five)[:, 0])).tolist() == scored
    assert np.isnan(scores(four)).all()
    assert list(Readers.fit(four).means.index) == ["r0", "r1"]


def test_a_language_that_was_not_fitted_has_no_score() -> None:
    readings = world(np.random.default_rng(0), readers=4, others=0, captions=8)
    new = replace(rows_of(readings, np.array([0])), languages=["xx"])
    assert np.isnan(Readers.fit(readings).distances(new, readings)).all()


def test_where_nobody_can_be_believed_nothing_is_scored() -> None:
    meanings = np.random.default_rng(0).normal(size=(3, 8, 2, WIDTH))
    opposed = np.concatenate([meanings[0], -meanings[0], meanings[1]]).astype(np.float32)
    languages, sources = np.repeat(["a", "b", "c"], 8).tolist(), [f"c{i}" for i in range(8)] * 3
    readings = Readings(vectors=opposed, languages=languages, sources=sources)
    assert (Readers.fit(readings).weights == 0).all()
    assert np.isnan(scores(readings)).all()


def test_a_prompt_that_does_nothing_has_no_score() -> None:
    readings = world(np.random.default_rng(0), readers=4, others=1, captions=8)
    readings.vectors[np.array(readings.languages) == "x0", 0] = 1
    assert (np.isnan(scores(readings)[:, 0]) == ~is_reader(readings)).all()


def test_one_language_alone_and_no_prompts_at_all_have_no_scores() -> None:
    alone = world(np.random.default_rng(0), readers=1, others=0, captions=8)
    assert np.isnan(scores(alone)).all()
    empty = rows_of(alone, np.array([], dtype=int))
    assert scores(empty).shape == (0, 2)
    assert np.isnan(Readers.fit(empty).distances(alone)).all()


def test_a_frame_holds_both_parts_in_a_row() -> None:
    reading = [np.array([1, 2, 3, 4], dtype=np.float16), np.array([5, 6, 7, 8], dtype=np.float16)]
    frame = pd.DataFrame({"reading": reading, "language": ["en", "de"], "source_id": ["a", "b"]})
    readings = Readings.of(frame)
    np.testing.assert_array_equal(readings.vectors, [[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    assert readings.vectors.dtype == np.float32
    assert (list(readings.languages), list(readings.sources)) == (["en", "de"], ["a", "b"])
    empty = Readings.of(frame.iloc[:0])
    assert Readers.fit(empty).distances(empty).shape == (0, 2)
