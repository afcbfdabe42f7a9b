"""COCO captions as prompts, read through pycocotools, Karpathy's splits among them.

Extra fields `language`, `source_id` and `split` of an annotation are understood.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.karpathy import as_coco, is_karpathy
from emoe_audit.prompts.table import PromptTable, check_rows
from emoe_audit.readers.documents import loose_json
from emoe_audit.readers.limits import CAPTIONS
from emoe_audit.readers.tables import Broken, Row
from emoe_audit.readers.text import read_text

REQUIRED = ("images", "annotations")
INSTANCE_FIELDS = {"bbox", "segmentation", "keypoints"}
ID = (int, str)
NUMBERS = "numbers"
"""Where each annotation stands in the file, beside those that pycocotools knows."""


def read_coco(path: Path) -> PromptTable:
    """One prompt per annotation; `prompt_id` is the annotation's id, `image_id` is kept.

    `image_file` is the image's `file_name`, where the images have one. An annotation that is none is left out.

    Raises:
        PromptTableError: not a COCO captions file; the message says what is missing.
    """
    coco, broken = load_coco(path)
    return check_rows([*broken, *_rows(coco)], str(path))


def sample_coco(
    path: Path, *, n_images: int | None = None, all_captions: bool = False, language: str = "", seed: int = 0
) -> PromptTable:
    """The prompts of some images, at random by seed; a larger sample holds the smaller ones.

    Args:
        path: A COCO captions file.
        n_images: At most; None takes all.
        all_captions: Every caption of an image instead of one in each language.
        language: Of annotations that do not say theirs (BCP-47).
        seed: Of images and captions.

    Raises:
        PromptTableError: see `read_coco`.
    """
    coco, broken = load_coco(path)
    rows = [row | {"language": row["language"] or language} for _, row in _rows(coco)]
    rows.sort(key=lambda row: _digest(seed, row["prompt_id"]))
    if not all_captions:
        rows = list({(row["image_id"], row["language"]): row for row in reversed(rows)}.values())
    images = sorted({row["image_id"] for row in rows}, key=lambda image: _digest(seed, image))[:n_images]
    place = {image: number for number, image in enumerate(images)}
    rows = sorted((row for row in rows if row["image_id"] in place), key=lambda row: place[row["image_id"]])
    return check_rows([*broken, *enumerate(rows, start=1)], str(path))


def load_coco(path: Path) -> tuple[COCO, list[tuple[int, Broken]]]:
    """Open a captions file, without pycocotools' words on stdout; images and annotations that are none come apart.

    Raises:
        PromptTableError: see `read_coco`.
    """
    data = _json(path)
    data = _checked(as_coco(data) if is_karpathy(data) else data, path)
    images, no_images = _parted(data["images"], _image_fault)
    annotations, no_annotations = _parted(data["annotations"], _annotation_fault)
    coco = COCO()
    coco.dataset = {
        "images": [image for _, image in images],
        "annotations": [annotation for _, annotation in annotations],
        NUMBERS: [number for number, _ in annotations],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco, [*no_images, *no_annotations]


def _json(path: Path) -> Any:
    try:
        return loose_json(read_text(path, PromptTableError, at_most=CAPTIONS))
    except json.JSONDecodeError as error:
        raise PromptTableError(
            f"{path}:{error.lineno}:{error.colno}: not a COCO file, or one that ends too early: {error.msg}"
        ) from error
    except (ValueError, PromptTableError) as error:
        raise PromptTableError(f"{path}: not a COCO file: {error}") from error


def _checked(data: Any, path: Path) -> dict[str, Any]:
    """The data, where they are what a captions file holds. Raises `PromptTableError` that says what is missing."""
    if not isinstance(data, dict):
        raise PromptTableError(
            f"{path}: not a COCO file: it needs an object with {_both()}; for a table of prompts write one object a "
            "line into a .jsonl file"
        )
    for name in REQUIRED:
        if name not in data:
            raise PromptTableError(f"{path}: no {name!r}; a COCO captions file lists {_both()}")
        if not isinstance(data[name], list):
            raise PromptTableError(f"{path}: {name!r} is no list; a COCO captions file lists {_both()}")
    if not data["annotations"]:
        raise PromptTableError(f"{path}: no annotations; a COCO captions file lists them under 'annotations'")
    return data


def _parted(
    entries: list[Any], fault_of: Callable[[Any, int], str | None]
) -> tuple[list[tuple[int, Row]], list[tuple[int, Broken]]]:
    """The entries that can be used, and why the others cannot, by number."""
    good: list[tuple[int, Row]] = []
    broken: list[tuple[int, Broken]] = []
    for number, entry in enumerate(entries, start=1):
        fault = fault_of(entry, number)
        if fault is None:
            good.append((number, entry))
        else:
            broken.append((number, Broken(fault)))
    return good, broken


def _image_fault(image: Any, number: int) -> str | None:
    has_id = isinstance(image, dict) and _is_id(image.get("id"))
    return None if has_id else f"image {number} has no id that is a number or a text"


def _annotation_fault(annotation: Any, number: int) -> str | None:
    where = f"annotation {number}"
    if not isinstance(annotation, dict):
        return f"{where} is no object with id, image_id and caption"
    missing = [name for name in ("id", "image_id", "caption") if name not in annotation]
    if missing:
        hint = "; these are boxes of objects, take captions_*.json" if INSTANCE_FIELDS & annotation.keys() else ""
        return f"{where} has no {', '.join(missing)}; captions are needed{hint}"
    if not all(_is_id(annotation[name]) for name in ("id", "image_id")):
        return f"{where}: id and image_id must be a whole number or a text"
    if not isinstance(annotation["caption"], str):
        found = json.dumps(annotation["caption"])[:40]
        return f"{where} (id {str(annotation['id'])[:40]}): its caption is {found}, which is no text"
    if not isinstance(annotation.get("language") or "", str):
        return f"{where}: its language is no text"
    source_id = annotation.get("source_id")
    return None if source_id is None or _is_id(source_id) else f"{where}: its source_id is no whole number or text"


def _is_id(value: Any) -> bool:
    return isinstance(value, ID) and not isinstance(value, bool)


def _both() -> str:
    return " and ".join(repr(name) for name in REQUIRED)


def _digest(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).hexdigest()


def _rows(coco: COCO) -> Iterator[tuple[int, Row]]:
    has_files = any("file_name" in image for image in coco.dataset["images"])
    for number, annotation in zip(coco.dataset[NUMBERS], coco.dataset["annotations"], strict=True):
        source_id = annotation.get("source_id")
        row = {
            "prompt_id": str(annotation["id"]),
            "source_id": str(annotation["id"] if source_id is None else source_id),
            "prompt": annotation["caption"],
            "language": annotation.get("language") or "",
            "image_id": str(annotation["image_id"]),
        }
        if "split" in annotation:
            row["split"] = str(annotation["split"])
        if has_files:
            row["image_file"] = coco.imgs.get(annotation["image_id"], {}).get("file_name")
        yield number, row
