"""The judge: an open_clip model that says how well an image shows what a text says.

Four ways to name it:

- `local-dir:FOLDER`, a folder with `open_clip_config.json`, safetensors and tokenizer;
- `hf-hub:ORG/NAME`, such a folder on the hub;
- `MODEL/TAG`, weights that open_clip knows, as in `ViT-B-32/laion2b_s34b_b79k`;
- `MODEL/FILE.safetensors`, own weights of one of open_clip's models, as in `ViT-B-32//data/judge.safetensors`. Images
  are then normalised as OpenAI's are, and `MODEL` says the activation: weights trained with QuickGELU need
  `ViT-B-32-quickgelu`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import open_clip
import torch
from PIL import Image
from torch import Tensor
from transformers import PretrainedConfig

from emoe_audit.errors import QualityError
from emoe_audit.experts.devices import resolve_device
from emoe_audit.experts.sources import PICKLE_SUFFIXES
from emoe_audit.progress import chunks
from emoe_audit.quality.judge_folder import check_hub_judge, read_judge_config

BATCH_SIZE = 64
RANK_TOLERANCE = 1e-6
"""Rounding between a sum and a matrix product must not put a text behind itself."""
FORMS = "local-dir:FOLDER, hf-hub:ORG/NAME, MODEL/PRETRAINED as in ViT-B-32/openai, or MODEL/FILE.safetensors"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
"""What open_clip prefers in a folder to every pickled file."""
CONVERT = (
    'python -c "from open_clip.factory import load_state_dict; from safetensors.torch import save_file; '
    "save_file({{key: value.contiguous() for key, value in load_state_dict('{old}').items()}}, '{new}')\""
)
T = TypeVar("T")


class ClipJudge:
    """CLIP alignment of images with texts (CLIPScore without its factor 2.5, arXiv 2104.08718)."""

    def __init__(self, model: str, *, device: str = "auto") -> None:
        """Load a model.

        Args:
            model: One of the four forms above.
            device: `auto`, `cpu`, `cuda` or `mps`.

        Raises:
            QualityError: the model cannot be found or read, has no weights, or they are pickled.
        """
        self._device = resolve_device(device)
        name, pretrained = _open_clip_name(model)
        try:
            tokenizer = _checked_options(name)
            self._model, _, self._preprocess = open_clip.create_model_and_transforms(
                name, pretrained=pretrained, device=self._device, require_pretrained=True, pretrained_text=False
            )
            self._tokenizer = open_clip.get_tokenizer(name, **tokenizer)
            self._model.eval()
            _check_pieces(self._tokenizer, self._model, model)
            self._try_out()
        except QualityError:
            raise
        except Exception as error:  # a model is built from the values of its configuration as they come
            raise QualityError(f"judge {model}: cannot be loaded: {error}") from error

    def _try_out(self) -> None:
        """Judge something, so that what cannot judge is told when it is loaded."""
        self.text_features(["a dog"])
        self.image_features([Image.new("RGB", (8, 8))])

    @property
    def width(self) -> int:
        """How many features there are."""
        return int(self.text_features([""]).shape[1])

    def pixels(self, image: Image.Image) -> Tensor:
        """An image as the judge is given it, float32 `[channel, height, width]`, of the same size for all images."""
        prepared: Tensor = self._preprocess(image.convert("RGB"))
        return prepared

    def image_features(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Normalised features, float32 `[image, feature]`."""
        return self.features_of([self.pixels(image) for image in images])

    @torch.no_grad()
    def features_of(self, pixels: Sequence[Tensor]) -> np.ndarray:
        """Normalised features of images that are prepared, float32 `[image, feature]`."""
        batches = [torch.stack(list(chunk)).to(self._device) for chunk in chunks(pixels, BATCH_SIZE)]
        return torch.cat([self._model.encode_image(batch, normalize=True) for batch in batches]).float().cpu().numpy()

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> np.ndarray:
        """Normalised features, float32 `[text, feature]`."""
        tokens = [self._tokenizer(list(chunk)).to(self._device) for chunk in chunks(texts, BATCH_SIZE)]
        features = [self._model.encode_text(chunk, normalize=True) for chunk in tokens]
        return torch.cat(features).float().cpu().numpy()


