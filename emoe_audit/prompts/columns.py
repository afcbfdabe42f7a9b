"""The columns of a prompt table that the audit does not know: under names of their own, and as they can be stored.

What stands here is asked when a table is read, so that nothing is found out after hours of scoring.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
        *(
            "key",
            "image",
            "image_seed",
            "image_stamp",
            "n_images",
            "n_seen",
            "flagged",
            "reading",
            "features",
            "truncated",
            "n_noise",
            "n_tokens",
            "tokens_per_word",
        ),
        *("disagreement", "relative_disagreement", "feature_power"),
        *("disagreement_noise_sd", "relative_disagreement_noise_sd"),
        *("unfamiliarity", "translation_disagreement", "translation_reliability", "read_as"),
        *("clip_cosine", "clip_cosine_source", "source_rank"),
        *("image_agreement", "image_reliability", "reads"),
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


class ColumnKinds:
    """What the columns of a table hold, learned from some rows at a time."""

    def __init__(self) -> None:
        """Begin without columns."""
        self._kinds: dict[str, set[str]] = {name: set() for name in KNOWN}
        self._unfit: set[str] = set()
        self._whole: Counter[str] = Counter()
        """How many whole numbers each column holds."""
        self._n_rows = 0

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Look at more rows."""
        for row in rows:
            self._n_rows += 1
            for name, value in row.items():
                if name not in KNOWN:
                    self._look(name, value)

    def _look(self, name: str, value: Any) -> None:
        kinds, kind = self._kinds.setdefault(name, set()), kind_of(value)
        if kind is not None:
            kinds.add(kind)
        if isinstance(value, str) and not is_text(value):
            self._unfit.add(name)
        if kind == NUMBERS and isinstance(value, int):
            self._whole[name] += 1

    def settled(self, source: str) -> StoredColumns:
        """How the columns are stored, now that all rows were looked at.

        A column whose name the run needs, or that differs from another's in case alone, is set aside under another
        name; one of several kinds of values becomes one of texts, and one of lists, mappings or bytes is left out.

        Raises:
            PromptTableError: more cells than are taken.
        """
        CELLS.check(self._n_rows * len(self._kinds), source, PromptTableError)
        told: list[str] = []
        columns = []
        for name, own in _own_names(self._kinds, told).items():
            cast = _as_it_is if name in KNOWN else _cast(own, self._kinds[name], name in self._unfit, told)
            if cast is _plain and self._kinds[name] == {NUMBERS} and self._whole[name] < self._n_rows:
                cast = _fraction
            if cast is not None:
                columns.append((name, own, cast))
        return StoredColumns(columns=tuple(columns), told=tuple(told))


@dataclass(frozen=True, kw_only=True)
class StoredColumns:
    """The columns of a table under names of their own, and as they can be stored as Parquet and grouped by."""

    columns: tuple[tuple[str, str, Callable[[Any], Any]], ...]
    """The name in a row, the column's own, and what makes of a cell what is stored."""
    told: tuple[str, ...]
    """What had to be changed."""

    def frame(self, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
        """Some of the rows that were looked at."""
        return pd.DataFrame({own: [cast(row.get(name)) for row in rows] for name, own, cast in self.columns})


def frame_of(rows: Sequence[Mapping[str, Any]], source: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Rows as a frame, and what had to be changed for that, see `ColumnKinds`.

    Args:
        rows: With the columns `KNOWN`, which are taken as they are.
        source: For the message.

    Raises:
        PromptTableError: more cells than are taken.
    """
    kinds = ColumnKinds()
    kinds.add(rows)
    stored = kinds.settled(source)
    return stored.frame(rows), stored.told


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


def _cast(name: str, kinds: set[str], is_unfit: bool, told: list[str]) -> Callable[[Any], Any] | None:
    """What makes the cells of a column one kind; None where they are of no kind that is stored."""
    nested = [kind for kind in sorted(kinds) if kind not in (*AS_TEXTS, *STORED)]
    if nested:
        told.append(f"column {name!r} is left out: it holds {' and '.join(nested)}, neither texts nor numbers")
        return None
    if len(kinds) <= 1 and not kinds.isdisjoint(STORED):
        return _plain
    if not kinds <= {TEXTS}:
        told.append(f"column {name!r} holds {' and '.join(sorted(kinds))}; all are kept as texts")
    if is_unfit:
        told.append(f"column {name!r} holds NUL or lone surrogates, which are no text; they are kept as {REPLACED!r}")
    return _text


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


def _as_it_is(value: Any) -> Any:
    return value


def _plain(value: Any) -> Any:
    return None if kind_of(value) is None else value


def _fraction(value: Any) -> float | None:
    """A number of a column that also holds fractions, or gaps, of which every part is stored alike."""
    return None if kind_of(value) is None else float(value)


def _text(value: Any) -> str | None:
    if kind_of(value) is None:
        return None
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if is_text(text) else NO_TEXT.sub(REPLACED, text)
