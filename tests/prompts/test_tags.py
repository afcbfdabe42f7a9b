"""Language and region tags."""

from __future__ import annotations

import pytest
from babel import Locale

from emoe_audit.prompts.tags import TagError, check_language, check_region, language_name, m49_region, region_names


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
