"""Experts that are whole checkpoints bring text encoders of their own: used where that is asked, else said.

The published method assembles experts on one base, whose text states all of them are given, and so is done here by
default. Whoever was trained with another text encoder is not the model then that it is elsewhere: with
`text_encoders: own` each expert is given the states of the one that it brings, and of the base's where it brings none.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.hashing import TEXT_FIELDS, TensorHasher, json_digest, tokenizer_digest
from emoe_audit.experts.single_file import is_single_file, read_single_file_text_encoders
from emoe_audit.experts.sources import fetch_base
from emoe_audit.experts.text_encoders import TextEncoderWeights, read_text_encoders, read_text_tensors
from emoe_audit.types import EnsembleSpec, ExpertSpec

SAME_IN_ALL = ("hidden_size", "projection_dim")
"""Fields of a text encoder's configuration that say what its states are like."""


@dataclass(frozen=True, kw_only=True)
class OwnTexts:
    """The text encoders of an expert that brings others than the base's."""

    read: Callable[[], Sequence[TextEncoderWeights]]
    """Reads them, each time it is asked."""
    digest: str
    """SHA-256 over what they make of a prompt."""
    n_bytes: Mapping[int, int]
    """By the bytes of a number, what their weights take."""


def find_own_texts(spec: EnsembleSpec, asked: Sequence[int], base: Sequence[TextEncoderWeights]) -> dict[int, OwnTexts]:
    """By the place of an expert the text encoders whose states it is given in the place of the base's.

    Raises:
        EnsembleError: an expert's cannot be read, or give states of another shape.
    """
    if spec.text_encoders == "base":
        return {}
    if spec.emergent is not None:
        raise EnsembleError(f"{spec.name}: members of one checkpoint share its text encoder; leave out text_encoders")
    known, found = describe(base), {}
    for place in asked:
        read = _reader(spec.experts[place])
        texts = () if read is None else read()
        if read is None or not texts:
            continue
        _check_alike(texts, base)
        told = describe(texts)
        if told != known:
            n_numbers = sum(tensor.numel() for text in texts for tensor in text.tensors.values())
            sizes = {size: size * n_numbers for size in (1, 2, 4, 8)}
            found[place] = OwnTexts(read=read, digest=json_digest(told), n_bytes=sizes)
        del texts
    return found


def check_clip_skip(spec: EnsembleSpec, texts: Sequence[TextEncoderWeights]) -> None:
    """Raise `EnsembleError` where more layers are left out than there are."""
    for text in texts:
        if spec.clip_skip is not None and spec.clip_skip >= text.config.num_hidden_layers:
            n_layers = text.config.num_hidden_layers
            raise EnsembleError(f"{spec.name}: clip_skip is {spec.clip_skip}, and {text.where} has {n_layers} layers")


def describe(texts: Sequence[TextEncoderWeights]) -> list[list[object]]:
    """What some text encoders make of a prompt depends on: weights, settings and tokenizer, as hashes."""
    hasher = TensorHasher({})
    return [
        [
            hasher.state(text.tensors),
            {field: getattr(text.config, field, None) for field in TEXT_FIELDS},
            tokenizer_digest(text.tokenizer, text.max_length),
        ]
        for text in texts
    ]


def _reader(expert: ExpertSpec) -> Callable[[], Sequence[TextEncoderWeights]] | None:
    """What reads the text encoders of a checkpoint; None where it brings none."""
    if expert.segmoe_expert is not None:
        return None
    root = fetch_base(expert)
    if root.is_file():
        return partial(_read_file, root) if is_single_file(root) else None
    return partial(read_text_encoders, root) if (root / "text_encoder").is_dir() else None


def _read_file(path: Path) -> Sequence[TextEncoderWeights]:
    try:
        return read_single_file_text_encoders(path)
    except EnsembleError:  # a file may hold a UNet alone
        return ()


def _check_alike(texts: Sequence[TextEncoderWeights], base: Sequence[TextEncoderWeights]) -> None:
    if len(texts) != len(base):
        raise EnsembleError(f"{texts[0].where}: {len(texts)} text encoders, and {len(base)} of the base")
    for own, text in zip(texts, base, strict=True):
        for field in SAME_IN_ALL:
            if getattr(own.config, field) != getattr(text.config, field):
                theirs, ours = getattr(own.config, field), getattr(text.config, field)
                raise EnsembleError(
                    f"{own.where}: {field} is {theirs}, and {ours} of the base's; such experts cannot be compared"
                )
        if own.max_length != text.max_length:
            raise EnsembleError(f"{own.where}: reads {own.max_length} tokens, and the base's {text.max_length}")


def warn_of_own_texts(spec: EnsembleSpec, read_texts: Callable[[], Sequence[TextEncoderWeights]]) -> None:
    """Warn of each expert on this disk whose text encoders are not those of the base, to the last value.

    Of what comes from the hub no text encoder is fetched, so it is not compared.
    """
    if spec.text_encoders == "own":
        return
    for source in dict.fromkeys(expert.source for expert in spec.experts if expert.source != spec.base.source):
        difference = _difference(Path(source), read_texts)
        if difference:
            warnings.warn(
                f"{source}: its own text encoder is left out, because all experts are given the text states of the "
                f"base's own text encoder (`text_encoders: own` gives each expert those of its own); {difference}",
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
