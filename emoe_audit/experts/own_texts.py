"""Experts that are whole checkpoints bring text encoders of their own, which no score uses: said where they differ.

All experts are given the text states of the base's text encoder. Whoever was trained with another one is not the model
then that it is elsewhere.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.single_file import is_single_file, read_single_file_text_encoders
from emoe_audit.experts.text_encoders import TextEncoderWeights, read_text_tensors
from emoe_audit.types import EnsembleSpec


def warn_of_own_texts(spec: EnsembleSpec, read_texts: Callable[[], Sequence[TextEncoderWeights]]) -> None:
    """Warn of each expert on this disk whose text encoders are not those of the base, to the last value.

    Of what comes from the hub no text encoder is fetched, so it is not compared.
    """
    for source in dict.fromkeys(expert.source for expert in spec.experts if expert.source != spec.base.source):
        difference = _difference(Path(source), read_texts)
        if difference:
            warnings.warn(
                f"{source}: its own text encoder is left out, because all experts are given the text states of the "
                f"base's own text encoder; {difference}",
                stacklevel=2,
            )


def _difference(source: Path, read_texts: Callable[[], Sequence[TextEncoderWeights]]) -> str | None:
    """How the text encoders of a checkpoint differ; None where they do not, and where it has none."""
    is_file = source.is_file()
    if not (is_file and is_single_file(source)) and not (source / "text_encoder").is_dir():
        return None
    try:
        if is_file:
            theirs = [text.tensors for text in read_single_file_text_encoders(source)]
        else:
            theirs = read_text_tensors(source)
    except EnsembleError as error:
        return None if is_file else f"it cannot be compared: {error}"  # a file may hold a UNet alone
    texts = read_texts()
    if len(theirs) != len(texts):
        return f"there are {len(theirs)}, and {len(texts)} of the base"
    unlike = [key for text, own in zip(texts, theirs, strict=True) if (key := _unlike(text.tensors, own))]
    return f"they differ in {unlike[0]}" if unlike else None


def _unlike(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> str | None:
    """A key that only one of them has, else a weight that is another, the smallest looked at first."""
    lone = sorted(ours.keys() ^ theirs.keys())
    keys = sorted(ours.keys() & theirs.keys(), key=lambda key: ours[key].numel())
    return next((key for key in (*lone, *keys) if key in lone or not _same(ours[key], theirs[key])), None)


def _same(a: Tensor, b: Tensor) -> bool:
    """In the coarser of their number types: a checkpoint in half precision is the one that it was rounded from."""
    coarser = min(a.dtype, b.dtype, key=lambda dtype: dtype.itemsize)
    return a.shape == b.shape and torch.equal(a.to(coarser), b.to(coarser))
