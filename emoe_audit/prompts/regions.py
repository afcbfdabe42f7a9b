"""Prompts about countries: templates x nouns x countries, each country named in the language of the prompt.

The names are those of Unicode CLDR, through Babel. A language has no name for a country where CLDR has none: that is
said and left out, and no English name takes its place.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import langcodes
import pandas as pd
from babel import Locale, localedata
from babel.core import get_global

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.table import PromptTable, table_of
from emoe_audit.prompts.tags import (
    TagError,
    check_region,
    country_codes,
    english_of,
    language_name,
    m49_region,
    region_names,
)
from emoe_audit.prompts.wide import WideRow, read_wide
from emoe_audit.types import RowError

TEMPLATE, NOUN = "template", "noun"
PLACES = ("{noun}", "{country}")
COLUMNS = ["prompt_id", "source_id", "prompt", "language", "region", "m49", "template", "noun", "source_prompt"]
RESERVED = {"CQ", "EA", "IC", "QO"}
"""Codes of CLDR for parts of countries and for the rest of Oceania."""


@dataclass(frozen=True, kw_only=True)
class Templates:
    """What prompts are made of."""

    path: Path
    templates: tuple[WideRow, ...]
    nouns: tuple[WideRow, ...]
    languages: tuple[str, ...]


def read_templates(path: Path) -> Templates:
    """Read a CSV table with columns `kind, name` and one for each language.

    A row of kind `template` holds in each language a text with `{noun}` and `{country}`, one of kind `noun` a noun in
    the form that the templates want. What comes out is right where the country can stand in its basic form: write
    "photo: a house, Germany", not "a house in Germany", which asks for a case or a preposition in many languages.

    Raises:
        PromptTableError: the table cannot be read, a row has no kind or no name, or a template lacks a place.
    """
    rows: dict[str, list[WideRow]] = {TEMPLATE: [], NOUN: []}
    for row in read_wide(path):
        _check_row(row, path)
        if any(row.fields["name"] == other.fields["name"] for other in rows[row.fields["kind"]]):
            raise PromptTableError(f"{path}:{row.line}: two {row.fields['kind']}s are called {row.fields['name']!r}")
        rows[row.fields["kind"]].append(row)
    for kind, found in rows.items():
        if not found:
            raise PromptTableError(f"{path}: no row of kind {kind!r}; it needs at least one")
    languages = tuple(rows[TEMPLATE][0].texts)
    return Templates(path=path, templates=tuple(rows[TEMPLATE]), nouns=tuple(rows[NOUN]), languages=languages)


def region_prompts(templates: Templates, countries: Sequence[str] | None = None) -> PromptTable:
    """Every noun in every country in every language, one prompt for each template.

    `source_id` is `template-noun-COUNTRY`: the same thing in all languages. `region` is the country, `m49` its UN M49
    sub-region, and `source_prompt` the English prompt, where there is one.

    Args:
        templates: From `read_templates`.
        countries: ISO 3166 alpha-2 codes; by default `iso_countries`.

    Raises:
        PromptTableError: a code is no country, or no prompt can be made.
    """
    codes = iso_countries() if countries is None else [_country(code) for code in countries]
    errors = [*_missing_texts(templates), *_missing_names(templates, codes)]
    rows = [row for pair in itertools.product(templates.templates, templates.nouns) for row in _rows(*pair, codes)]
    if not rows:
        detail = "; ".join(error.message for error in errors[:3])
        raise PromptTableError(f"{templates.path}: no prompt can be made: {detail}")
    return table_of(pd.DataFrame(rows, columns=COLUMNS), str(templates.path), tuple(errors))


def iso_countries() -> list[str]:
    """Every code that ISO 3166-1 assigns but Antarctica's, and Kosovo's."""
    return [code for code in country_codes() if code not in RESERVED]


@cache
def territory_names(language: str) -> Mapping[str, str]:
    """The names of countries in a language, by ISO 3166 alpha-2; empty where CLDR has none, and never another's."""
    identifier = _cldr_locale(language)
    if identifier is None:
        return {}
    names, countries = Locale.parse(identifier).territories, country_codes()
    return {code: names[code] for code in countries if names.get(code, code) != code}


