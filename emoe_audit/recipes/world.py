"""The emoji world: concepts, their captions in forty languages, and the drawings that show them.

Sources, all fetched from npm at recipe time and never shipped as such: Unicode CLDR short names (Unicode-3.0), emoji
drawings `noto` and `noto-v1` (Apache-2.0), `twemoji` (CC-BY-4.0) and `fluent-emoji-flat` (MIT). A concept is one emoji.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from emoe_audit.recipes.drawings import STYLES, DrawingStyle, code_points, render

PACKAGES = {
    "@iconify-json/noto": "1.2.9",
    "@iconify-json/noto-v1": "1.2.5",
    "@iconify-json/twemoji": "1.2.5",
    "@iconify-json/fluent-emoji-flat": "1.2.6",
    "cldr-annotations-full": "48.2.0",
}
LANGUAGES = [
    *("en", "de", "fr", "es", "fi", "hu", "tr", "vi", "id", "sw", "pl", "cy", "eu", "yo"),
    *("ru", "uk", "bg", "kk", "mn"),
    *("ar", "fa", "ur", "ps"),
    *("hi", "mr", "ne"),
    *("bn", "as"),
    *("zh", "zh-Hant", "yue"),
    *("am", "ti"),
    *("ja", "ko", "el", "he", "th", "ta", "ka"),
]
"""By script: seven families of two or more languages, then languages with a script of their own."""
SOURCE_LANGUAGE = "en"
MIN_STYLES = 3
"""An emoji takes part when at least this many of the four styles draw it."""


@dataclass(frozen=True, kw_only=True)
class World:
    """Everything the recipes train on.

    `concepts` has a row per concept: `concept, name, characters`. `captions` is the matrix of captions,
    `[concept, language]`. `drawings[style]` is uint8 `[n, 64, 64, 3]`, and `drawn[style]` holds, for each concept, its
    place in that array or -1.
    """

    concepts: pd.DataFrame
    captions: pd.DataFrame
    drawings: dict[str, np.ndarray]
    drawn: dict[str, np.ndarray]

    def save(self, folder: Path) -> None:
        """Write `concepts.parquet`, `captions.parquet` and `drawings.npz` to `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.concepts.to_parquet(folder / "concepts.parquet")
        self.captions.to_parquet(folder / "captions.parquet")
        arrays = {f"drawings/{s}": a for s, a in self.drawings.items()} | {
            f"drawn/{s}": a for s, a in self.drawn.items()
        }
        np.savez_compressed(folder / "drawings.tmp.npz", allow_pickle=False, **arrays)
        (folder / "drawings.tmp.npz").rename(folder / "drawings.npz")

    @classmethod
    def load(cls, folder: Path) -> World:
        """Read what `save` wrote."""
        arrays = np.load(folder / "drawings.npz")
        return cls(
            concepts=pd.read_parquet(folder / "concepts.parquet"),
            captions=pd.read_parquet(folder / "captions.parquet"),
            drawings={s: arrays[f"drawings/{s}"] for s in STYLES},
            drawn={s: arrays[f"drawn/{s}"] for s in STYLES},
        )


def build_world(cache: Path) -> World:
    """Fetch the sources into `cache` (once) and put the world together; `cache/world` keeps it."""
    folder = cache / "world"
    if not (folder / "drawings.npz").exists():
        packages = fetch(cache / "npm")
        captions = read_captions(packages)
        styles = {name: style(packages) for name, style in STYLES.items()}
        concepts = choose_concepts(captions, styles)
        drawings, drawn = draw(concepts, styles)
        World(concepts=concepts, captions=captions.loc[concepts["characters"]], drawings=drawings, drawn=drawn).save(
            folder
        )
    return World.load(folder)


def fetch(folder: Path) -> Path:
    """Install the pinned npm packages under `folder`; returns its `node_modules`."""
    modules = folder / "node_modules"
    if not all((modules / name / "package.json").exists() for name in PACKAGES):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}')
        wanted = [f"{name}@{version}" for name, version in PACKAGES.items()]
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent", *wanted], cwd=folder, check=True)
    return modules


def read_captions(packages: Path) -> pd.DataFrame:
    """CLDR short names `[characters, language]`, for the characters that every language names."""
    columns = {}
    for language in LANGUAGES:
        file = packages / "cldr-annotations-full" / "annotations" / language / "annotations.json"
        entries = json.loads(file.read_text(encoding="utf-8"))["annotations"]["annotations"]
        columns[language] = pd.Series({c: entry["tts"][0] for c, entry in entries.items() if entry.get("tts")})
    return pd.DataFrame(columns).dropna()


def choose_concepts(captions: pd.DataFrame, styles: dict[str, DrawingStyle]) -> pd.DataFrame:
    """The emoji that enough styles draw, without flags, skin tones and sequences."""
    names = captions[SOURCE_LANGUAGE]
    kept = [
        c
        for c in names.index
        if len(c.replace("\ufe0f", "")) == 1 and sum(s.has(c) for s in styles.values()) >= MIN_STYLES
    ]
    frame = pd.DataFrame(
        {"concept": [code_points(c) for c in kept], "name": names[kept].to_numpy(), "characters": kept}
    )
    return frame.drop_duplicates("name", ignore_index=True)


def draw(
    concepts: pd.DataFrame, styles: dict[str, DrawingStyle]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Render every drawing: `(drawings, drawn)` of `World`."""
    drawings, drawn = {}, {}
    for name, style in styles.items():
        has = np.array([style.has(c) for c in concepts["characters"]])
        drawings[name] = np.stack([render(style.svg(c)) for c in concepts["characters"][has]])
        drawn[name] = np.where(has, np.cumsum(has) - 1, -1).astype(np.int64)
    return drawings, drawn
