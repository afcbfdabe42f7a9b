"""What is published of how well a judge reads a language, before it judges anything.

The same recall as of text encoders, see `public_readers`: a judge that does not find the picture of a caption cannot
say whether an image shows it.
"""

from __future__ import annotations

from collections.abc import Iterable

from emoe_audit.experts.public_readers import is_published, published_recall

READS = 0.5
"""Recall at 10 on Crossmodal-3600 below which a judge does not read a language."""
SHOWN = 8
"""Languages that are named."""
MULTILINGUAL = "ViT-B-16-SigLIP-i18n-256/webli"
"""An open_clip model that reads 29 of the 36 languages, and is no larger than the common English ones, which read 5."""


def unread_languages(judge: str | None, languages: Iterable[str]) -> tuple[str, ...]:
    """Those of some languages that a judge is known not to read, worst first; none where nothing is known of it."""
    if judge is None or not is_published(judge):
        return ()
    recall = published_recall(judge, languages)
    return tuple(map(str, recall[recall < READS].sort_values(kind="stable").index))


def judge_warning(judge: str | None, languages: Iterable[str]) -> str | None:
    """What is to be said of a judge before it judges prompts in these languages; None where nothing is."""
    unread = unread_languages(judge, languages)
    if not unread:
        return None
    more = f" and {len(unread) - SHOWN} more" if len(unread) > SHOWN else ""
    return (
        f"the judge {judge} finds few pictures by captions in {', '.join(unread[:SHOWN])}{more} (published recall at "
        f"10 below {READS:g}): there clip_cosine says more of the judge than of the images, and clip_cosine_source, by "
        f"the source caption, is to be believed. A judge that reads more is `judge: {MULTILINGUAL}`"
    )
