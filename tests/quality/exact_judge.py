"""A judge that sees exactly what a picture was made to show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

N_TEXTS = 1024


class ExactJudge:
    """Every text is a direction of its own; a picture of a text, which its colour tells, has the same."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def place(self, text: str) -> int:
        return self.places.setdefault(text, len(self.places))

    def picture(self, text: str) -> Image.Image:
        green, red = divmod(self.place(text), 256)
        return Image.new("RGB", (4, 4), (red, green, 0))

    def image_features(self, images: Sequence[Image.Image]) -> np.ndarray:
        colours = np.array([np.asarray(image)[0, 0] for image in images], dtype=int)
        return np.eye(N_TEXTS)[colours @ [1, 256, 0]]

    def text_features(self, texts: Sequence[str]) -> np.ndarray:
        return np.eye(N_TEXTS)[[self.place(text) for text in texts]]
