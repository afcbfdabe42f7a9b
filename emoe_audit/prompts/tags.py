"""Language and region tags: BCP-47, ISO 3166 alpha-2, UN M49."""

from __future__ import annotations

import difflib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import langcodes

OFTEN_MEANT = {"UK": "GB", "EL": "GR"}
CLDR_LEAVES_OUT = {"202": "002", "419": "019"}
"""The M49 region that one lies in, where CLDR names none: sub-Saharan Africa and Latin America."""
_TAG = re.compile(r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*")


class TagError(ValueError):
    """A tag that is not valid; the message says what would be."""


@cache
def check_language(tag: str) -> str:
    """The tag in the usual case (`zh-Hant`, `pt-BR`).

    Raises:
        TagError: not a BCP-47 tag of a known language.
    """
    if _TAG.fullmatch(tag) and langcodes.tag_is_valid(tag):
        return _case(tag)
    raise TagError(f"{tag!r} is not a BCP-47 language tag{_nearest_language(tag)}")


@cache
def check_region(code: str) -> str:
    """The code in upper case.

    Raises:
        TagError: neither an ISO 3166 alpha-2 country nor a UN M49 region.
    """
    known = region_names()
    if code.upper() in known:
        return code.upper()
    if code.upper() in OFTEN_MEANT:
        meant = OFTEN_MEANT[code.upper()]
        raise TagError(f"{code!r} is not an ISO 3166 country; {known[meant]} is {meant!r}")
    by_name = {name.casefold(): key for key, name in known.items()}
    near = difflib.get_close_matches(code.casefold(), by_name, n=1) or difflib.get_close_matches(
        code.upper(), known, n=1
    )
    hint = (
        f"; the nearest is {by_name.get(near[0], near[0])!r} ({known[by_name.get(near[0], near[0])]})" if near else ""
    )
    raise TagError(f"{code!r} is neither an ISO 3166 country (as 'DE') nor a UN M49 region (as '155'){hint}")


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


def _case(tag: str) -> str:
    """`zh_hant_tw` as `zh-Hant-TW`: the same subtags in the case BCP-47 recommends."""
    parts = tag.replace("_", "-").split("-")
    rest = [p.upper() if len(p) == 2 else p.title() if len(p) == 4 and p.isalpha() else p.lower() for p in parts[1:]]
    return "-".join([parts[0].lower(), *rest])


def _nearest_language(tag: str) -> str:
    found = None
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
