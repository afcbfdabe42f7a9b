"""Language and region tags: BCP-47, ISO 3166 alpha-2, UN M49."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import langcodes
from babel.core import get_global

SOURCE_LANGUAGE = "en"
"""In which captions are sought that others were translated from."""
MAX_SHOWN = 60
"""Characters of a tag in a message; no longer one is looked up."""
OFTEN_MEANT = {"UK": "GB", "EL": "GR"}
CLDR_LEAVES_OUT = {"202": "002", "419": "019"}
"""The M49 region that one lies in, where CLDR names none: sub-Saharan Africa and Latin America."""
_TAG = re.compile(r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*")
_NUMBER = re.compile(r"(\d{1,3})(?:\.0+)?", re.ASCII)


class TagError(ValueError):
    """A tag that is not valid; the message says what would be."""


@cache
def check_language(tag: str) -> str:
    """The tag that CLDR has for a language, in the usual case: `zh-Hant`, `pt-BR`; `he` of `iw`, `en` of `eng-Latn`.

    Raises:
        TagError: not a BCP-47 tag of a known language.
    """
    if len(tag) <= MAX_SHOWN and _TAG.fullmatch(tag) and langcodes.tag_is_valid(tag):
        return str(langcodes.standardize_tag(tag, macro=True))
    raise TagError(f"{tag[:MAX_SHOWN]!r} is not a BCP-47 language tag{_nearest_language(tag)}")


@cache
def in_usual_case(tag: str) -> str:
    """`zh_hant_tw` as `zh-Hant-TW`: the same subtags in the case BCP-47 recommends."""
    parts = tag.replace("_", "-").split("-")
    rest = [p.upper() if len(p) == 2 else p.title() if len(p) == 4 and p.isalpha() else p.lower() for p in parts[1:]]
    return "-".join([parts[0].lower(), *rest])


def english_of(texts: Mapping[str, str]) -> str | None:
    """The English text among texts by language, the plainest where there are several."""
    tag = min(texts, key=english_rank, default="und")
    return texts[tag] if english_rank(tag) < 2 else None


def english_rank(tag: str) -> int:
    """0 for English, 1 for that of a place (`en-US`), 2 for any other language."""
    return 0 if tag == SOURCE_LANGUAGE else 1 if tag.startswith(f"{SOURCE_LANGUAGE}-") else 2


@cache
def check_region(code: str) -> str:
    """The code in upper case; alpha-2 of a country's other codes, three digits of a region that lost its zeros.

    Raises:
        TagError: neither an ISO 3166 country nor a UN M49 region.
    """
    known = region_names()
    found = _usual_region(code.upper()[:MAX_SHOWN])
    if found in known:
        return found
    if found in OFTEN_MEANT:
        meant = OFTEN_MEANT[found]
        raise TagError(f"{code!r} is not an ISO 3166 country; {known[meant]} is {meant!r}")
    by_name = {name.casefold(): key for key, name in known.items()}
    near = difflib.get_close_matches(code[:MAX_SHOWN].casefold(), by_name, n=1)
    hint = f"; the nearest is {by_name[near[0]]!r} ({known[by_name[near[0]]]})" if near else ""
    raise TagError(
        f"{code[:MAX_SHOWN]!r} is neither an ISO 3166 country (as 'DE') nor a UN M49 region (as '155'){hint}"
    )


def _usual_region(code: str) -> str:
    """`USA` as `US`; `19` as `019`, as a spreadsheet leaves it, and `155.0` as `155`, as a frame with gaps does."""
    digits = _NUMBER.fullmatch(code)
    code = digits.group(1).zfill(3) if digits else code
    aliases = get_global("territory_aliases").get(code, []) if len(code) == 3 else []
    return str(aliases[0]) if len(aliases) == 1 and code not in region_names() else code


@cache
def region_names() -> dict[str, str]:
    """English name of every country and region by its code."""
    data = _data()
    return {code: entry["name"] for table in ("countries", "regions") for code, entry in data[table].items()}


def country_codes() -> list[str]:
    """Every ISO 3166 alpha-2 code, in order."""
    return list(_data()["countries"])


def m49_region(country: str) -> str | None:
    """UN M49 sub-region of a country; None for a code that is none."""
    entry = _data()["countries"].get(country)
    return entry["region"] if entry else None


@cache
def countries_of(code: str) -> tuple[str, ...]:
    """The countries of a UN M49 region, of the country itself where it is one; none for a code that is neither."""
    data = _data()
    if code in data["countries"]:
        return (code,)
    parts = [part for part, entry in data["regions"].items() if CLDR_LEAVES_OUT.get(part, entry["parent"]) == code]
    inside = [country for country, entry in data["countries"].items() if entry["region"] == code]
    return tuple(sorted({*inside, *(country for part in parts for country in countries_of(part))}))


@cache
def language_name(tag: str) -> str:
    """English name of a language, the tag itself where it has none."""
    return str(langcodes.Language.get(tag).display_name("en")) if langcodes.tag_is_valid(tag) else tag


def _nearest_language(tag: str) -> str:
    found = None
    if len(tag) > MAX_SHOWN or not tag.isprintable():
        return "; use for example 'en' or 'zh-Hant'"
    try:
        found = langcodes.find(tag).to_tag()
    except LookupError:
        shortened = tag.replace("_", "-").split("-")[0]
        found = shortened.lower() if shortened and shortened.isalpha() and langcodes.tag_is_valid(shortened) else None
    return f"; the nearest is {found!r}" if found else "; use for example 'en' or 'zh-Hant'"


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(Path(__file__).with_name("regions.json").read_text(encoding="utf-8"))
    return data
