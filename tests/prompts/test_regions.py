"""Prompts about countries: names in the prompt's language, from Unicode CLDR or not at all."""

from __future__ import annotations

import re
from pathlib import Path

import langcodes
import pytest

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.regions import iso_countries, read_templates, region_prompts, territory_names
from emoe_audit.prompts.shipped import shipped_prompts

TABLE = """kind,name,en,de,fr
template,photo,"photo: {noun}, {country}","Foto: {noun}, {country}","photo : {noun}, {country}"
noun,house,a house,ein Haus,une maison
noun,bus,a bus,ein Bus,un bus
"""
SHIPPED = shipped_prompts() / "templates" / "places.csv"


def write(folder: Path, content: str) -> Path:
    path = folder / "places.csv"
    path.write_text(content, encoding="utf-8")
    return path


def test_every_country_is_named_in_the_language_of_the_prompt(tmp_path: Path) -> None:
    frame = region_prompts(read_templates(write(tmp_path, TABLE)), ["DE", "kr"]).frame
    assert frame[frame["noun"] == "house"]["prompt"].tolist() == [
        "photo: a house, Germany",
        "Foto: ein Haus, Deutschland",
        "photo : une maison, Allemagne",
        "photo: a house, South Korea",
        "Foto: ein Haus, Südkorea",
        "photo : une maison, Corée du Sud",
    ]


def test_translations_share_source_region_and_sub_region(tmp_path: Path) -> None:
    table = region_prompts(read_templates(write(tmp_path, TABLE)), ["DE", "KE"])
    one = table.frame[table.frame["source_id"] == "photo-bus-KE"]
    assert one["language"].tolist() == ["en", "de", "fr"]
    assert one["prompt_id"].tolist() == ["photo-bus-KE-en", "photo-bus-KE-de", "photo-bus-KE-fr"]
    assert set(zip(one["region"], one["m49"], one["source_prompt"], strict=True)) == {
        ("KE", "014", "photo: a bus, Kenya")
    }
    assert table.frame["source_id"].nunique() == 4
    assert table.row_errors == ()


NAMES = {
    "ar": ("ألمانيا", "فرنسا", "اليابان", "كينيا", "البرازيل", "مصر"),
    "de": ("Deutschland", "Frankreich", "Japan", "Kenia", "Brasilien", "Ägypten"),
    "es": ("Alemania", "Francia", "Japón", "Kenia", "Brasil", "Egipto"),
    "fi": ("Saksa", "Ranska", "Japani", "Kenia", "Brasilia", "Egypti"),
    "fr": ("Allemagne", "France", "Japon", "Kenya", "Brésil", "Égypte"),
    "hi": ("जर्मनी", "फ़्रांस", "जापान", "केन्या", "ब्राज़ील", "मिस्र"),
    "it": ("Germania", "Francia", "Giappone", "Kenya", "Brasile", "Egitto"),
    "ja": ("ドイツ", "フランス", "日本", "ケニア", "ブラジル", "エジプト"),
    "nl": ("Duitsland", "Frankrijk", "Japan", "Kenia", "Brazilië", "Egypte"),
    "pl": ("Niemcy", "Francja", "Japonia", "Kenia", "Brazylia", "Egipt"),
    "pt": ("Alemanha", "França", "Japão", "Quênia", "Brasil", "Egito"),
    "ru": ("Германия", "Франция", "Япония", "Кения", "Бразилия", "Египет"),
    "sv": ("Tyskland", "Frankrike", "Japan", "Kenya", "Brasilien", "Egypten"),
    "sw": ("Ujerumani", "Ufaransa", "Japani", "Kenya", "Brazili", "Misri"),
}
"""Of Germany, France, Japan, Kenya, Brazil and Egypt, as dictionaries have them."""


@pytest.mark.parametrize("language", NAMES)
def test_names_are_those_of_the_dictionary(language: str) -> None:
    names = territory_names(language)
    found = [names[code] for code in ("DE", "FR", "JP", "KE", "BR", "EG")]
    other = [(own, known) for own, known in zip(found, NAMES[language], strict=True) if own != known]
    assert len(other) <= 1, f"a release of CLDR may spell one name anew, not more: {other}"


@pytest.mark.parametrize("language", NAMES)
def test_most_names_are_those_of_another_package(language: str) -> None:
    """Not all: each package carries a release of CLDR of its own, and a release spells some names anew."""
    names = territory_names(language)
    others = {code: langcodes.Language.make(territory=code).territory_name(language) for code in names}
    same = [code for code, name in names.items() if name == others[code]]
    assert len(same) >= 0.8 * len(iso_countries())


