"""The judge: an open_clip model that says how well an image shows what a text says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import open_clip
import torch
from PIL import Image

from emoe_audit.errors import QualityError
from emoe_audit.experts.devices import resolve_device

BATCH_SIZE = 64
RANK_TOLERANCE = 1e-6
"""Rounding between a sum and a matrix product must not put a text behind itself."""
T = TypeVar("T")


class ClipJudge:
    """CLIP alignment of images with texts (CLIPScore without its factor 2.5, arXiv 2104.08718)."""

    def __init__(self, model: str, *, device: str = "auto") -> None:
        """Load a model.

        Args:
            model: `local-dir:FOLDER`, `hf-hub:ORG/NAME`, or open_clip's `MODEL/PRETRAINED`.
            device: `auto`, `cpu`, `cuda` or `mps`.

        Raises:
            QualityError: the model cannot be found or read.
        """
        self._device = resolve_device(device)
        name, pretrained = _open_clip_name(model)
        try:
            self._model, _, self._preprocess = open_clip.create_model_and_transforms(
                name, pretrained=pretrained, device=self._device
            )
            self._tokenizer = open_clip.get_tokenizer(name)
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise QualityError(f"judge {model}: cannot be loaded: {error}") from error
        self._model.eval()

    @torch.no_grad()
    def image_features(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Normalised features, float32 `[image, feature]`."""
        pixels = [torch.stack([self._preprocess(i.convert("RGB")) for i in chunk]) for chunk in _chunks(images)]
        features = [self._model.encode_image(chunk.to(self._device), normalize=True) for chunk in pixels]
        return torch.cat(features).float().cpu().numpy()

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> np.ndarray:
        """Normalised features, float32 `[text, feature]`."""
        tokens = [self._tokenizer(list(chunk)).to(self._device) for chunk in _chunks(texts)]
        features = [self._model.encode_text(chunk, normalize=True) for chunk in tokens]
        return torch.cat(features).float().cpu().numpy()


def cosines(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Cosine of each row of normalised features with its partner, in [-1, 1]."""
    paired: np.ndarray = (images * texts).sum(axis=1).clip(-1, 1)
    return paired


def text_ranks(images: np.ndarray, texts: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Place of each image's own text among the candidates by falling cosine, 1 for the first, `[image]`.

    All are normalised features; a candidate that is the own text does not count against it.
    """
    own = (images * texts).sum(axis=1, keepdims=True)
    ranks: np.ndarray = 1 + (images @ candidates.T > own + RANK_TOLERANCE).sum(axis=1)
    return ranks


def _open_clip_name(model: str) -> tuple[str, str | None]:
    kind, _, rest = model.partition(":")
    if kind == "local-dir":
        if not (Path(rest) / "open_clip_config.json").is_file():
            raise QualityError(f"judge {rest}: no open_clip_config.json here")
        return model, None
    if kind == "hf-hub":
        return model, None
    name, _, pretrained = model.partition("/")
    if not pretrained or name not in open_clip.list_models():
        raise QualityError(
            f"judge {model!r}: give local-dir:FOLDER, hf-hub:ORG/NAME or MODEL/PRETRAINED as in ViT-B-32/openai"
        )
    return name, pretrained


def _chunks(items: Sequence[T]) -> list[Sequence[T]]:
    return [items[start : start + BATCH_SIZE] for start in range(0, len(items), BATCH_SIZE)]
