"""Whether images of translations show the same, in worlds in which it is known what each language draws."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from emoe_audit.analysis.image_agreement import (
    BOUNDS_COLUMNS,
    IMAGE_AGREEMENT,
    IMAGE_RELIABILITY,
    Sights,
    agreement_bounds,
    fit_images,
    image_agreement,
)
from emoe_audit.analysis.translations import TRANSLATION_SCORE

WIDTH, N_CAPTIONS = 256, 40
SKILLS = {**{f"good-{number}": 0.85 for number in range(8)}, "half": 0.5, "blind": 0.0}


def drawn(
    skills: Mapping[str, float] = SKILLS, *, n_images: int = 2, of_noise: float = 0.0, stubborn: str = "", seed: int = 0
) -> Sights:
    """Images of captions by languages that draw `skill` of what is meant.

    Images of the same number start from the same noise in all languages, which is a share `of_noise` of the rest of
    each. A `stubborn` language draws a wrong thing of its own for each caption, always the same.
    """
    rng = np.random.default_rng(seed)

    def vector() -> np.ndarray:
        return rng.normal(size=WIDTH) / np.sqrt(WIDTH)

    accents = {name: 3 * vector() for name in skills}
    seen, languages, sources = [], [], []
    for caption in range(N_CAPTIONS):
        meaning, noises = vector(), [vector() for _ in range(n_images)]
        for name, skill in skills.items():
            shown = vector() if name == stubborn else meaning
            own = 0.85 if name == stubborn else skill
            rest = [np.sqrt(of_noise) * noise + np.sqrt(1 - of_noise) * vector() for noise in noises]
            seen.append(np.stack([accents[name] + own * shown + np.sqrt(1 - own**2) * one for one in rest]))
            languages.append(name)
            sources.append(f"c{caption}")
    return Sights.of(seen, languages, sources)


def by_language(sights: Sights) -> pd.Series:
    found = image_agreement(fit_images(sights), sights)[IMAGE_AGREEMENT]
    return found.groupby(np.array(sights.first.languages)).mean()


def bounds(sights: Sights) -> pd.DataFrame:
    return agreement_bounds(fit_images(sights), sights).set_index("language")


@pytest.mark.parametrize("n_images", [1, 2, 5])
def test_the_agreement_of_a_language_is_how_much_it_draws_of_what_is_meant(n_images: int) -> None:
    """However many images there are: a language of which some are missing is no worse for that."""
    found = by_language(drawn(n_images=n_images))
    for name in ("good-0", "half", "blind"):
        assert found[name] == pytest.approx(SKILLS[name], abs=0.08), name


def test_languages_that_draw_nothing_but_the_same_noise_have_no_voice() -> None:
    """What languages are worth is not learned from images of the same number either."""
    sights = drawn({f"blind-{number}": 0.0 for number in range(6)}, of_noise=0.9)
    assert image_agreement(fit_images(sights), sights)[IMAGE_AGREEMENT].isna().all()


def test_a_stray_second_image_changes_nothing_for_the_others() -> None:
    one = drawn(n_images=1)
    seen = [own[None] for own in one.first.vectors]
    seen[3] = np.concatenate([seen[3], seen[3]])
    stray = Sights.of(seen, list(one.first.languages), list(one.first.sources))
    ours, theirs = (image_agreement(fit_images(own), own)[IMAGE_AGREEMENT] for own in (stray, one))
    pd.testing.assert_series_equal(ours, theirs)


def test_what_images_have_of_the_same_noise_is_not_taken_for_agreement() -> None:
    """The control: held against images of the same number a language that draws nothing agrees with all others."""
    sights = drawn(of_noise=0.8)
    assert abs(by_language(sights)["blind"]) < 0.1
    readers = fit_images(sights)
    same_noise = 1 - readers.judge(sights.first)[TRANSLATION_SCORE]
    assert same_noise[np.array(sights.first.languages) == "blind"].mean() > 0.3


def test_the_ceiling_is_what_a_language_reaches_that_draws_as_all_do() -> None:
    found = bounds(drawn())
    assert found.loc["good-0", "ceiling"] == pytest.approx(SKILLS["good-0"], abs=0.05)
    assert found.loc["good-0", "agreement"] == pytest.approx(found.loc["good-0", "ceiling"], abs=0.08)


def test_a_language_that_always_draws_the_same_wrong_thing_has_a_high_ceiling_and_no_agreement() -> None:
    found = bounds(drawn(stubborn="blind"))
    assert found.loc["blind", "ceiling"] == pytest.approx(0.85, abs=0.05)
    assert abs(found.loc["blind", "agreement"]) < 0.1


def test_other_captions_are_the_floor() -> None:
    found = bounds(drawn())
    assert found["floor"].abs().max() < 0.1
    assert (found.loc["good-0", "agreement"] - found.loc["good-0", "floor"]) > 0.7


def test_images_that_were_dealt_to_captions_at_random_agree_on_nothing() -> None:
    sights = drawn()
    order = np.random.default_rng(1).permutation(len(sights.first.sources))
    shuffled = Sights.of(
        [np.stack([sights.first.vectors[row], sights.second.vectors[row]]) for row in order],
        list(np.array(sights.first.languages)[order]),
        list(sights.first.sources),
    )
    found = image_agreement(fit_images(shuffled), shuffled)
    assert found[IMAGE_AGREEMENT].isna().all()


def test_two_languages_cannot_say_who_of_them_is_right() -> None:
    found = image_agreement(fit_images(two := drawn({"a": 0.9, "b": 0.9})), two)
    assert found[[IMAGE_AGREEMENT, IMAGE_RELIABILITY]].isna().all(axis=None)


def test_bounds_have_a_row_per_language_and_no_ceiling_where_each_prompt_has_one_image() -> None:
    found = agreement_bounds(fit_images(one := drawn(n_images=1)), one)
    assert list(found.columns) == BOUNDS_COLUMNS
    assert found["language"].to_list() == sorted(SKILLS)
    assert found["n_prompts"].eq(N_CAPTIONS).all()
    assert found["ceiling"].isna().all() and found["floor"].notna().all()


def test_prompts_with_one_image_are_held_against_those_of_others_with_several() -> None:
    """A model that failed once for a prompt still has its other image judged."""
    both = drawn()
    seen = [np.stack([first, second]) for first, second in zip(both.first.vectors, both.second.vectors, strict=True)]
    seen[0] = seen[0][:1]
    sights = Sights.of(seen, list(both.first.languages), list(both.first.sources))
    found = image_agreement(fit_images(sights), sights)[IMAGE_AGREEMENT]
    readers = fit_images(both)
    expected = 1 - readers.judge(both.first.take(np.array([0])), sights.second)[TRANSLATION_SCORE]
    assert found[0] == pytest.approx(expected[0], abs=0.02)
