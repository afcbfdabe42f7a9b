"""What is published of how well a judge reads a language, before it judges anything.

The same recall as of text encoders, see `public_readers`: a judge that does not find the picture of a caption cannot
say whether an image shows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from emoe_audit.experts.public_readers import is_published, published_recall
from emoe_audit.experts.spec_reader import LOCAL_JUDGE
from emoe_audit.types import EnsembleSpec

READS = 0.5
"""Recall at 10 on Crossmodal-3600 below which a judge does not read a language."""
SHOWN = 8
"""Languages that are named."""
MULTILINGUAL = "ViT-B-16-SigLIP-i18n-256/webli"
"""An open_clip model that reads 29 of the 36 languages, and is no larger than the common English ones, which read 5."""

COSTS = {
    "ViT-B-32/laion2b_s34b_b79k": (151.28, 8.82, 5.96),
    "ViT-L-14/openai": (427.62, 162.03, 13.3),
    "ViT-L-14/laion2b_s32b_b82k": (427.62, 162.03, 13.3),
    "ViT-H-14/laion2b_s32b_b79k": (986.11, 334.59, 47.09),
    "ViT-bigG-14/laion2b_s39b_b160k": (2539.57, 967.5, 97.86),
    "ViT-B-16-SigLIP-i18n-256/webli": (370.63, 46.82, 11.02),
    "xlm-roberta-large-ViT-H-14/frozen_laion5b_s13b_b90k": (1193.01, 334.59, 336.42),
}
"""Millions of parameters, and GFLOP an image and a caption, from open_clip's table of model profiles."""
BYTES = 4
"""Of a parameter."""


def judge_cost(judge: str | None, languages: Iterable[str]) -> str:
    """What a judge costs, and what it is published to read of some languages, in words."""
    if judge is None:
        return "none"
    if judge not in COSTS:
        return f"{judge}, of which no cost is published here"
    millions, image, caption = COSTS[judge]
    recall = published_recall(judge, languages)
    reads = f"; reads {int((recall >= READS).sum())} of {len(recall)} languages of which that is published"
    size = f"{millions * 1e6 * BYTES / 1024**3:.1f} GiB in float32"
    return f"{judge}: {size}, {image:g} GFLOP an image and {caption:g} a prompt{reads if len(recall) else ''}"


def unread_languages(judge: str | None, languages: Iterable[str]) -> tuple[str, ...]:
    """Those of some languages that a judge is known not to read, worst first; none where nothing is known of it."""
    if judge is None or not is_published(judge):
        return ()
    recall = published_recall(judge, languages)
    return tuple(map(str, recall[recall < READS].sort_values(kind="stable").index))


def is_half_of(judge: str, text_encoder: str) -> bool:
    """Whether a public text encoder is that of the judge, by open_clip's names without the activation."""
    return judge.replace("-quickgelu", "") == text_encoder


def shares_text_encoder(spec: EnsembleSpec) -> bool:
    """Whether the embeddings of tokens of a judge on this disk are those of a text encoder of the base, on it too."""
    ours = [_embedding(file) for file in sorted(Path(spec.base.source).glob("text_encoder*/*.safetensors"))]
    judge = Path((spec.judge or "").removeprefix(LOCAL_JUDGE))
    if not spec.base.source or not ours or not judge.is_dir():
        return False
    theirs = [own for file in sorted(judge.glob("*.safetensors")) if (own := _embedding(file)) is not None]
    return any(
        own is not None and own.shape == other.shape and np.allclose(own, other, rtol=1e-3, atol=1e-3)
        for own in ours
        for other in theirs
    )


def _embedding(file: Path) -> np.ndarray | None:
    """The embeddings of tokens, `[token, width]`; None where a file holds none, or cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "np") as weights:
            key = next((key for key in weights.keys() if key.endswith("token_embedding.weight")), None)  # noqa: SIM118
            return None if key is None else np.asarray(weights.get_tensor(key), dtype=np.float32)
    except (SafetensorError, OSError, TypeError, ValueError):
        return None


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
