"""Drawing styles: where each finds its SVG for an emoji, and how an SVG becomes 64 x 64 pixels on white."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emoe_audit.prompts.tags import country_codes

SIZE = 64
MARGIN = 2
REGIONAL_INDICATOR_A = 0x1F1E6


@dataclass(frozen=True, kw_only=True)
class DrawingStyle:
    """One way of drawing: SVG bodies by code points (`1f600`), each with its own width and height."""

    bodies: dict[str, tuple[str, float, float]]

    def has(self, characters: str) -> bool:
        """Whether this style draws these characters."""
        return code_points(characters) in self.bodies

    def svg(self, characters: str) -> str:
        """A square SVG document with the drawing centred on white."""
        body, width, height = self.bodies[code_points(characters)]
        inner = SIZE - 2 * MARGIN
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{SIZE}" '
            f'height="{SIZE}"><rect width="{SIZE}" height="{SIZE}" fill="#fff"/><svg x="{MARGIN}" y="{MARGIN}" '
            f'width="{inner}" height="{inner}" viewBox="0 0 {width} {height}">{body}</svg></svg>'
        )


def code_points(characters: str) -> str:
    """Iconify's key for an emoji: hexadecimal code points without the variation selector."""
    return "-".join(f"{ord(c):x}" for c in characters if c != "\ufe0f")


def render(svg: str) -> np.ndarray:
    """uint8 `[64, 64, 3]`."""
    import resvg_py
    from PIL import Image

    png = bytes(resvg_py.svg_to_bytes(svg_string=svg))
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.uint8)


def flag_characters(country: str) -> str:
    """The emoji of a country's flag: its ISO 3166 code in regional indicators."""
    return "".join(chr(REGIONAL_INDICATOR_A + ord(letter) - ord("A")) for letter in country)


def flag_country(characters: str) -> str:
    """The letters that `characters` spell in regional indicators, `?` for every other character."""
    places = [ord(character) - REGIONAL_INDICATOR_A for character in characters]
    return "".join(chr(ord("A") + place) if 0 <= place < 26 else "?" for place in places)


def _style(emoji_set: str, names_from: str, flag_set: str = "", flag_name: str = "") -> Callable[[Path], DrawingStyle]:
    """A reader of one style: the drawings of `emoji_set`, named by the table of `names_from`.

    Flags, where the emoji set has none of its own, come from `flag_set`, in which `flag_name` with the country's
    code (`ke`) in place of `*` names the drawing.
    """

    def read(packages: Path) -> DrawingStyle:
        icons = _icons(packages, emoji_set)
        table = json.loads((packages / "@iconify-json" / names_from / "chars.json").read_text(encoding="utf-8"))
        bodies = {code: icons[name] for code, name in table.items() if name in icons}
        flags = _icons(packages, flag_set) if flag_set else {}
        for country in country_codes():
            if flag_name.replace("*", country.lower()) in flags:
                bodies[code_points(flag_characters(country))] = flags[flag_name.replace("*", country.lower())]
        return DrawingStyle(bodies=bodies)

    return read


def _icons(packages: Path, name: str) -> dict[str, tuple[str, float, float]]:
    data = json.loads((packages / "@iconify-json" / name / "icons.json").read_text(encoding="utf-8"))
    width, height = data.get("width", 16), data.get("height", 16)
    return {
        key: (icon["body"], icon.get("width", width), icon.get("height", height)) for key, icon in data["icons"].items()
    }


STYLES: dict[str, Callable[[Path], DrawingStyle]] = {
    "noto": _style("noto", "noto", "circle-flags", "*"),
    "noto-v1": _style("noto-v1", "noto", "flag", "*-4x3"),
    "twemoji": _style("twemoji", "twemoji"),
    "fluent": _style("fluent-emoji-flat", "fluent-emoji-flat", "flagpack", "*"),
}
"""The four styles, each with flags of its own. One expert of the ensemble is fine-tuned on each."""