def cosines(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Cosine of each row of normalised features with its partner, in [-1, 1]."""
    paired: np.ndarray = (images * texts).sum(axis=1).clip(-1, 1)
    return paired


def text_ranks(images: np.ndarray, texts: np.ndarray, candidates: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Place of each image's own text among the candidates by falling cosine, 1 for the first, `[image]`.

    Ties count half: a judge that takes all texts for the same gets the rank of chance.

    Args:
        images: Normalised features, `[image, feature]`.
        texts: Those of each image's own text, `[image, feature]`.
        candidates: Those of all candidates, `[candidate, feature]`.
        own: The candidate whose place the own text takes, `[image]`: itself, where it is one of them.
    """
    lead = images @ candidates.T - (images * texts).sum(axis=1, keepdims=True)
    lead[np.arange(len(images)), own] = -np.inf
    better, alike = lead > RANK_TOLERANCE, np.abs(lead) <= RANK_TOLERANCE
    ranks: np.ndarray = 1 + better.sum(axis=1) + alike.sum(axis=1) / 2
    return ranks


def weights_file(model: str) -> Path | None:
    """The file of own weights that `MODEL/FILE` names; None where `model` has another form."""
    kind, _, _ = model.partition(":")
    file = Path(model.partition("/")[2])
    is_file = kind not in ("local-dir", "hf-hub") and file.suffix in (".safetensors", *PICKLE_SUFFIXES)
    return file if is_file else None


def _checked_options(name: str) -> dict[str, Any]:
    """Check what a folder or a repository says of its judge, and say how its tokenizer is loaded: without its code.

    One in a folder is of the class that `tokenizer_config.json` names, whatever a `config.json` beside it says.
    """
    kind, _, rest = name.partition(":")
    if kind == "local-dir":
        has_own = read_judge_config(Path(rest))["text_cfg"].get("hf_tokenizer_name")
        options = {"trust_remote_code": False, "local_files_only": True, "config": PretrainedConfig()}
        return options if has_own else {}
    config = open_clip.get_model_config(name) or {}
    if kind == "hf-hub":
        check_hub_judge(config, f"judge {name}")
        with contextlib.suppress(OSError):  # told by open_clip itself
            _check_weights(Path(open_clip.factory.download_pretrained_from_hf(rest)))
    return {"trust_remote_code": False} if config.get("text_cfg", {}).get("hf_tokenizer_name") else {}


def _check_pieces(tokenizer: Any, model: Any, where: str) -> None:
    """Raise `QualityError` where a tokenizer of a folder can give ids that the text encoder does not know."""
    given = len(tokenizer.tokenizer) if hasattr(tokenizer, "tokenizer") else 0
    if given > model.vocab_size:
        raise QualityError(
            f"judge {where}: its tokenizer has {given:,} pieces, its text encoder knows {model.vocab_size:,}"
        )


def _open_clip_name(model: str) -> tuple[str, str | None]:
    kind, _, rest = model.partition(":")
    if kind == "local-dir":
        _check_folder(Path(rest))
        return model, None
    if kind == "hf-hub":
        return model, None
    name, _, pretrained = model.partition("/")
    if not pretrained or name not in open_clip.list_models():
        raise QualityError(f"judge {model!r}: give {FORMS}")
    file = weights_file(model)
    if file is not None:
        _check_weights(file)
    return name, pretrained


def _check_folder(folder: Path) -> None:
    if not (folder / "open_clip_config.json").is_file():
        raise QualityError(f"judge {folder}: no open_clip_config.json here")
    if any((folder / name).is_file() for name in WEIGHTS):
        return
    pickled = sorted(file for file in folder.iterdir() if file.suffix in PICKLE_SUFFIXES)
    if pickled:
        _refuse(pickled[0], folder / WEIGHTS[0])
    if not any(folder.glob("*.safetensors")):
        raise QualityError(f"judge {folder}: no weights here; put them into {WEIGHTS[0]}")


def _check_weights(file: Path) -> None:
    if not file.is_file():
        raise QualityError(f"judge {file}: no such file")
    if file.suffix in PICKLE_SUFFIXES:
        _refuse(file, file.with_suffix(".safetensors"))


def _refuse(pickled: Path, instead: Path) -> None:
    raise QualityError(
        f"judge {pickled}: pickled weights can run code when they are read, so they are refused; convert them on a "
        f"machine you trust: {CONVERT.format(old=pickled, new=instead)}"
    )
