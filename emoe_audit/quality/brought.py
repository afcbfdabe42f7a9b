"""Images that were made elsewhere: which of a folder belong to which prompt, and what a judge makes of them.

A prompt names its images in the column `image_file`, a file or a folder of several. Where it names none, its images are
the files called by its `prompt_id`: `ID.png`, with a number behind it where there are several (`ID_0.png`,
`ID-seed7.jpg`), or all that lie in a folder of that name.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from torch import Tensor

from emoe_audit.errors import QualityError
from emoe_audit.experts.devices import is_out_of_memory
from emoe_audit.quality.judging import Judging
from emoe_audit.readers.pictures import JPEG_START, inside, open_picture
from emoe_audit.types import RowError

COLUMN = "image_file"
ENDINGS = frozenset((".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"))
NUMBERED = re.compile(r"(?P<id>.+?)[-_. ]+(?:seed|sample|image|img)?[-_. ]?(?P<number>\d{1,19})")
SHORT_EDGE, LONG_EDGE = 256, 1024
"""Pixels that the edges of the copy of a large image have: at least the first, unless the long edge had more than the
second."""
JPEG_QUALITY = 90
"""Of copies that were made smaller; others are kept to the last value."""
MOST_IMAGES = 64
"""Of a prompt."""
MOST_LONG = 64
"""Times as long as wide."""
READ_AT_ONCE = 64
"""Images that are held as pixels of the judge, and judged at once."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The images of a folder."""

    files: Mapping[str, tuple[str, ...]]
    """By `prompt_id`: names from the folder, by number."""
    unused: tuple[str, ...]
    """Those that belong to no prompt."""
    row_errors: tuple[RowError, ...]
    """Prompts that have none."""


def find_images(prompts: pd.DataFrame, folder: Path) -> Found:
    """The images of each prompt.

    Args:
        prompts: With `prompt_id`, and where there is one the column `image_file`.
        folder: No link out of it is followed.

    Raises:
        QualityError: there is no such folder, or no image in it belongs to a prompt.
    """
    if not folder.is_dir():
        raise QualityError(f"--images {folder}: no such folder")
    there = sorted(_images_under(folder), key=_by_number)
    named = (
        prompts[COLUMN].astype(object).where(prompts[COLUMN].notna(), "").astype(str)
        if COLUMN in prompts
        else pd.Series("", index=prompts.index)
    )
    by_name = dict(zip(prompts["prompt_id"], named.str.strip(), strict=True))
    by_id = _by_id(there, [own for own, name in by_name.items() if not name])
    within = _by_folder(there)
    files: dict[str, tuple[str, ...]] = {}
    errors = []
    for own, name in by_name.items():
        found = by_id.get(own, []) if not name else _named(name, folder, within)
        if len(found) > MOST_IMAGES:
            message = f"{len(found)} images, of which the first {MOST_IMAGES} are judged"
            errors.append(RowError(stage="image", prompt_id=own, message=message))
        if found:
            files[own] = tuple(found[:MOST_IMAGES])
        else:
            said = f"{name[:200]!r} is not in {folder}" if name else f"no image of this name in {folder}"
            errors.append(RowError(stage="image", prompt_id=own, column=COLUMN if name else None, message=said))
    if by_name and not files:
        raise QualityError(_nothing_fits(folder, there, next(iter(by_name.items()))))
    used = {name for own in files.values() for name in own}
    return Found(files=files, unused=tuple(name for name in there if name not in used), row_errors=tuple(errors))


def _images_under(folder: Path) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders[:] = [own for own in folders if not own.startswith(".")]
        inner = Path(place).relative_to(folder)
        yield from (
            (inner / name).as_posix()
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in ENDINGS
        )


def _by_number(name: str) -> tuple[str, int, str]:
    """`a_10` comes after `a_9`."""
    stem = name.rpartition(".")[0]
    found = NUMBERED.fullmatch(stem)
    return (found["id"], int(found["number"]), name) if found else (stem, -1, name)


def _by_id(there: Iterable[str], ids: Iterable[str]) -> dict[str, list[str]]:
    """The files of each prompt that are called by its id; of several ids that fit, the longest."""
    known = {unicodedata.normalize("NFC", own): own for own in ids}
    found: dict[str, list[str]] = {}
    for name in there:
        own = next((known[way] for way in _ways(name) if way in known), None)
        if own is not None:
            found.setdefault(own, []).append(name)
    return found


def _ways(name: str) -> Iterator[str]:
    """What a file may be called by: all of its name, that without a number, the folders that it lies in."""
    stem = unicodedata.normalize("NFC", name.rpartition(".")[0])
    yield stem
    numbered = NUMBERED.fullmatch(stem)
    if numbered:
        yield numbered["id"]
    parts = stem.split("/")
    yield from ("/".join(parts[:n]) for n in range(len(parts) - 1, 0, -1))


def _by_folder(there: Iterable[str]) -> dict[str, list[str]]:
    held: dict[str, list[str]] = {}
    for name in there:
        held.setdefault(name.rpartition("/")[0], []).append(name)
    return held


def _named(name: str, folder: Path, within: Mapping[str, list[str]]) -> list[str]:
    """A file, whatever it is called, or the images in a folder; nothing for what is not there."""
    try:
        if inside(folder, name, QualityError).is_file():
            return [name]
    except QualityError:
        return []
    return within.get(os.path.normpath(name).replace(os.sep, "/"), [])


def _nothing_fits(folder: Path, there: Sequence[str], first: tuple[str, str]) -> str:
    held = f"{len(there):,} images, {there[0][:100]!r} first" if there else "no image"
    wanted = f"{first[1][:100]!r}" if first[1] else f"'{first[0][:100]}.png'"
    return (
        f"--images {folder}: holds {held}, and none that belongs to a prompt; expected is {wanted} for the prompt "
        f"{first[0][:60]!r}, or name the files in a column {COLUMN}"
    )


