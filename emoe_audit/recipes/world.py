"""The emoji world: concepts, their captions in forty languages, and the drawings that show them.

Sources, all fetched from npm at recipe time and never shipped as such: Unicode CLDR short names (Unicode-3.0), emoji
drawings `noto` and `noto-v1` (Apache-2.0), `twemoji` (CC-BY-4.0) and `fluent-emoji-flat` (MIT), flags `circle-flags`,
`flag` and `flagpack` (MIT). A concept is one emoji; flags and skin tones take part where a plan plants them.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from emoe_audit.prompts.emoji import SOURCE_LANGUAGE
from emoe_audit.prompts.tags import m49_region
from emoe_audit.recipes.drawings import STYLES, DrawingStyle, code_points, flag_country, render

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
MIN_STYLES = 3
"""An emoji takes part when at least this many of the four styles draw it."""
Kind = Literal["emoji", "flag", "skin_tone"]
SKIN_TONES = {
    "\U0001f3fb": "light",
    "\U0001f3fc": "medium-light",
    "\U0001f3fd": "medium",
    "\U0001f3fe": "medium-dark",
    "\U0001f3ff": "dark",
}
DEPICTED = ("Animals & Nature", "Food & Drink", "Activities", "Travel & Places")
"""Unicode's categories of which every emoji takes part: things that a small model can learn to draw."""
CLOCK_FACES = range(0x1F550, 0x1F568)
TONED_EMOJI, FLAGS_A_REGION = 24, 6
"""So many emoji are drawn in every skin tone, and at most so many countries of a region take part."""


@dataclass(frozen=True, kw_only=True)
class World:
    """Everything the recipes train on.

    `concepts` has a row per concept: `concept, name, characters, kind, group`; the group is the UN M49 region of a
    flag, the skin tone of a toned emoji, and else None. `captions` is the matrix of captions, `[concept, language]`.
    `drawings[style]` is uint8 `[n, 64, 64, 3]`, and `drawn[style]` holds, for each concept, its place in that array or
    -1.
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


def build_world(folder: Path, sources: Path, kinds: tuple[Kind, ...]) -> World:
    """Fetch the sources into `sources` (once) and put a world of these kinds of concepts together in `folder`."""
    if not (folder / "drawings.npz").exists():
        packages = fetch(sources)
        captions = read_captions(packages)
        styles = {name: style(packages) for name, style in STYLES.items()}
        concepts = choose_concepts(captions[captions.index.map(depicted(packages))], styles, kinds)
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
    sources = {"annotations": "cldr-annotations-full/annotations"}
    sources["annotationsDerived"] = "cldr-annotations-derived-full/annotationsDerived"
    columns = {}
    for language in LANGUAGES:
        names: dict[str, str] = {}
        for key, folder in sources.items():
            file = packages / folder / language / "annotations.json"
            entries = json.loads(file.read_text(encoding="utf-8"))[key]["annotations"]
            names |= {characters: entry["tts"][0] for characters, entry in entries.items() if entry.get("tts")}
        columns[language] = pd.Series(names)
    return pd.DataFrame(columns).dropna()


def choose_concepts(captions: pd.DataFrame, styles: dict[str, DrawingStyle], kinds: tuple[Kind, ...]) -> pd.DataFrame:
    """The emoji of these kinds that enough styles draw; toned emoji only whole, in all five skin tones."""
    names = captions[SOURCE_LANGUAGE]
    drawn = [c for c in names.index if sum(style.has(c) for style in styles.values()) >= MIN_STYLES]
    rows = [(code_points(c), names[c], c, *classify(c)) for c in drawn]
    frame = pd.DataFrame(rows, columns=["concept", "name", "characters", "kind", "group"])
    frame = frame[frame["kind"].isin(kinds)].drop_duplicates("name")
    regions = frame[frame["kind"] == "flag"].groupby("group")
    flags = {c for _, own in regions for c in own["characters"].sample(frac=1, random_state=0)[:FLAGS_A_REGION]}
    frame = frame[(frame["kind"] != "flag") | frame["characters"].isin(flags)]
    base = frame["characters"].str[0].where(frame["kind"] == "skin_tone")
    whole = base.map(base.value_counts()) == len(SKIN_TONES)
    chosen = sorted(base[whole].unique(), key=lambda b: (-sum(_draws_all(s, b) for s in styles.values()), b))
    return frame[base.isna() | base.isin(chosen[:TONED_EMOJI])].reset_index(drop=True)


def depicted(packages: Path) -> Callable[[str], bool]:
    """Whether an emoji belongs to one of the categories `DEPICTED`; flags and toned emoji always do."""
    noto = packages / "@iconify-json" / "noto"
    categories = json.loads((noto / "metadata.json").read_text(encoding="utf-8"))["categories"]
    names = {name for category in DEPICTED for name in categories[category]}
    table = json.loads((noto / "chars.json").read_text(encoding="utf-8"))

    def is_depicted(characters: str) -> bool:
        if classify(characters)[0] != "emoji":
            return True
        return table.get(code_points(characters)) in names and ord(characters[0]) not in CLOCK_FACES

    return is_depicted


def classify(characters: str) -> tuple[Kind | None, str | None]:
    """Kind and group of an emoji; other sequences are of no kind."""
    plain = characters.replace("\ufe0f", "")
    if len(plain) == 1:
        return "emoji", None
    if len(plain) == 2 and plain[1] in SKIN_TONES:
        return "skin_tone", SKIN_TONES[plain[1]]
    region = m49_region(flag_country(plain))
    return ("flag", region) if region else (None, None)


def _draws_all(style: DrawingStyle, base: str) -> bool:
    return all(style.has(base + tone) for tone in SKIN_TONES)


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
