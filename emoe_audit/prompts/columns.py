"""The columns of a prompt table that the audit does not know: under names of their own, and as they can be stored.

What stands here is asked when a table is read, so that nothing is found out after hours of scoring.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pandas as pd

from emoe_audit.errors import PromptTableError
from emoe_audit.readers.documents import Digits
from emoe_audit.readers.limits import CELLS
from emoe_audit.readers.text import NO_TEXT, is_text
from emoe_audit.types import SET_ASIDE

KNOWN = ("prompt_id", "source_id", "prompt", "language", "region")
GIVEN = "language_given"
"""The language tag that a table gave, where the audit knows the language by another."""
RESERVED = frozenset(
    (
        *("key", "image", "image_seed", "flagged", "reading", "truncated", "n_noise", "n_tokens", "tokens_per_word"),
        *("disagreement", "relative_disagreement", "feature_power"),
        *("disagreement_noise_sd", "relative_disagreement_noise_sd"),
        *("unfamiliarity", "translation_disagreement", "translation_reliability", "read_as"),
        *("clip_cosine", "clip_cosine_source", "source_rank"),
        *("reference_cosine", "reference_rank", "chance_rank", "clip_cosine_minus_reference"),
        *("training_coverage", "score", "loss", "log_length", "dominant_script", "seen", "overall"),
    )
)
"""Names of what a run measures, and by which its statistics call what they compare."""
MAX_NAME = 200
"""Characters of a column's name."""
SHOWN = 8
"""Names in a message."""
TEXTS, NUMBERS, TRUTHS, DATES, MOMENTS = "texts", "numbers", "true or false", "dates", "dates with times"
STORED = (NUMBERS, TRUTHS, DATES, MOMENTS)
"""Of these a column holds one kind as it is."""
BEYOND, TIMES = "whole numbers beyond 64 bits", "times"
AS_TEXTS = (TEXTS, BEYOND, TIMES)
NO_NAME = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]+")
REPLACED = "\ufffd"
YEARS = range(1678, 2262)
"""In which a time is stored to the nanosecond."""


def frame_of(rows: Sequence[Mapping[str, Any]], source: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Rows as a frame that can be stored as Parquet and grouped by, and what had to be changed for that.

    A column whose name the run needs, or that differs from another's in case alone, is set aside under another name;
    one of several kinds of values becomes one of texts, and one of lists, mappings or bytes is left out.

    Args:
        rows: With the columns `KNOWN`, which are taken as they are.
        source: For the message.

    Raises:
        PromptTableError: more cells than are taken.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    CELLS.check(len(rows) * len(names), source, PromptTableError)
    told: list[str] = []
    columns: dict[str, list[Any]] = {}
    for name, own in _own_names(names, told).items():
        values = [row.get(name) for row in rows]
        stored = values if name in KNOWN else _storable(own, values, told)
        if stored is not None:
            columns[own] = stored
    return pd.DataFrame(columns), tuple(told)


def listed(names: Iterable[str]) -> str:
    """Some names for a message, the first of them where they are many."""
    shown = [repr(name[:60]) for name in names]
    return ", ".join(shown[:SHOWN]) + (f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else "")


def _own_names(names: Iterable[str], told: list[str]) -> dict[str, str]:
    """Each name as the run can have it; what differs is told."""
    own = {name: name for name in KNOWN}
    taken = {name.casefold() for name in KNOWN} | RESERVED
    aside = []
    for name in names:
        if name in KNOWN:
            continue
        clean = NO_NAME.sub(" ", name).strip()[:MAX_NAME] or "column"
        if clean != name:
            told.append(f"column {name[:60]!r} is called {clean[:60]!r}")
        own[name] = next(free for free in _ways_to_call(clean) if free.casefold() not in taken)
        taken.add(own[name].casefold())
        if own[name] != clean:
            aside.append(name)
    if aside:
        told.append(
            f"set aside, as the run has columns of these names: {listed(aside)}; each is kept with {SET_ASIDE!r} after "
            "its name and not grouped by, rename it to group by it"
        )
    return own


def _ways_to_call(name: str) -> Iterator[str]:
    yield name
    yield f"{name}{SET_ASIDE}"
    yield from (f"{name} {number}{SET_ASIDE}" for number in range(2, 10_000))


def _storable(name: str, values: list[Any], told: list[str]) -> list[Any] | None:
    """The values as one kind; None where they are of no kind that is stored."""
    kinds = {kind for value in values if (kind := kind_of(value)) is not None}
    nested = [kind for kind in sorted(kinds) if kind not in (*AS_TEXTS, *STORED)]
    if nested:
        told.append(f"column {name!r} is left out: it holds {' and '.join(nested)}, neither texts nor numbers")
        return None
    if len(kinds) <= 1 and not kinds.isdisjoint(STORED):
        return [None if kind_of(value) is None else _plain(value) for value in values]
    if not kinds <= {TEXTS}:
        told.append(f"column {name!r} holds {' and '.join(sorted(kinds))}; all are kept as texts")
    texts = [_text(value) for value in values]
    if not all(is_text(text) for text in texts if text):
        told.append(f"column {name!r} holds NUL or lone surrogates, which are no text; they are kept as {REPLACED!r}")
        texts = [NO_TEXT.sub(REPLACED, text) if text else text for text in texts]
    return texts


def kind_of(value: Any) -> str | None:
    """What a cell holds, in words; None where it is empty."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return BEYOND if isinstance(value, Digits) else TEXTS
    if isinstance(value, bool):
        return TRUTHS
    if isinstance(value, int):
        return NUMBERS if -(2**63) <= value < 2**63 else BEYOND
    if isinstance(value, float | Decimal):
        return NUMBERS
    if isinstance(value, dt.date) and value.year in YEARS:
        return MOMENTS if isinstance(value, dt.datetime) else DATES
    return TIMES if isinstance(value, dt.date | dt.time | dt.timedelta) else _nested_kind(value)


def _nested_kind(value: Any) -> str:
    if isinstance(value, bytes):
        return "bytes"
    return "mappings" if isinstance(value, dict) else "lists" if isinstance(value, list) else type(value).__name__


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


def _text(value: Any) -> str | None:
    if kind_of(value) is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)
