"""Pictures inside a folder, and no other files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from emoe_audit.errors import AuditError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
DEEPEST = 2**16 - 1
JPEG_START = b"\xff\xd8"
LATER = re.compile(r"-\d+(\.[a-z]+)$")


def open_picture(folder: Path, name: str, error: type[AuditError]) -> Image.Image:
    """An image inside a folder as RGB, as a viewer shows it: what is transparent on white, turned as its EXIF says.

    Of an animation the first picture; of 16 bits a channel the upper 8.

    Raises:
        error: the name leads out of the folder, to nothing, or to what is no image, or to one of more pixels than
            `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    shown = repr(name[:200])
    path = inside(folder, name, error)
    if not path.is_file():
        raise error(f"{shown} is not in {folder}")
    try:
        with Image.open(path, formats=FORMATS) as image:
            _check_pixels(image)
            return _on_white(_of_eight_bits(_upright(image)))
    except Exception as fault:  # what a decoder raises for a broken image is not documented
        raise error(f"{shown} is not an image that can be read ({', '.join(FORMATS)}): {fault}") from fault


def _check_pixels(image: Image.Image) -> None:
    """Raise `ValueError` before more is unfolded than Pillow only warns of, on whichever thread this is."""
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and image.width * image.height > most:
        raise ValueError(f"has {image.width:,} times {image.height:,} pixels, more than {most:,} are not read")


def inside(folder: Path, name: str, error: type[AuditError]) -> Path:
    """The file that a name leads to, links followed. Raises `error` where it lies outside of the folder."""
    shown = repr(name[:200])
    try:
        path = (folder / name).resolve()
        path.exists()  # names that are too long are told by the system
        is_inside = path.is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError) as fault:
        raise error(f"{shown} is no file name: {fault}") from fault
    if not is_inside:
        raise error(f"{shown} lies outside {folder}; only files inside it are read")
    return path


def _upright(image: Image.Image) -> Image.Image:
    return image if image.getexif().get(ExifTags.Base.Orientation, 1) == 1 else ImageOps.exif_transpose(image)


def _of_eight_bits(image: Image.Image) -> Image.Image:
    """An image whose numbers are those that `convert` takes: it cuts what is above 255."""
    if image.mode.startswith("I"):
        numbers = np.asarray(image).astype(np.int64)
        if numbers.min(initial=0) < 0 or numbers.max(initial=0) > DEEPEST:
            raise ValueError(f"has numbers from {numbers.min()} to {numbers.max()}, which are no brightness of 16 bits")
        return Image.fromarray((numbers >> 8).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("has fractions for brightness, of which it is not known what is white")
    return image


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    drawn = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn).convert("RGB")


def numbered(first: str, number: int) -> str:
    """The name of one of several images of a prompt, by that of the first: `key.png`, `key-2.png`, `key-3.png`."""
    stem, _, ending = first.rpartition(".")
    return f"{stem}-{number}.{ending}" if number > 1 else first


def first_of(name: str) -> str:
    """The name of the first, by that of one of several."""
    return LATER.sub(r"\1", name)


def ending_of(content: bytes) -> str:
    """How the name of a PNG or a JPEG ends, by its first bytes."""
    return "jpg" if content.startswith(JPEG_START) else "png"


def is_whole_png(path: Path) -> bool:
    """Whether a file is a PNG to its end: every chunk is there with the checksum that was written with it."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            image.verify()
    except Exception:  # what a decoder raises for a broken image is not documented
        return False
    return True
