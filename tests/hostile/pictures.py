"""Pictures by themselves, and the tables that name them: labelled folders, and real images of prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from tests.hostile import alter
from tests.hostile.readers import Fault, Reader
from tests.hostile.tables import rows, texts_in, write_table

LABELS = "image,source_id,concept,class\n0.png,a,waving hand,light\n1.png,a,waving hand,dark\n2.png,b,baby,none\n"
N_PICTURES = 3


def picture_readers() -> Iterator[Reader]:
    """Images in the formats that are read, a folder of labelled ones, and prompts that name real ones."""
    yield from _formats()
    yield from _labelled()
    yield from _references()


def _picture(file: Path, seed: int = 0) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 16, 3), dtype=np.uint8)).save(file)


def _formats() -> Iterator[Reader]:
    from emoe_audit.errors import QualityError
    from emoe_audit.readers.pictures import open_picture

    for ending in ("png", "jpg", "webp", "gif", "bmp", "tiff"):
        name = f"picture.{ending}"

        def make(folder: Path, name: str = name) -> None:
            _picture(folder / name)

        def read(folder: Path, name: str = name) -> Image.Image:
            return open_picture(folder, name, QualityError)

        yield Reader(
            name=name,
            make=make,
            file=name,
            alter=alter.alter_bytes,
            weight=10,
            read=read,
            fault=lambda image, _file: None if image.mode == "RGB" else "not RGB",
        )


def _labelled() -> Iterator[Reader]:
    from emoe_audit.quality.attributes import SKIN_TONE
    from emoe_audit.quality.labelled import read_labelled

    def make(folder: Path) -> None:
        (folder / "labels.csv").write_text(LABELS, encoding="utf-8")
        for place in range(N_PICTURES):
            _picture(folder / f"{place}.png", place)

    for file, own in (("labels.csv", alter.alter_csv), ("0.png", alter.alter_bytes)):
        yield Reader(
            name=f"labelled/{file}",
            make=make,
            file=file,
            alter=own,
            weight=10,
            read=lambda folder: read_labelled(folder).of(SKIN_TONE),
            fault=fault_of_labelled,
        )


def fault_of_labelled(labelled: Any, file: Path) -> Fault:
    """An image a row, and what is said of it stands in the table."""
    if len(labelled.images) != len(labelled.frame) or any(image.mode != "RGB" for image in labelled.images):
        return "not an image a row"
    said = set(texts_in(file.parent / "labels.csv"))
    unsaid = [cell for name in ("class", "concept", "source_id") for cell in labelled.frame[name] if cell not in said]
    return f"{unsaid[0]!r:.80} is no cell of the file" if unsaid else None


def _references() -> Iterator[Reader]:
    from emoe_audit.prompts.read import read_prompts
    from emoe_audit.quality.reference import Pictures, read_pictures, reference_column

    def make(folder: Path) -> None:
        own = [row | {"reference_image": f"{place % N_PICTURES}.png"} for place, row in enumerate(rows())]
        write_table(folder / "images" / "table.csv", own)
        for place in range(N_PICTURES):
            _picture(folder / "images" / f"{place}.png", place)
        _picture(folder / "outside.png")

    def read(folder: Path) -> tuple[pd.DataFrame, Pictures]:
        frame = read_prompts(folder / "images" / "table.csv").frame
        return frame, read_pictures(frame, folder / "images", reference_column(frame), _mean_colours)

    yield Reader(
        name="reference images",
        make=make,
        file="images/table.csv",
        alter=alter.alter_csv,
        weight=10,
        read=read,
        fault=fault_of_references,
    )


def _mean_colours(images: Sequence[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(image, dtype=np.float32).mean(axis=(0, 1)) for image in images])


def fault_of_references(read: tuple[pd.DataFrame, Any], file: Path) -> Fault:
    """The features of a prompt are those of the image that it names, which lies in the folder; or its name is told."""
    frame, pictures = read
    told = {error.prompt_id for error in pictures.row_errors}
    column = "reference_image" if "reference_image" in frame else "image_file"
    for place, prompt_id, name in zip(pictures.place, frame["prompt_id"], frame[column], strict=True):
        if place < 0:
            if isinstance(name, str) and name and prompt_id not in told:
                return f"{name!r:.80} is neither read nor told"
            continue
        image = (file.parent / name).resolve()
        if image.parent != file.parent.resolve():
            return f"{name!r:.80} lies elsewhere"
        if not np.array_equal(pictures.features[place], _mean_colours([Image.open(image).convert("RGB")])[0]):
            return f"{name!r:.80} has the features of another image"
    return None
