"""Files that call themselves images: broken, huge, animated, of every colour mode, links out, and other things.

Each says what is to become of it: judged as a picture of one colour, judged as whatever can be seen in it, or refused.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from emoe_audit.quality.brought import Onlooker
from emoe_audit.quality.candidates import Candidates
from emoe_audit.quality.clip_score import ClipJudge
from emoe_audit.quality.judging import Judging

SIZE = (24, 16)
COLOUR = (200, 60, 20)
FORMATS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif"}
CUTS = (0, 1, 7, 20, 33, 60, 100)
"""Bytes that are left of a file; none is enough for an image."""
ALIKE = 0.99
"""Cosine from which a judge sees a picture of one colour in a file."""
FLIPS = 20
"""Copies of each format with other bytes in places."""
ROTATED = {1: None, 2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 6: "ROTATE_270", 8: "ROTATE_90"}


@dataclass(frozen=True, kw_only=True)
class HostileImage:
    """One file."""

    name: str
    colour: tuple[int, int, int] | None = None
    """That of all of it, where it is to be judged as a picture of one colour, within a few steps."""
    refused: bool = False
    """Whether it must be; else it may be judged or refused."""


def write_hostile_images(folder: Path) -> list[HostileImage]:
    """Write them all; `outside.png`, that some of them lead to, lies beside the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = Image.new("RGB", SIZE, COLOUR)
    plain.save(folder.parent / "outside.png")
    return [*_whole(folder, plain), *_modes(folder), *_broken(folder, plain), *_claims(folder), *_other_things(folder)]


