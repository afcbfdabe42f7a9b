"""What the columns of a table are called in the field: the names that the audit knows, and those that mean the same."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.columns import KNOWN, listed
from emoe_audit.prompts.tags import TagError, check_language, check_region
from emoe_audit.prompts.wide import language_of

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "prompt": ("caption", "text", "prompts"),
    "language": ("lang", "locale", "lang_code", "language_code"),
    "region": ("country", "country_code", "region_code"),
}
CHECKS = {"language": check_language, "region": check_region}
IMAGE_KEY = "image/key"
"""The field of Crossmodal-3600 that names an image."""


def is_known(name: str) -> bool:
    """Whether a column is one of those that the audit knows, or may be meant as one."""
    return name in KNOWN or _plain(name) in {*KNOWN, *(own for names in SYNONYMS.values() for own in names)}


def meant(columns: Sequence[str], first: Iterable[Mapping[str, Any]], path: Path) -> tuple[dict[str, str], list[str]]:
    """The columns that are called otherwise than the audit calls them, by their names, and what is told of it.

    Another name is taken where the known one is missing, one column alone has it, and, for languages and regions, the
    first rows hold tags or codes.

    Raises:
        PromptTableError: no column is the prompt, or two could be.
    """
    renamed: dict[str, str] = {}
    told: list[str] = []
    others = [name for name in columns if name not in KNOWN]
    for known in KNOWN:
        if known in columns:
            continue
        candidates = [name for name in columns if _plain(name) == known]
        candidates = candidates or [name for name in columns if _plain(name) in SYNONYMS.get(known, ())]
        fault = _fault(known, candidates, first)
        if known == "prompt" and (fault or not candidates):
            raise PromptTableError(f"{path}:1: {fault or _no_prompt(columns)}")
        if fault:
            told.append(fault)
        elif candidates:
            renamed[candidates[0]] = known
            told.append(f"column {candidates[0]!r} is taken for {known!r}")
        elif near := difflib.get_close_matches(known, others, n=1, cutoff=0.85):
            told.append(f"no column {known!r}; if {near[0][:60]!r} is meant, rename it")
    return renamed, told


def _fault(known: str, candidates: Sequence[str], first: Iterable[Mapping[str, Any]]) -> str | None:
    """Why none of the candidates is taken."""
    if len(candidates) > 1:
        return f"columns {listed(candidates)} could each be the {known}; call one of them {known!r}"
    for row in first if candidates and known in CHECKS else ():
        value = str(row.get(candidates[0]) or "").strip()
        try:
            if value:
                CHECKS[known](value)
        except TagError as error:
            return f"column {candidates[0]!r} is not taken for {known!r}: {error}"
    return None


def _no_prompt(columns: Sequence[str]) -> str:
    if IMAGE_KEY in columns:
        return "captions of Crossmodal-3600; make prompts of them: emoe-audit prompts xm3600 CAPTIONS --out prompts.csv"
    languages = [name for name in columns if language_of(name)]
    if languages:
        return (
            f"no column 'prompt', and columns that are languages: {listed(languages)}; make one row a prompt of them: "
            "emoe-audit prompts join TABLE --out prompts.csv"
        )
    near = difflib.get_close_matches("prompt", columns, n=1, cutoff=0.6)
    hint = f"; column {columns.index(near[0]) + 1} is called {near[0]!r}, rename it" if near else ""
    return f"no column 'prompt' among {listed(columns) or 'none'}{hint}"


def _plain(name: str) -> str:
    return name.strip().casefold().replace(" ", "_").replace("-", "_")
