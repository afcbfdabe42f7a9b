"""COCO captions as prompts, read through pycocotools. Extra fields `language` and `source_id` are understood."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.table import PromptTable, check_rows


def read_coco(path: Path) -> PromptTable:
    """One prompt per annotation; `prompt_id` is the annotation's id, `image_id` is kept.

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
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(path))
    except (ValueError, KeyError, TypeError, AssertionError, OSError) as error:
        raise PromptTableError(f"{path}: not a COCO file: {error}; it needs 'images' and 'annotations'") from error
    if not coco.anns:
        raise PromptTableError(f"{path}: no annotations; a COCO captions file lists them under 'annotations'")
    for number, annotation in enumerate(coco.dataset["annotations"], start=1):
        missing = {"id", "image_id", "caption"} - annotation.keys()
        if missing:
            raise PromptTableError(
                f"{path}: annotation {number} has no {', '.join(sorted(missing))}; captions are needed"
            )
    return coco


def _digest(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def _rows(coco: COCO) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, annotation in enumerate(coco.dataset["annotations"], start=1):
        yield (
            number,
            {
                "prompt_id": str(annotation["id"]),
                "source_id": str(annotation.get("source_id", annotation["id"])),
                "prompt": annotation["caption"],
                "language": annotation.get("language", ""),
                "image_id": str(annotation["image_id"]),
            },
        )