def _saved(image: Image.Image, form: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def _whole(folder: Path, plain: Image.Image) -> Iterator[HostileImage]:
    for form, ending in FORMATS.items():
        (folder / f"whole-{form}.{ending}").write_bytes(_saved(plain, form))
        yield HostileImage(name=f"whole-{form}.{ending}", colour=COLOUR)
        other = "png" if ending != "png" else "jpg"
        (folder / f"miscalled-{form}.{other}").write_bytes(_saved(plain, form))
        yield HostileImage(name=f"miscalled-{form}.{other}", colour=COLOUR)
    for form in ("GIF", "WEBP", "PNG", "TIFF"):
        name = f"animated-{form}.{FORMATS[form]}"
        others = [Image.new("RGB", SIZE, (0, 0, 255)), Image.new("RGB", SIZE, (0, 255, 0))]
        (folder / name).write_bytes(_saved(plain, form, save_all=True, append_images=others))
        yield HostileImage(name=name, colour=COLOUR)
    for number, turn in ROTATED.items():
        half = Image.new("RGB", SIZE, COLOUR)
        exif = Image.Exif()
        exif[0x0112] = number
        turned = half if turn is None else half.transpose(getattr(Image.Transpose, turn))
        (folder / f"turned-{number}.jpg").write_bytes(_saved(turned, "JPEG", exif=exif))
        yield HostileImage(name=f"turned-{number}.jpg", colour=COLOUR)


def _modes(folder: Path) -> Iterator[HostileImage]:
    grey = (120, 120, 120)
    deep = np.full(SIZE[::-1], 120 << 8, dtype=np.uint16)
    clear = Image.new("RGBA", SIZE, (*COLOUR, 0))
    palette = Image.new("P", SIZE, 1)
    palette.putpalette([0, 0, 0, *COLOUR, *[0] * (3 * 254)])
    made: dict[str, tuple[bytes, tuple[int, int, int] | None]] = {
        "cmyk.jpg": (_saved(Image.new("RGB", SIZE, COLOUR).convert("CMYK"), "JPEG"), COLOUR),
        "cmyk.tif": (_saved(Image.new("RGB", SIZE, COLOUR).convert("CMYK"), "TIFF"), COLOUR),
        "deep.png": (_saved(Image.fromarray(deep), "PNG"), grey),
        "deep.tif": (_saved(Image.fromarray(deep), "TIFF"), grey),
        "grey.jpg": (_saved(Image.new("L", SIZE, 120), "JPEG"), grey),
        "bits.png": (_saved(Image.new("1", SIZE, 1), "PNG"), (255, 255, 255)),
        "clear.png": (_saved(clear, "PNG"), (255, 255, 255)),
        "clear.webp": (_saved(clear, "WEBP", lossless=True), (255, 255, 255)),
        "clear-grey.png": (_saved(Image.new("LA", SIZE, (120, 0)), "PNG"), (255, 255, 255)),
        "palette.png": (_saved(palette, "PNG"), COLOUR),
        "palette-clear.png": (_saved(palette, "PNG", transparency=1), (255, 255, 255)),
        "one-pixel.png": (_saved(Image.new("RGB", (1, 1), COLOUR), "PNG"), COLOUR),
        "colour-profile.png": (_saved(Image.new("RGB", SIZE, COLOUR), "PNG", icc_profile=b"\0" * 100), COLOUR),
    }
    for name, (content, colour) in made.items():
        (folder / name).write_bytes(content)
        yield HostileImage(name=name, colour=colour)
    for name, size in (("thread.png", (3000, 1)), ("long-thread.png", (1, 20_000_000))):
        (folder / name).write_bytes(_saved(Image.new("RGB", size, COLOUR), "PNG"))
        yield HostileImage(name=name, refused=True)
    (folder / "fractions.tif").write_bytes(_saved(Image.fromarray(np.full((8, 8), 0.5, dtype=np.float32)), "TIFF"))
    yield HostileImage(name="fractions.tif", refused=True)
    (folder / "signed.tif").write_bytes(_saved(Image.fromarray(np.full((8, 8), -5, dtype=np.int32)), "TIFF"))
    yield HostileImage(name="signed.tif", refused=True)


def _broken(folder: Path, plain: Image.Image) -> Iterator[HostileImage]:
    rng = np.random.default_rng(0)
    for form, ending in FORMATS.items():
        content = _saved(plain, form)
        for cut in CUTS:
            (folder / f"cut-{form}-{cut}.{ending}").write_bytes(content[: min(cut, len(content) // 2)])
            yield HostileImage(name=f"cut-{form}-{cut}.{ending}", refused=True)
        for number in range(FLIPS):
            flipped = bytearray(content)
            for place in rng.integers(len(content), size=4):
                flipped[place] ^= int(rng.integers(1, 256))
            (folder / f"flipped-{form}-{number}.{ending}").write_bytes(flipped)
            yield HostileImage(name=f"flipped-{form}-{number}.{ending}")


def _claims(folder: Path) -> Iterator[HostileImage]:
    """Small files that unfold without bound."""

    def png(width: int, height: int, extra: bytes = b"", rows: bytes = b"") -> bytes:
        header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + header + extra + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")

    text = PngImagePlugin.PngInfo()
    text.add_text("a", "0" * 30_000_000, zip=True)
    gif = bytearray(_saved(Image.new("P", (1, 1)), "GIF"))
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    bmp = bytearray(_saved(Image.new("RGB", (1, 1)), "BMP"))
    bmp[18:26] = struct.pack("<ii", 40_000, 40_000)
    made = {
        "huge.png": png(100_000, 100_000),
        "huge-zeros.png": png(20_000, 20_000, rows=bytes(60_001 * 2_000)),
        "no-width.png": png(0, 10),
        "text-bomb.png": _saved(Image.new("RGB", SIZE), "PNG", pnginfo=text),
        "profile-bomb.png": png(1, 1, _chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(50_000_000))), b"\0\0\0\0"),
        "huge.gif": bytes(gif),
        "huge.bmp": bytes(bmp),
    }
    for name, content in made.items():
        (folder / name).write_bytes(content)
        yield HostileImage(name=name, refused=name not in ("profile-bomb.png",))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _other_things(folder: Path) -> Iterator[HostileImage]:
    texts = {
        "svg.png": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "page.jpg": b"<!doctype html><script>alert(1)</script>",
        "pickle.png": b"cos\nsystem\n(S'true'\ntR.",
        "archive.png": b"PK\x03\x04" + bytes(40),
        "document.jpg": b"%PDF-1.7\n1 0 obj",
        "script.gif": b"GIF89a=1;alert(1)",
        "postscript.tif": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "pointer.png": b"version https://git-lfs.github.com/spec/v1\n",
        "empty.webp": b"",
    }
    for name, content in texts.items():
        (folder / name).write_bytes(content)
        yield HostileImage(name=name, refused=True)
    (folder / "outside.png").symlink_to(Path("..") / "outside.png")
    (folder / "nowhere.png").symlink_to("not-there.png")
    (folder / "itself.png").symlink_to("itself.png")
    (folder / "device.png").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.png")
    yield from (
        HostileImage(name=f"{own}.png", refused=True) for own in ("outside", "nowhere", "itself", "device", "pipe")
    )


def look_at(judge: ClipJudge, folder: Path, images: Sequence[HostileImage]) -> list[HostileImage]:
    """Those of which not that became which was to become of them, or of which nothing was said."""
    onlooker, wrong = Onlooker(Judging(judge, {}, Candidates(("dog",))), folder), []
    for looked in onlooker.judge(["a"] * len(images), [["s"]] * len(images), [[own.name] for own in images]):
        refused = {place for place, _ in looked.faults}
        for place, own in enumerate(images[looked.prompts]):
            is_seen = len(looked.seen[place]) == 1
            is_right = is_seen != (place in refused) and not (own.refused and is_seen)
            if own.colour is not None:
                expected = judge.image_features([Image.new("RGB", (64, 64), own.colour)])[0]
                is_right = is_seen and bool(looked.seen[place][0] @ expected > ALIKE)
            wrong += [] if is_right else [own]
    return wrong