def stamp_of(folder: Path, names: Iterable[str]) -> str:
    """16 hexadecimal digits of how some files lie on the disk: other ones where a file was written anew."""
    seen = []
    for name in names:
        try:
            about = (folder / name).stat()
            seen.append((name, about.st_size, about.st_mtime_ns))
        except (OSError, ValueError):
            seen.append((name, -1, -1))
    return hashlib.sha256(repr(seen).encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Looked:
    """Images of some prompts, as they were judged."""

    prompts: slice
    """Which of those that were given these are."""
    rows: pd.DataFrame
    """As `Judging.rows` gives them, with the `place` of a prompt among these."""
    copies: list[list[bytes]]
    """Of each prompt: PNG files, or JPEG files where one of them had to be made smaller."""
    seen: list[np.ndarray]
    """What the judge sees in those of each prompt, `[image, feature]`."""
    faults: list[tuple[int, str]]
    """The place of a prompt among these, and what is wrong with an image of it."""


Read = tuple[Tensor, bytes] | str
"""The pixels that a judge is given of a file, and a copy of it; or what is wrong with it."""


class Onlooker:
    """Judges images of a folder; files are read by as many threads as there are cores."""

    def __init__(self, judging: Judging, folder: Path) -> None:
        """`folder` is where files are named from."""
        self._judging, self._folder = judging, folder

    def judge(
        self, texts: Sequence[str], source_ids: Sequence[Sequence[str]], files: Sequence[Sequence[str]]
    ) -> Iterator[Looked]:
        """Some prompts at a time, with a row for each caption that a prompt is a translation of.

        While the caller has one part, the next one is read.

        Args:
            texts: The prompts.
            source_ids: The captions of each.
            files: The images of each, by name. One that cannot be read is left out, and said.
        """
        parts = list(_parts([len(own) for own in files]))
        with ThreadPoolExecutor(os.cpu_count()) as readers:

            def begin(part: slice) -> list[list[Future[Read]]]:
                return [[readers.submit(self._read, name) for name in own] for own in files[part]]

            coming = begin(parts[0]) if parts else []
            for part, following in zip(parts, [*parts[1:], None], strict=True):
                read = [[own.result() for own in of_prompt] for of_prompt in coming]
                judged = self._judged(part, texts[part], source_ids[part], read)  # for which all cores are left
                coming = begin(following) if following else []
                yield judged

    def _judged(
        self, part: slice, texts: Sequence[str], source_ids: Sequence[Sequence[str]], read: list[list[Read]]
    ) -> Looked:
        whole = [[own for own in of_prompt if not isinstance(own, str)] for of_prompt in read]
        places = np.repeat(np.arange(len(texts)), [len(own) for own in whole])
        features = self._features([pixels for own in whole for pixels, _ in own])
        return Looked(
            prompts=part,
            rows=self._judging.rows(features, places, texts, source_ids),
            copies=[_of_one_kind([copy for _, copy in own]) for own in whole],
            seen=[features[places == place] for place in range(len(texts))],
            faults=[(place, own) for place, of in enumerate(read) for own in of if isinstance(own, str)],
        )

    def _features(self, pixels: list[Tensor]) -> np.ndarray:
        judge = self._judging.judge
        try:
            return judge.features_of(pixels) if pixels else np.empty((0, judge.width), dtype=np.float32)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise QualityError(
                "out of memory while images are judged; give --device cpu, or a smaller judge"
            ) from error

    def _read(self, name: str) -> Read:
        try:
            image = open_picture(self._folder, name, QualityError)
            if max(image.size) > MOST_LONG * min(image.size):
                return f"{name[:200]!r} has {image.width} times {image.height} pixels, which is no picture for a judge"
            return self._judging.judge.pixels(image), _copy(image)
        except QualityError as fault:
            return str(fault)
        except Exception as fault:  # what a judge's own preparation makes of a strange image is not documented
            return f"{name[:200]!r} cannot be prepared for the judge: {fault}"


def _parts(n_images: Sequence[int]) -> Iterator[slice]:
    """Prompts one after the other, so many that they have `READ_AT_ONCE` images, or one that has more."""
    start, held = 0, 0
    for place, own in enumerate(n_images):
        if held and held + own > READ_AT_ONCE:
            yield slice(start, place)
            start, held = place, 0
        held += own
    if start < len(n_images):
        yield slice(start, len(n_images))


def _copy(image: Image.Image) -> bytes:
    """A PNG of the image, or of a large one a JPEG that was made smaller by a whole factor, which is fast."""
    image.info = {}  # no profile and no text goes into the copy
    factor, content = max(min(image.size) // SHORT_EDGE, -(-max(image.size) // LONG_EDGE)), io.BytesIO()
    if factor < 2:
        image.save(content, "PNG", compress_level=1)
    else:
        image.reduce(factor).save(content, "JPEG", quality=JPEG_QUALITY)
    return content.getvalue()


def _of_one_kind(copies: list[bytes]) -> list[bytes]:
    """All PNG, or where one is a JPEG all JPEG: the images of a prompt are called alike."""
    if len({copy[:2] for copy in copies}) < 2:
        return copies
    return [_as_jpeg(copy) for copy in copies]


def _as_jpeg(copy: bytes) -> bytes:
    if copy.startswith(JPEG_START):
        return copy
    content = io.BytesIO()
    with Image.open(io.BytesIO(copy), formats=("PNG",)) as image:
        image.save(content, "JPEG", quality=JPEG_QUALITY)
    return content.getvalue()
