"""The captions among which a judge has to find a prompt's own: as many in every run, the same for all of its prompts.

A rank among the captions of a run says as much of how many these are as of the image: noise is among the first ten of
ten. So every source caption is ranked among `N_CANDIDATES`, itself and the first others of one fixed set. That set is
drawn by lot from the captions that the ensemble brings, and from those that ship where these are too few.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pandas as pd

from emoe_audit.analysis.refusal import N_CANDIDATES
from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.emoji import SOURCE_LANGUAGE, caption_matrix
from emoe_audit.prompts.shipped import shipped_captions
from emoe_audit.types import EnsembleSpec


@dataclass(frozen=True)
class Candidates:
    """A fixed set of captions, in order."""

    captions: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Of the captions in order: runs with the same one rank alike."""
        return hashlib.sha256("\0".join(self.captions).encode("utf-8", "surrogatepass")).hexdigest()

    def place_of(self, caption: str) -> int:
        """The place that a caption takes among them: its own, or the last one's."""
        return self.captions.index(caption) if caption in self.captions else len(self.captions) - 1


def draw_candidates(spec: EnsembleSpec, language: str = SOURCE_LANGUAGE) -> Candidates:
    """The candidates of every run of an ensemble whose source captions are in this language.

    In English where neither the ensemble nor the shipped captions know the language.
    """
    drawn: dict[str, None] = {}
    for caption in _in_order(spec, language):
        drawn[caption] = None
        if len(drawn) == N_CANDIDATES:
            break
    return Candidates(tuple(drawn))


def source_language(parts: Iterable[pd.DataFrame]) -> str:
    """The language in which most source captions stand among the prompts; English where none says it.

    Args:
        parts: Some at a time, with `prompt`, `language` and, where source captions are given, `source_prompt`.
    """
    named: Counter[str] = Counter()
    for part in parts:
        if "source_prompt" in part:
            named.update(part.loc[part["prompt"] == part["source_prompt"], "language"])
    most = {language for language, n in named.items() if n == max(named.values())}
    return SOURCE_LANGUAGE if not most or SOURCE_LANGUAGE in most else min(most)


def _in_order(spec: EnsembleSpec, language: str) -> Iterator[str]:
    own = _own(spec)
    for tag in dict.fromkeys((language, language.partition("-")[0], SOURCE_LANGUAGE)):
        yield from _by_lot(own, tag)
        yield from _by_lot(shipped_captions(), tag)


def _own(spec: EnsembleSpec) -> pd.DataFrame:
    try:
        return caption_matrix(spec)
    except PromptTableError:
        return pd.DataFrame()


def _by_lot(captions: pd.DataFrame, tag: str) -> list[str]:
    """In an order that depends on nothing but the texts."""
    return sorted(
        set(captions.get(tag, ())), key=lambda text: hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    )
