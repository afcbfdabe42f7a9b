"""Images of which it is known whom they show: drawn in every skin tone, or brought in a folder with `labels.csv`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image

from emoe_audit.errors import QualityError
from emoe_audit.prompts.emoji import SOURCE_LANGUAGE
from emoe_audit.quality.attributes import NO_TONE, TONES, AttributeSet
from emoe_audit.readers.pictures import open_picture
from emoe_audit.readers.tables import Broken, Table, open_table

LABELS = "labels.csv"
NEEDED = ("class", "concept", "image")
Draw = Callable[[str], Image.Image | None]
"""The drawing of an emoji, None where there is none."""


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Images of which the class is known."""

    frame: pd.DataFrame
    """A row per image: `source_id`, what it was drawn from; `concept`, its caption without a class; `class`."""
    images: list[Image.Image]

    def of(self, attribute: AttributeSet) -> LabelledImages:
        """Those of its classes."""
        kept = self.frame["class"].isin(attribute.classes)
        images = [image for image, keep in zip(self.images, kept, strict=True) if keep]
        return LabelledImages(frame=self.frame[kept].reset_index(drop=True), images=images)


def tone_drawings(named: pd.DataFrame, styles: Sequence[Draw]) -> LabelledImages:
    """Real drawings of subjects in every tone and in none, each subject in one style and the next in the next.

    Args:
        named: From `subjects`.
        styles: What draws an emoji; where a style lacks one, the next that has it does.
    """
    rows, images = [], []
    for place, (key, concept) in enumerate(named[SOURCE_LANGUAGE].items()):
        emoji = "".join(chr(int(code, 16)) for code in str(key).split("-"))
        for name, modifier in {NO_TONE: "", **{tone: chr(code) for tone, code in TONES.items()}}.items():
            order = [styles[(place + step) % len(styles)] for step in range(len(styles))]
            drawing = next((made for draw in order if (made := draw(emoji + modifier)) is not None), None)
            if drawing is not None:
                rows.append({"source_id": key, "concept": concept, "class": name})
                images.append(drawing)
    return LabelledImages(frame=pd.DataFrame(rows), images=images)


def write_labelled(labelled: LabelledImages, folder: Path) -> None:
    """Write a PNG an image, and `labels.csv` with its `image`, `source_id`, `concept` and `class`."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [f"{place:04d}.png" for place in range(len(labelled.images))]
    for file, image in zip(files, labelled.images, strict=True):
        image.save(folder / file, "PNG", optimize=True)
    labelled.frame.assign(image=files).to_csv(folder / LABELS, index=False)


def read_labelled(folder: Path) -> LabelledImages:
    """Read what `write_labelled` wrote, or what follows it; a file without `source_id` takes each image for itself.

    Raises:
        QualityError: there is no `labels.csv`, it lacks a column, or an image cannot be read.
    """
    file = folder / LABELS
    if not file.is_file():
        raise QualityError(f"{folder}: no {LABELS}; a folder of labelled images needs one: image,concept,class")
    table = open_table(file, QualityError, (*NEEDED, "source_id").__contains__)
    missing = [name for name in NEEDED if name not in table.columns]
    if missing:
        raise QualityError(f"{file}: no column {', '.join(missing)}; there are {', '.join(table.columns)}")
    frame = pd.DataFrame(_rows(table, file), columns=table.columns)
    images = [open_picture(folder, name, QualityError) for name in frame["image"]]
    return LabelledImages(frame=frame.assign(source_id=frame.get("source_id", frame["image"])), images=images)


def _rows(table: Table, file: Path) -> Iterator[dict[str, str]]:
    for line, row in table.rows:
        if isinstance(row, Broken):
            raise QualityError(row.at(f"{file}:{line}"))
        yield row
