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
