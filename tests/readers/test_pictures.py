"""Pictures are read from one folder and nowhere else, whatever a name or a link says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emoe_audit.errors import QualityError
from emoe_audit.readers.pictures import inside, open_picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A red picture, beside a folder that is not to be read."""
    (tmp_path / "real" / "deep").mkdir(parents=True)
    Image.new("RGB", (64, 64), "red").save(tmp_path / "real" / "deep" / "red.png")
    Image.new("RGB", (64, 64), "black").save(tmp_path / "secret.png")
    return tmp_path / "real"


def test_an_image_too_large_to_be_opened_safely_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for most in (3000, 100):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        with pytest.raises(QualityError, match="decompression bomb"):
            open_picture(folder, "deep/red.png", QualityError)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_lies_on_white(mode: str, folder: Path) -> None:
    image = Image.new("RGBA", (4, 2), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 2, 2))
    image.convert(mode).save(folder / "clear.png")
    pixels = np.asarray(open_picture(folder, "clear.png", QualityError))
    assert (pixels[:, :2] == 0).all()
    assert (pixels[:, 2:] == 255).all()


@pytest.mark.parametrize("name", ["../secret.png", "link.png", "/etc/passwd", "nul\0", "x" * 5000])
def test_a_name_that_leads_outside_is_refused(name: str, folder: Path) -> None:
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    with pytest.raises(QualityError, match=r"lies outside|is no file name"):
        inside(folder, name, QualityError)


def test_a_link_to_itself_is_no_picture(folder: Path) -> None:
    (folder / "loop").symlink_to(folder / "loop")
    with pytest.raises(QualityError, match=r"is no file name|is not in"):
        open_picture(folder, "loop", QualityError)


def halves(image: Image.Image) -> list[str]:
    """What an image of two colours shows from left to right, then from top to bottom."""
    pixels = np.asarray(image).astype(int)
    corners = (pixels[0, 0], pixels[0, -1], pixels[-1, 0])
    return ["dark" if corner.mean() < 128 else "light" for corner in corners]


@pytest.fixture
def left_dark() -> Image.Image:
    image = Image.new("L", (8, 4), 255)
    image.paste(0, (0, 0, 4, 4))
    return image


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [(1, ["dark", "light", "dark"]), (3, ["light", "dark", "light"]), (6, ["dark", "dark", "light"])],
)
def test_a_photograph_is_turned_as_its_exif_says(
    folder: Path, left_dark: Image.Image, orientation: int, expected: list[str]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    left_dark.save(folder / "photo.jpg", exif=exif, quality=100)
    assert halves(open_picture(folder, "photo.jpg", QualityError)) == expected


def test_sixteen_bits_become_the_upper_eight(folder: Path) -> None:
    deep = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    Image.fromarray(deep).save(folder / "deep.png")
    pixels = np.asarray(open_picture(folder, "deep.png", QualityError))
    assert pixels[0].tolist() == [[own] * 3 for own in (0, 0, 1, 128, 255)]


def test_inks_become_colours_and_of_an_animation_the_first_picture_counts(folder: Path, left_dark: Image.Image) -> None:
    left_dark.convert("CMYK").save(folder / "print.jpg", quality=100)
    assert halves(open_picture(folder, "print.jpg", QualityError)) == ["dark", "light", "dark"]
    left_dark.save(folder / "moving.gif", save_all=True, append_images=[Image.new("L", (8, 4), 255)] * 3)
    assert halves(open_picture(folder, "moving.gif", QualityError)) == ["dark", "light", "dark"]


def test_numbers_that_are_no_brightness_are_refused(folder: Path) -> None:
    Image.fromarray(np.array([[-1, 70000]], dtype=np.int32)).save(folder / "heights.tif")
    Image.fromarray(np.array([[0.5, 2.0]], dtype=np.float32)).save(folder / "fractions.tif")
    for name, expected in (("heights.tif", "from -1 to 70000"), ("fractions.tif", "fractions for brightness")):
        with pytest.raises(QualityError, match=expected):
            open_picture(folder, name, QualityError)
