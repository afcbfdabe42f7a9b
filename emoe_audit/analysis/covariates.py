"""What is known of a prompt before it is scored: its token count, its length, and the script that it is written in."""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import cache

import numpy as np
import pandas as pd

LOG_LENGTH, SCRIPT = "log_length", "dominant_script"
NO_LETTER, NONE, LATIN = "", "NONE", "LATIN"
NUMBERS = ("n_tokens", "tokens_per_word", "truncated", LOG_LENGTH)
"""Covariates of a prompt; the last is the logarithm of its number of characters."""
COVARIATES = (*NUMBERS, SCRIPT)


def described(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with `LOG_LENGTH` and `SCRIPT` in the place of their `prompt`, where they have it."""
    if "prompt" not in rows:
        return rows
    own = {LOG_LENGTH: log_length(rows["prompt"].str.len()), SCRIPT: rows["prompt"].map(dominant_script)}
    return rows.drop(columns="prompt").assign(**own)


def log_length(n_characters: pd.Series) -> pd.Series:
    """The logarithm of a prompt's number of characters, of none as of one."""
    length: pd.Series = np.log(n_characters.clip(lower=1).astype(np.float64))
    return length


def number(rows: pd.DataFrame, name: str) -> np.ndarray:
    """One of `NUMBERS` of each prompt; NaN where the rows have no such column."""
    if name == LOG_LENGTH and name not in rows and "prompt" in rows:
        return log_length(rows["prompt"].str.len()).to_numpy()
    if name not in rows:
        return np.full(len(rows), np.nan)
    values: np.ndarray = rows[name].to_numpy(dtype=np.float64, na_value=np.nan)
    return values


def lacking(rows: pd.DataFrame, name: str) -> np.ndarray:
    """Which prompts have no value of one of `NUMBERS`, `[prompt]`."""
    return rows[name].isna().to_numpy() if name in rows else np.isnan(number(rows, name))


def complete(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that lack none of the `NUMBERS` that any row has."""
    lacks = [lacking(rows, name) for name in NUMBERS]
    incomplete = [own for own in lacks if own.any() and not own.all()]
    return rows[~np.any(incomplete, axis=0)] if incomplete else rows


def dominant_script(text: str) -> str:
    """The script of most letters, by the first word of their Unicode names; `NONE` without letters."""
    if text.isascii():
        return LATIN if any(map(str.isalpha, text)) else NONE
    counts: Counter[str] = Counter()
    for letter, n in Counter(text).items():
        counts[_letter_script(letter)] += n
    del counts[NO_LETTER]
    return max(counts, key=counts.__getitem__, default=NONE)


@cache
def _letter_script(letter: str) -> str:
    return unicodedata.name(letter, NO_LETTER).partition(" ")[0] if letter.isalpha() else NO_LETTER
