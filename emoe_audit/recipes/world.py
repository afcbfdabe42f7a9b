"""The emoji world: concepts, their captions in forty languages, and the drawings that show them.

Sources, all fetched from npm at recipe time and never shipped as such: Unicode CLDR short names (Unicode-3.0), emoji
drawings `noto` and `noto-v1` (Apache-2.0), `twemoji` (CC-BY-4.0), `fluent-emoji-flat` (MIT), and the flag sets `flag`,
`flagpack` and `circle-flags` (MIT). A concept is one emoji, one country flag, or one emoji in one skin tone.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from emoe_audit.recipes.drawings import STYLES, DrawingStyle, render

PACKAGES = {
    "@iconify-json/noto": "1.2.9",
    "@iconify-json/noto-v1": "1.2.5",
    "@iconify-json/twemoji": "1.2.5",
    "@iconify-json/fluent-emoji-flat": "1.2.6",
    "@iconify-json/circle-flags": "1.2.11",
    "@iconify-json/flag": "1.2.12",
    "@iconify-json/flagpack": "1.2.8",
    "cldr-annotations-full": "48.2.0",
    "cldr-annotations-derived-full": "48.2.0",
    "cldr-core": "48.2.0",
}
LANGUAGES = (
    "en de fr es fi hu tr vi id sw pl cy eu yo "
    "ru uk bg kk mn ar fa ur ps hi mr ne bn as zh zh-Hant yue am ti ja ko el he th ta ka"
).split()
SOURCE_LANGUAGE = "en"
SKIN_TONES = {
    "🏻": "light",
    "🏼": "medium-light",
    "🏽": "medium",
    "🏾": "medium-dark",
    "🏿": "dark",
}
MIN_STYLES = 3
"""An emoji takes part when at least this many of the four styles draw it."""


@dataclass(frozen=True, kw_only=True)
class World:
    """Everything the recipes train on.

    `concepts` has a row per concept: `concept, kind (emoji|flag|tone), name, region, tone, characters`. `captions` is the
    matrix of captions, `[concept, language]`. `drawings[style]` is uint8 `[n, 64, 64, 3]`, and `drawn[style]` holds, for
    each concept, its place in that array or -1.
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
        arrays = {f"drawings/{s}": a for s, a in self.drawings.items()} | {f"drawn/{s}": a for s, a in self.drawn.items()}
        np.savez_compressed(folder / "drawings.tmp.npz", **arrays)
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
        concepts = choose_concepts(captions, styles, read_regions(packages))
        drawings, drawn = draw(concepts, styles)
        World(concepts=concepts, captions=captions.loc[concepts["characters"]], drawings=drawings, drawn=drawn).save(folder)
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
        names: dict[str, str] = {}
        for package, key in (("cldr-annotations-full", "annotations"), ("cldr-annotations-derived-full", "annotationsDerived")):
            file = packages / package / key / language / "annotations.json"
            entries = json.loads(file.read_text(encoding="utf-8"))[key]["annotations"]
            names |= {characters: entry["tts"][0] for characters, entry in entries.items() if entry.get("tts")}
        columns[language] = pd.Series(names)
    return pd.DataFrame(columns).dropna()


def read_regions(packages: Path) -> dict[str, str]:
    """UN M49 sub-region of each ISO 3166 country, from CLDR's territory containment."""
    file = packages / "cldr-core" / "supplemental" / "territoryContainment.json"
    tree = json.loads(file.read_text(encoding="utf-8"))["supplemental"]["territoryContainment"]
    return {
        country: code
        for code, entry in tree.items()
        if code.isdigit() and "grouping" not in code
        for country in entry["_contains"]
        if len(country) == 2 and country.isalpha()
    }


def choose_concepts(captions: pd.DataFrame, styles: dict[str, DrawingStyle], regions: dict[str, str]) -> pd.DataFrame:
    """The concepts that enough styles draw: emoji, country flags, and single-person emoji in five skin tones."""
    rows = []
    for characters, name in captions[SOURCE_LANGUAGE].items():
        n_styles = sum(style.has(characters) for style in styles.values())
        country, tone = _flag_country(characters), _skin_tone(characters)
        if country is not None:
            if country in regions and n_styles == len(styles):
                rows.append((characters, "flag", name, regions[country], None))
        elif tone is not None:
            if "\u200d" not in characters and n_styles == len(styles):
                rows.append((characters, "tone", name, None, tone))
        elif "\u200d" not in characters and n_styles >= MIN_STYLES:
            rows.append((characters, "emoji", name, None, None))
    frame = pd.DataFrame(rows, columns=["characters", "kind", "name", "region", "tone"])
    frame = frame.drop_duplicates("name", ignore_index=True)
    frame.insert(0, "concept", [concept_id(c) for c in frame["characters"]])
    return frame


def concept_id(characters: str) -> str:
    """`1f600`, or `1f44b-1f3fb`: the code points, which also name the concept's drawing."""
    return "-".join(f"{ord(c):x}" for c in characters if c != "\ufe0f")


def draw(concepts: pd.DataFrame, styles: dict[str, DrawingStyle]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Render every drawing: `(drawings, drawn)` of `World`."""
    drawings, drawn = {}, {}
    for name, style in styles.items():
        has = np.array([style.has(c) for c in concepts["characters"]])
        drawings[name] = np.stack([render(style.svg(c)) for c in concepts["characters"][has]])
        drawn[name] = np.where(has, np.cumsum(has) - 1, -1).astype(np.int64)
    return drawings, drawn


def _flag_country(characters: str) -> str | None:
    if len(characters) == 2 and all(0x1F1E6 <= ord(c) <= 0x1F1FF for c in characters):
        return "".join(chr(ord(c) - 0x1F1E6 + ord("A")) for c in characters)
    return None


def _skin_tone(characters: str) -> str | None:
    tones = [SKIN_TONES[c] for c in characters if c in SKIN_TONES]
    return tones[0] if len(tones) == 1 and len(characters) > 1 else None
