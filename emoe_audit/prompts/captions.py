"""Prompts of one `source_id` are one caption: which captions a run draws, and what looks wrong with them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True, kw_only=True)
class DrawnCaptions:
    """The captions that are drawn, each in all of its languages."""

    source_ids: tuple[str, ...]
    """In the order in which they were chosen."""
    n_images: int
    """One for each different prompt of these: what is said of two captions is drawn once."""


def compact(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """`source_id` and `language` of a table of any size as categories, `prompt` as a number that stands for the text.

    Args:
        parts: Some prompts at a time, with these three columns.
    """
    known: dict[str, dict[str, int]] = {"source_id": {}, "language": {}}
    codes: dict[str, list[np.ndarray]] = {"source_id": [], "language": [], "prompt": []}
    for part in parts:
        for name, own in known.items():
            codes[name].append(np.array([own.setdefault(text, len(own)) for text in part[name]], dtype=np.int32))
        codes["prompt"].append(np.array([hash(text) for text in part["prompt"]], dtype=np.int64))
    joined = {name: np.concatenate([np.empty(0, dtype=np.int32), *own]) for name, own in codes.items()}
    texts = {name: pd.Categorical.from_codes(joined[name], list(own)) for name, own in known.items()}
    return pd.DataFrame({**texts, "prompt": joined["prompt"]})


def choose_captions(prompts: pd.DataFrame, n_images: int, seed: int = 0) -> DrawnCaptions:
    """Those that fit into at most `n_images` images: captions in most languages first, else at random by seed.

    A caption that does not fit is passed over, and those behind it are tried.

    Args:
        prompts: A row per prompt, with `prompt`, `language` and `source_id`; may be `compact`.
        n_images: At most.
        seed: Of the order.
    """
    captions = prompts.groupby("source_id", sort=False)
    width = captions["language"].nunique().to_dict()
    rows, text, language = captions.indices, prompts["prompt"].to_numpy(), prompts["language"].to_numpy()
    chosen: list[str] = []
    drawn: set[tuple[str, str]] = set()
    for source_id in sorted(width, key=lambda own: (-width[own], _lot(own, seed))):
        if len(drawn) == n_images:
            break
        new = {(text[row], language[row]) for row in rows[source_id]} - drawn
        if len(drawn) + len(new) <= n_images:
            chosen.append(source_id)
            drawn |= new
    return DrawnCaptions(source_ids=tuple(chosen), n_images=len(drawn))


def _lot(source_id: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{source_id}".encode("utf-8", "surrogatepass")).hexdigest()


def too_large(prompts: pd.DataFrame, n_images: int) -> str | None:
    """The sentence that names the captions which no run of `n_images` images draws; None where there are none.

    Args:
        prompts: A row per prompt, with `prompt`, `language` and `source_id`; may be `compact`.
        n_images: 0 where no image is asked for.
    """
    sizes = prompts.drop_duplicates(["source_id", "prompt", "language"]).groupby("source_id").size()
    large = sizes[sizes > n_images]
    if n_images == 0 or large.empty:
        return None
    are_all = len(large) == len(sizes)
    left_out = "no image is drawn" if are_all else f"{len(large):,} of {len(sizes):,} captions are not drawn"
    needed = int(large.min() if are_all else large.max())
    return (
        f"{left_out}: a caption is drawn in all of its languages; {str(large.idxmax())[:60]!r} has {large.max():,} "
        f"prompts, and --n-images is {n_images:,}; give --n-images {needed} or more, or 0"
    )


def caption_warnings(prompts: pd.DataFrame, n_images: int) -> list[str]:
    """What looks wrong with the captions of a table, for a run that draws at most `n_images`; empty where nothing does.

    Args:
        prompts: A row per prompt, with `prompt`, `language` and `source_id`; may be `compact`.
        n_images: 0 where no image is asked for.
    """
    told = []
    if prompts["source_id"].nunique() == 1 and prompts["language"].duplicated().any():
        told.append(
            f"all {len(prompts):,} prompts have the source_id {prompts['source_id'].iloc[0][:60]!r}, so they count as "
            "translations of one caption; leave source_id out where they are none"
        )
    left_out = too_large(prompts, n_images)
    return [*told, left_out] if left_out else told