def _cldr_locale(language: str) -> str | None:
    """The name of CLDR's data for a language in its own or its likely script; None where there are none.

    Data that inherit from another language are not taken: `hi-Latn` would name countries in English.
    """
    if langcodes.Language.get(language).language in (None, "und"):
        return None
    tag = langcodes.Language.get(language).maximize()
    likely = langcodes.Language.get(tag.language).maximize().script == tag.script
    parts = [(tag.script, tag.territory), (tag.script,), *([(tag.territory,), ()] if likely else [])]
    for part in parts:
        identifier = "_".join(str(own) for own in (tag.language, *part))
        if localedata.exists(identifier):
            return identifier if _inherits_from(identifier) <= {tag.language, "no"} else None
    return None


def _inherits_from(identifier: str) -> set[str]:
    """The languages whose data a locale takes where its own lack some; itself among them."""
    languages = set()
    while identifier and identifier != "root":
        languages.add(identifier.split("_")[0])
        identifier = get_global("parent_exceptions").get(identifier) or identifier.rpartition("_")[0]
    return languages


def _check_row(row: WideRow, path: Path) -> None:
    kind = row.fields.get("kind", "")
    if kind not in (TEMPLATE, NOUN):
        raise PromptTableError(f"{path}:{row.line}: column kind: {kind!r} is neither {TEMPLATE!r} nor {NOUN!r}")
    if "name" not in row.fields:
        raise PromptTableError(f"{path}:{row.line}: column name: a {kind} needs a name; it becomes part of source_id")
    for language, text in row.texts.items() if kind == TEMPLATE else ():
        missing = [place for place in PLACES if text and text.count(place) != 1]
        if missing:
            raise PromptTableError(f"{path}:{row.line}: column {language}: {text!r} must hold {missing[0]} once")


def _country(code: str) -> str:
    """The code in upper case. Raises `PromptTableError` for a code that is no country."""
    try:
        checked = check_region(code.strip())
    except TagError as error:
        raise PromptTableError(f"countries: {error}") from error
    if m49_region(checked) is None:
        raise PromptTableError(f"countries: {code!r} ({region_names()[checked]}) is a region; give its countries")
    return checked


def _rows(template: WideRow, noun: WideRow, countries: Sequence[str]) -> Iterator[dict[str, Any]]:
    for country in countries:
        prompts = dict(_prompts(template, noun, country))
        source = f"{template.fields['name']}-{noun.fields['name']}-{country}"
        for language, prompt in prompts.items():
            yield {
                "prompt_id": f"{source}-{language}",
                "source_id": source,
                "prompt": prompt,
                "language": language,
                "region": country,
                "m49": m49_region(country),
                "template": template.fields["name"],
                "noun": noun.fields["name"],
                "source_prompt": english_of(prompts),
            }


def _prompts(template: WideRow, noun: WideRow, country: str) -> Iterator[tuple[str, str]]:
    """The prompt in every language that has all three parts."""
    for language, text in template.texts.items():
        name = territory_names(language).get(country)
        if text and noun.texts[language] and name:
            yield language, text.replace("{noun}", noun.texts[language]).replace("{country}", name)


def _missing_texts(templates: Templates) -> Iterator[RowError]:
    for row in (*templates.templates, *templates.nouns):
        for language, text in row.texts.items():
            if not text:
                reason = f"{row.fields['kind']} {row.fields['name']!r} has no text in {language_name(language)}"
                yield _error(f"{templates.path}:{row.line}: column {language}: {reason}", language, row.line)


def _missing_names(templates: Templates, countries: Sequence[str]) -> Iterator[RowError]:
    for language in templates.languages:
        names = territory_names(language)
        lacking = [country for country in countries if country not in names]
        if not lacking:
            continue
        what = f"for {', '.join(lacking)}" if names else "at all"
        reason = f"Unicode CLDR has no name of countries in {language_name(language)} {what}; none is put in its place"
        yield _error(f"{templates.path}:1: column {language}: {reason}", language, 1)


def _error(message: str, column: str, line: int) -> RowError:
    return RowError(stage="read", message=message, line=line, column=column)
