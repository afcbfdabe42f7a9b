"""Public text encoders: which of them an ensemble conditions on, and how well that one is known to read each language.

Published readings are text-to-image recall at 10 on Crossmodal-3600, from open_clip's table of multilingual retrieval
(github.com/mlfoundations/open_clip, MIT), of the whole CLIP model that a text encoder is a half of. A file is known by
the SHA-256 that hubs publish of it. What has other bytes, as a fine-tuned encoder or a single-file checkpoint, may be
of the same design, which says what could be read, not what is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from langcodes import Language, standardize_tag

from emoe_audit.errors import EnsembleError

if TYPE_CHECKING:
    from transformers import CLIPTextConfig

    from emoe_audit.experts.text_encoders import TextEncoderWeights

RECALL = Path(__file__).parent / "xm3600_recall_at_10.csv"
VIT_L, VIT_H, VIT_BIG_G = "ViT-L-14/openai", "ViT-H-14/laion2b_s32b_b79k", "ViT-bigG-14/laion2b_s39b_b160k"
PUBLIC_READERS = (VIT_L, VIT_H, VIT_BIG_G)
CLIP_VOCABULARY = 49408
DESIGNS = {
    (768, 12, 12, "quick_gelu", CLIP_VOCABULARY): VIT_L,
    (1024, 23, 16, "gelu", CLIP_VOCABULARY): VIT_H,
    (1024, 24, 16, "gelu", CLIP_VOCABULARY): VIT_H,
    (1280, 32, 20, "gelu", CLIP_VOCABULARY): VIT_BIG_G,
}
"""By width, layers, heads, activation and vocabulary; Stable Diffusion 2 leaves out the last of 24 layers."""
FILES = {
    "d008943c017f0092921106440254dbbe00b6a285f7883ec8ba160c3faad88334": VIT_L,  # Stable Diffusion 1.x
    "77795e2023adcf39bc29a884661950380bd093cf0750a966d473d1718dc9ef4e": VIT_L,  # in half precision
    "cce6febb0b6d876ee5eb24af35e27e764eb4f9b1d0b7c026c8c3333d4cfc916c": VIT_H,  # Stable Diffusion 2.x
    "bc1827c465450322616f06dea41596eac7d493f4e95904dcb51f0fc745c4e13f": VIT_H,  # in half precision
    "3a6032f63d37ae02bbc74ccd6a27440578cd71701f96532229d0154f55a8d3ff": VIT_BIG_G,  # SDXL, the second
    "ec310df2af79c318e24d20511b601a591ca8cd4f1fce1d8dff822a356bcdb1f4": VIT_BIG_G,  # in half precision
}
"""By the SHA-256 of `model.safetensors`, as its pointers on the hub and those who pin it say."""


@dataclass(frozen=True, kw_only=True)
class PublicReader:
    """A public text encoder that an ensemble conditions on, or one of the same design."""

    name: str
    """Of the open_clip model that it is a half of, a column of the published readings."""
    exact: bool
    """Whether the file is the published one, byte for byte."""


def recognise(texts: Sequence[TextEncoderWeights], said: str | None = None) -> PublicReader | None:
    """The public text encoder that an ensemble reads with, in SDXL the second; None for any other design.

    Args:
        texts: The text encoders.
        said: What its YAML says that it is; taken for one of that design where its bytes are of no public one.

    Raises:
        EnsembleError: it is another, byte for byte.
    """
    own = texts[-1]
    name = said or DESIGNS.get(_design(own.config))
    if name is None:
        return None
    file = FILES.get(_digest(Path(own.where)))
    if said is not None and file not in (None, said):
        raise EnsembleError(f"{own.where}: is {file}, byte for byte, and not {said}; take `published:` out of the YAML")
    return PublicReader(name=file or name, exact=file is not None)


def published_recall(name: str, languages: Iterable[str]) -> pd.Series:
    """The share of pictures that a caption in each of these languages finds among the first ten, where it is published.

    Indexed by the tags given. A tag is its language's, `pt-BR` that of `pt`, unless it is written in another script.
    """
    table = pd.read_csv(RECALL, index_col="language", keep_default_na=False)[name]
    known = {_written(tag): recall for tag, recall in table.items()}
    return pd.Series({tag: known[_written(tag)] for tag in languages if _written(tag) in known}, dtype=float)


def is_published(name: str) -> bool:
    """Whether readings of an open_clip model, `MODEL/TAG`, are published."""
    return name in pd.read_csv(RECALL, index_col="language", keep_default_na=False, nrows=0).columns


def _written(tag: str) -> tuple[str | None, str | None]:
    """A language and its script; no language for `und`, which would else be taken for English."""
    own = Language.get(standardize_tag(tag, macro=True))
    if not own.language:
        return None, None
    whole = own.maximize()
    return ("no" if whole.language == "nb" else whole.language), whole.script


def _design(config: CLIPTextConfig) -> tuple[int, int, int, str, int]:
    return (
        config.hidden_size,
        config.num_hidden_layers,
        config.num_attention_heads,
        config.hidden_act,
        config.vocab_size,
    )


def _digest(where: Path) -> str:
    """SHA-256 of the one file of an encoder in a folder of its own; empty for any other form."""
    from emoe_audit.experts.sources import TEXT_ENCODER_STEM, weight_files  # loads torch

    files = weight_files(where, TEXT_ENCODER_STEM) if where.is_dir() else []
    if len(files) != 1:
        return ""
    with files[0].open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
