"""COCO captions as prompts, read through pycocotools. Extra fields `language` and `source_id` are understood."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.table import PromptTable, check_rows

REQUIRED = ("images", "annotations")
INSTANCE_FIELDS = {"bbox", "segmentation", "keypoints"}
ID = (int, str)


def read_coco(path: Path) -> PromptTable:
    """One prompt per annotation; `prompt_id` is the annotation's id, `image_id` is kept.

    `image_file` is the image's `file_name`, where the images have one.

    Raises:
        PromptTableError: not a COCO captions file; the message says what is missing.
    """
    return check_rows(_rows(load_coco(path)), str(path))


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
    rows = [row | {"language": row["language"] or language} for _, row in _rows(load_coco(path))]
    rows.sort(key=lambda row: _digest(seed, row["prompt_id"]))
    if not all_captions:
        rows = list({(row["image_id"], row["language"]): row for row in reversed(rows)}.values())
    images = sorted({row["image_id"] for row in rows}, key=lambda image: _digest(seed, image))[:n_images]
    place = {image: number for number, image in enumerate(images)}
    rows = sorted((row for row in rows if row["image_id"] in place), key=lambda row: place[row["image_id"]])
    return check_rows(enumerate(rows, start=1), str(path))


def load_coco(path: Path) -> COCO:
    """Open a captions file, without pycocotools' words on stdout.

    Raises:
        PromptTableError: see `read_coco`.
    """
    coco = COCO()
    coco.dataset = {name: value for name, value in _checked(_json(path), path).items() if name != "categories"}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise PromptTableError(
            f"{path}:{error.lineno}:{error.colno}: not a COCO file, or one that ends too early: {error.msg}"
        ) from error
    except (UnicodeDecodeError, OSError) as error:
        raise PromptTableError(f"{path}: not a COCO file: {error}") from error


def _checked(data: Any, path: Path) -> dict[str, Any]:
    """The data, where they are what a captions file holds. Raises `PromptTableError` that says what is missing."""
    if not isinstance(data, dict):
        raise PromptTableError(f"{path}: not a COCO file: it needs an object with {_both()}")
    for name in REQUIRED:
        if name not in data:
            raise PromptTableError(f"{path}: no {name!r}; a COCO captions file lists {_both()}")
        if not isinstance(data[name], list):
            raise PromptTableError(f"{path}: {name!r} is no list; a COCO captions file lists {_both()}")
    if not data["annotations"]:
        raise PromptTableError(f"{path}: no annotations; a COCO captions file lists them under 'annotations'")
    for number, image in enumerate(data["images"], start=1):
        if not isinstance(image, dict) or not isinstance(image.get("id"), ID):
            raise PromptTableError(f"{path}: image {number} has no id that is a number or a text")
    for number, annotation in enumerate(data["annotations"], start=1):
        _check_annotation(annotation, f"{path}: annotation {number}")
    return data


def _check_annotation(annotation: Any, where: str) -> None:
    if not isinstance(annotation, dict):
        raise PromptTableError(f"{where} is no object with id, image_id and caption")
    missing = [name for name in ("id", "image_id", "caption") if name not in annotation]
    if missing:
        hint = "; these are boxes of objects, take captions_*.json" if INSTANCE_FIELDS & annotation.keys() else ""
        raise PromptTableError(f"{where} has no {', '.join(missing)}; captions are needed{hint}")
    if not all(isinstance(annotation[name], ID) for name in ("id", "image_id")):
        raise PromptTableError(f"{where}: id and image_id must be a number or a text")
    if not isinstance(annotation["caption"], str):
        found = json.dumps(annotation["caption"])[:40]
        raise PromptTableError(f"{where} (id {annotation['id']}): its caption is {found}, which is no text")


def _both() -> str:
    return " and ".join(repr(name) for name in REQUIRED)


def _digest(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def _rows(coco: COCO) -> Iterator[tuple[int, dict[str, Any]]]:
    has_files = any("file_name" in image for image in coco.dataset["images"])
    for number, annotation in enumerate(coco.dataset["annotations"], start=1):
        row = {
            "prompt_id": str(annotation["id"]),
            "source_id": str(annotation.get("source_id", annotation["id"])),
            "prompt": annotation["caption"],
            "language": annotation.get("language", ""),
            "image_id": str(annotation["image_id"]),
        }
        if has_files:
            row["image_file"] = coco.imgs.get(annotation["image_id"], {}).get("file_name")
        yield number, row
