"""Language and region tags."""

from __future__ import annotations

import pytest
from babel import Locale

from emoe_audit.prompts.shipped import shipped_captions
from emoe_audit.prompts.tags import (
    TagError,
    check_language,
    check_region,
    english_of,
    english_rank,
    language_name,
    m49_region,
    region_names,
)


@pytest.mark.parametrize(
    ("written", "usual"),
    [("en", "en"), ("EN_us", "en-US"), ("zh-hant-tw", "zh-Hant-TW"), ("sr-Latn", "sr-Latn"), ("es-419", "es-419")],
)
def test_valid_tags_come_back_in_the_usual_case(written: str, usual: str) -> None:
    assert check_language(written) == usual


@pytest.mark.parametrize("tag", ["english", "e n", "en--US", "../etc", "<b>", "q", "xx-"])
def test_other_text_is_no_language(tag: str) -> None:
    with pytest.raises(TagError, match="is not a BCP-47 language tag"):
        check_language(tag)


def test_a_language_by_name_is_told_its_tag() -> None:
    with pytest.raises(TagError, match="the nearest is 'fi'"):
        check_language("Finnish")


def test_most_region_names_are_those_of_babel() -> None:
    """Not all: Babel carries a release of CLDR of its own, and a release spells some names anew."""
    territories = Locale("en").territories
    names = region_names()
    assert len(names) > 270
    assert sum(territories.get(code) == name for code, name in names.items()) > 0.95 * len(names)


@pytest.mark.parametrize(
    ("code", "name"),
    [("DE", "Germany"), ("KR", "South Korea"), ("CI", "Côte d’Ivoire"), ("155", "Western Europe"), ("001", "world")],
)
def test_regions_have_english_names(code: str, name: str) -> None:
    assert region_names()[code] == name


@pytest.mark.parametrize(
    ("country", "region"), [("DE", "155"), ("KE", "014"), ("JP", "030"), ("BR", "005"), ("NZ", "053"), ("ZZ", None)]
)
def test_countries_lie_in_the_m49_sub_region_of_the_united_nations(country: str, region: str | None) -> None:
    assert m49_region(country) == region


def test_regions_are_countries_or_m49_codes() -> None:
    assert [check_region(code) for code in ("de", "155", "001")] == ["DE", "155", "001"]
    with pytest.raises(TagError, match=r"'Grmany' is neither .*the nearest is 'DE' \(Germany\)"):
        check_region("Grmany")


def test_languages_have_english_names() -> None:
    assert language_name("fi") == "Finnish"
    assert language_name("not a tag") == "not a tag"


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("eng", "en"),
        ("iw", "he"),
        ("in", "id"),
        ("cmn", "zh"),
        ("eng-Latn", "en"),
        ("deu_Latn", "de"),
        ("cmn-Hant", "zh-Hant"),
        ("en-us", "en-US"),
        ("en-UK", "en-GB"),
        ("zsm_Latn", "ms"),
    ],
)
def test_a_language_has_one_tag(given: str, canonical: str) -> None:
    assert check_language(given) == canonical


@pytest.mark.parametrize("tag", ["zh-Hans", "zh-Hant", "sr-Latn", "sr-Cyrl", "yue", "nb", "nn", "no", "fil", "hi-Latn"])
def test_languages_and_scripts_that_differ_stay_apart(tag: str) -> None:
    assert check_language(tag) == tag


def test_the_tags_of_the_prompt_set_that_ships_are_the_usual_ones() -> None:
    tags = shipped_captions().columns
    assert [check_language(tag) for tag in tags] == list(tags)


def test_a_tag_is_checked_again_as_it_was() -> None:
    checked = {check_language(tag) for tag in ["sh", "mo", "tl", "zh-min-nan", "sgn-US", "arb", "pes"]}
    assert {check_language(tag) for tag in checked} == checked


@pytest.mark.parametrize("tag", ["en\0", "e" * 10_000, "\ud800", "en\n", "\x1b[31m"])
def test_what_cannot_be_a_tag_is_told_soon_and_briefly(tag: str) -> None:
    for check in (check_language, check_region):
        with pytest.raises(TagError) as caught:
            check(tag)
        assert len(str(caught.value)) < 200
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("USA", "US"), ("deu", "DE"), ("GBR", "GB"), ("19", "019"), ("2", "002"), ("155.0", "155"), ("276", "DE"),
        ("840", "US"), ("4", "AF"), ("xk", "XK"), ("001", "001"),
    ],
)  # fmt: skip
def test_codes_of_three_letters_and_numbers_without_their_zeros_are_understood(given: str, code: str) -> None:
    assert check_region(given) == code


@pytest.mark.parametrize("code", ["UK", "EL", "uk"])
def test_codes_that_are_often_meant_otherwise_are_told(code: str) -> None:
    with pytest.raises(TagError, match=r"is not an ISO 3166 country; .* is '(GB|GR)'"):
        check_region(code)


@pytest.mark.parametrize("code", ["QQQ", "999", "1.5", "-1"])
def test_a_code_of_nothing_gets_no_hint_by_its_letters(code: str) -> None:
    with pytest.raises(TagError, match=r"nor a UN M49 region \(as '155'\)$"):
        check_region(code)


def test_english_is_english_wherever_it_is_spoken() -> None:
    assert [english_rank(tag) for tag in ("en", "en-US", "enm", "de")] == [0, 1, 2, 2]
    assert english_of({"de": "Hund", "en-US": "dog", "en": "hound"}) == "hound"
    assert english_of({"de": "Hund", "en-US": "dog"}) == "dog"
    assert english_of({"de": "Hund"}) is None
    assert english_of({}) is None