@pytest.mark.parametrize(
    ("language", "germany"),
    [
        ("zh", "德国"),
        ("zh-TW", "德國"),
        ("zh-Hant", "德國"),
        ("sr", "Немачка"),
        ("sr-Latn", "Nemačka"),
        ("nb", "Tyskland"),
    ],
)
def test_names_are_in_the_script_of_the_tag(language: str, germany: str) -> None:
    assert territory_names(language)["DE"] == germany


@pytest.mark.parametrize("language", ["tlh", "hi-Latn", "de-Cyrl", "und", "art-x-own"])
def test_a_language_without_names_of_its_own_gets_none_of_another(language: str) -> None:
    assert territory_names(language) == {}


@pytest.mark.parametrize("language", ["ru", "ja", "am", "ti", "dz"])
def test_no_english_name_stands_in_for_one_that_is_missing(language: str) -> None:
    assert not [name for name in territory_names(language).values() if re.search("[A-Za-z]", name)]


def test_a_language_without_names_is_said_and_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, TABLE.replace(",fr\n", ",tlh\n"))
    table = region_prompts(read_templates(path), ["DE"])
    assert set(table.frame["language"]) == {"en", "de"}
    (error,) = table.row_errors
    assert error.message == (
        f"{path}:1: column tlh: Unicode CLDR has no name of countries in Klingon at all; none is put in its place"
    )


def test_countries_without_a_name_are_said_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import emoe_audit.prompts.regions as regions

    known = {
        "en": {"DE": "Germany", "KE": "Kenya"},
        "de": {"DE": "Deutschland", "KE": "Kenia"},
        "fr": {"DE": "Allemagne"},
    }
    monkeypatch.setattr(regions, "territory_names", known.__getitem__)
    table = region_prompts(read_templates(write(tmp_path, TABLE)), ["DE", "KE"])
    assert table.frame.groupby("language").size().to_dict() == {"de": 4, "en": 4, "fr": 2}
    assert [error.message.split(": ", 1)[1] for error in table.row_errors] == [
        "column fr: Unicode CLDR has no name of countries in French for KE; none is put in its place"
    ]


def test_an_empty_cell_is_said_and_left_out(tmp_path: Path) -> None:
    table = region_prompts(read_templates(write(tmp_path, TABLE.replace("ein Bus", ""))), ["DE"])
    assert table.frame["language"].tolist() == ["en", "de", "fr", "en", "fr"]
    (error,) = table.row_errors
    assert re.search(r"places\.csv:4: column de: noun 'bus' has no text in German", error.message)
    assert (error.line, error.column) == (4, "de")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("noun,bus", "nuon,bus", r"places\.csv:4: column kind: 'nuon' is neither 'template' nor 'noun'"),
        ("noun,bus", "noun,", r"places\.csv:4: column name: a noun needs a name"),
        ("noun,bus", "noun,house", r"places\.csv:4: two nouns are called 'house'"),
        ("Foto: {noun}", "Foto: {nuon}", r"places\.csv:2: column de: .* must hold \{noun\} once"),
        ("Foto: {noun}, {country}", "{noun}", r"places\.csv:2: column de: '\{noun\}' must hold \{country\} once"),
        ("template,photo", "noun,photo", r"places\.csv: no row of kind 'template'; it needs at least one"),
    ],
)
def test_a_table_of_templates_that_is_wrong_says_where(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(PromptTableError, match=message):
        read_templates(write(tmp_path, TABLE.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("UK", r"countries: 'UK' is not an ISO 3166 country; United Kingdom is 'GB'"),
        ("Grmany", r"countries: 'Grmany' is neither .*the nearest is 'DE'"),
        ("155", r"countries: '155' \(Western Europe\) is a region; give its countries"),
    ],
)
def test_a_code_that_is_no_country_is_named(tmp_path: Path, code: str, message: str) -> None:
    with pytest.raises(PromptTableError, match=message):
        region_prompts(read_templates(write(tmp_path, TABLE)), ["DE", code])


def test_a_table_of_which_nothing_is_left_says_why(tmp_path: Path) -> None:
    content = 'kind,name,tlh\ntemplate,photo,"{noun}, {country}"\nnoun,house,juH\n'
    with pytest.raises(PromptTableError, match=r"no prompt can be made: .*no name of countries in Klingon"):
        region_prompts(read_templates(write(tmp_path, content)))


def test_the_table_that_ships_is_whole_in_every_country() -> None:
    templates = read_templates(SHIPPED)
    table = region_prompts(templates)
    assert table.row_errors == ()
    assert table.frame["region"].nunique() == len(iso_countries())
    assert len(table.frame) == len(templates.languages) * len(templates.nouns) * len(iso_countries())
    assert not table.frame["prompt"].str.contains(r"[{}]").any()
