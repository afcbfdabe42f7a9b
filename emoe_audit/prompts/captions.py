"""Prompts of one `source_id` are one caption: what that means for the images and numbers of a run, before it starts."""

from __future__ import annotations

import pandas as pd


def n_drawn(prompts: pd.DataFrame, n_images: int) -> int:
    """How many of at most `n_images` images are drawn: whole captions, those in most languages first."""
    drawn = 0
    for size in _sizes(prompts):
        if drawn + size > n_images:
            break
        drawn += size
    return drawn


def caption_warnings(prompts: pd.DataFrame, n_images: int) -> list[str]:
    """What looks wrong with the captions of a table, for a run that draws at most `n_images`; empty where nothing does.

    Args:
        prompts: A row per prompt, with `prompt`, `language` and `source_id`.
        n_images: 0 where no image is asked for.
    """
    told = []
    if prompts["source_id"].nunique() == 1 and prompts["language"].duplicated().any():
        told.append(
            f"all {len(prompts):,} prompts have the source_id {prompts['source_id'].iloc[0][:60]!r}, so they count as "
            "translations of one caption; leave source_id out where they are none"
        )
    needed = _sizes(prompts)[0]
    if 0 < n_images < needed:
        told.append(
            "no image is drawn: a caption is drawn in all of its languages, those in most languages first; the first "
            f"has {needed:,} prompts, and --n-images is {n_images:,}; give --n-images {needed} or more, or 0"
        )
    return told


def _sizes(prompts: pd.DataFrame) -> list[int]:
    """The different prompts of every caption, those in most languages first."""
    captions = prompts.drop_duplicates(["source_id", "prompt", "language"]).groupby("source_id")["language"]
    counted = captions.agg(["nunique", "size"]).sort_values(["nunique", "size"], ascending=False)
    sizes: list[int] = counted["size"].to_list()
    return sizes
